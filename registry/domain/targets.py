"""Which modules of the base PEFT gives an adapter, and with which rank, read from the config.

The rules are PEFT 0.21's `check_target_module_exists` and `get_pattern_key`. A regular expression
from a config is never run here: a string is matched in a child process, and its result is a fact.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from registry.domain.adapter_config import AdapterConfig

ALL_LINEAR = "all-linear"

# Task type -> the modules that PEFT's model class for it saves without being asked.
CLASSIFIER_MODULES = {
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}

# PEFT's own defaults where target_modules is null (TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_…).
_QV = ("q_proj", "v_proj")
_QUERY_VALUE = ("query", "value")
DEFAULT_TARGETS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("t5", "mt5"), ("q", "v")),
    **dict.fromkeys(
        (
            *("bart", "opt", "gptj", "gpt_neo", "llama", "llama4", "mistral", "mixtral"),
            *("stablelm", "gemma", "gemma2", "gemma3_text", "qwen2", "qwen3"),
        ),
        _QV,
    ),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra", "layoutlm"), _QUERY_VALUE),
    **dict.fromkeys(("bloom", "gpt_neox", "falcon", "chatglm"), ("query_key_value",)),
    "gpt2": ("c_attn",),
    "gpt_bigcode": ("c_attn",),
    "blip-2": ("q", "v", "q_proj", "v_proj"),
    "deberta": ("in_proj",),
    "deberta-v2": ("query_proj", "value_proj"),
    "mpt": ("Wqkv",),
    "codegen": ("qkv_proj",),
    "phi": ("q_proj", "v_proj", "fc1", "fc2"),
    "nemotron_h": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "rwkv": ("key", "value", "receptance", "output"),
}

_LITERAL = re.compile(r"[A-Za-z0-9_.\\-]*")
_FIRST_NUMBER = re.compile(r".*?\.[^.]*\.(\d+)\.")


@dataclass(frozen=True)
class TargetRule:
    """`matches(module)`: True, False, or None where only a run of PEFT could tell.

    `names` are the targets as a list has them, empty for a pattern; `known` is False when nothing
    can be said of modules that the file does not hold.
    """

    matches: Callable[[str], bool | None]
    names: tuple[str, ...]
    known: bool


def make_target_rule(
    config: AdapterConfig, model_type: str | None, matched: frozenset[str] | None
) -> TargetRule:
    """`matched` is what the config's pattern strings match in the base, None when not known."""
    excluded = _make_exclusion(config)
    targets = config.target_modules
    if targets is None:
        targets = None if config.target_parameters else DEFAULT_TARGETS.get(model_type or "")
    if config.target_parameters or config.layer_replication or isinstance(excluded, _Unknown):
        return TargetRule(lambda module: None, (), False)
    if targets is None:
        return TargetRule(lambda module: None, (), False)
    if isinstance(targets, str):
        if targets.lower() == ALL_LINEAR or matched is None:
            return TargetRule(lambda module: None, (), False)
        return TargetRule(lambda module: module in matched and not excluded(module), (), True)
    return _list_rule(config, targets, excluded)


def _list_rule(
    config: AdapterConfig, targets: tuple[str, ...], excluded: Callable[[str], bool]
) -> TargetRule:
    wanted = frozenset(targets)
    # Most modules end otherwise than any target; that is decided by one look-up.
    endings = frozenset(name.rpartition(".")[2] for name in targets)
    nested = any("." in name for name in targets)
    layers = frozenset(config.layers_to_transform or ())
    if layers and config.layers_pattern:
        # layers_pattern holds regular expressions; what they select is not settled here.
        return TargetRule(lambda module: None, targets, False)

    def matches(module: str) -> bool:
        if module.rpartition(".")[2] not in endings:
            return False
        if module in wanted:
            return not excluded(module)
        if (nested and not has_suffix(module, wanted)) or excluded(module):
            return False
        if not layers:
            return True
        # A name that matches by suffix is limited to the layers; PEFT takes the first number.
        number = _FIRST_NUMBER.match(module)
        return number is not None and int(number[1]) in layers

    return TargetRule(matches, targets, True)


def has_suffix(module: str, names: frozenset[str]) -> bool:
    """True when the module's path, or what follows one of its dots, is one of the names."""
    while True:
        if module in names:
            return True
        _, dot, module = module.partition(".")
        if not dot:
            return False


class _Unknown:
    """An exclusion that only a run of PEFT could settle."""

    def __call__(self, module: str) -> bool:
        return False


def _make_exclusion(config: AdapterConfig) -> Callable[[str], bool] | _Unknown:
    """Excluded are `exclude_modules` and whatever lies in a saved module."""
    if isinstance(config.exclude_modules, str):
        return _Unknown()
    names = frozenset(config.exclude_modules or ())
    saved = saved_names(config)
    if not all(_LITERAL.fullmatch(name) for name in saved):
        return _Unknown()
    # That module or one below it, at dots. The names are literal, so this is no pattern of theirs.
    listed = "|".join(re.escape(name) for name in saved if name)
    inside = re.compile(rf"(?:^|\.)(?:{listed})(?:\.|$)").search if listed else None

    def excluded(module: str) -> bool:
        for name in saved:
            # Cheaper than the pattern, which then looks at the few that hold the text at all.
            if name in module and inside is not None and inside(module) is not None:
                return True
        return bool(names) and has_suffix(module, names)

    return excluded


def saved_names(config: AdapterConfig) -> tuple[str, ...]:
    """`modules_to_save` and what PEFT adds to it for classification and question answering."""
    added = CLASSIFIER_MODULES.get(config.task_type or "", ())
    return tuple(dict.fromkeys((*(config.modules_to_save or ()), *added)))


def make_rank_rule(config: AdapterConfig) -> Callable[[str], int | None]:
    """The rank that PEFT gives a module; None where the config's patterns are no plain names.

    PEFT takes the first key of rank_pattern that matches `(.*\\.)?(key)$`, else `r` (8 by default).
    """
    default = 8 if config.r is None else config.r
    patterns = {
        key.replace("\\.", "."): int(rank)
        for key, rank in config.rank_pattern.items()
        if _is_plain(key)
    }
    if len(patterns) < len(config.rank_pattern):
        return lambda module: None
    if not patterns:
        return lambda module: default
    order = {key: place for place, key in enumerate(patterns)}

    def rank(module: str) -> int:
        found = [key for key in (*_suffixes(module), f"^{module}") if key in order]
        return patterns[min(found, key=order.__getitem__)] if found else default

    return rank


def _suffixes(module: str) -> Iterable[str]:
    yield module
    while "." in module:
        module = module.partition(".")[2]
        yield module


def _is_plain(pattern: str) -> bool:
    """A name, whose dots may be escaped and which may be anchored at its start."""
    return _LITERAL.fullmatch(pattern.removeprefix("^").replace("\\.", ".")) is not None and (
        "\\" not in pattern.replace("\\.", ".")
    )
