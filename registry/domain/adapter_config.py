"""adapter_config.json as PEFT 0.3 to 0.21 and people's editors write it.

The judge is PEFT 0.21.2: what its config classes and its LoRA layers refuse is ConfigInvalid, what
they accept is accepted and read as they read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.domain.foreign import foreign_tool, merged_linear
from registry.domain.json_text import integer_member, parse_json_object, text_member
from registry.domain.peft_types import KNOWN_KEYS, REMOVED_TYPES, TASK_TYPES
from registry.domain.refs import shown
from registry.errors import ConfigInvalid, ForeignFormat, NotAPeftAdapter

# Keys are module names or patterns, values ranks or alphas, as PEFT's rank_pattern has them.
Pattern = Mapping[str, int | float]

FILE_NAME = "adapter_config.json"
# AdaLoRA writes a list of booleans per module; nothing that PEFT writes comes near this.
MAX_BYTES = 4_000_000
ALL_LINEAR = "all-linear"
# LoraConfig's own defaults, used where the file leaves a key out.
DEFAULT_RANK = 8
DEFAULT_ALPHA = 8


@dataclass(frozen=True)
class AdapterConfig:
    """What PEFT would read. Fields that a PEFT type does not have keep their defaults.

    `target_modules` is a tuple of names, or one string that PEFT matches as a regular expression
    (`all-linear` included), or None for the type's default; names are sorted and listed once, as
    PEFT holds them in a set. `r` is LoRA's default of 8 where a LoRA file leaves it out.
    `declared` holds the names of the keys that the file really has: an absent `lora_alpha` means 8
    to PEFT, and we say so. `raw` is the parsed JSON object, for storage and digests.
    `token_indices` of the type TRAINABLE_TOKENS stand in `trainable_token_indices`; a rank pattern
    of AdaLoRA (a list of booleans per module) is given as the number of those that are true.
    """

    peft_type: str
    task_type: str | None
    base_model_name_or_path: str | None
    revision: str | None
    r: int | None = None
    lora_alpha: float | None = None
    target_modules: tuple[str, ...] | str | None = None
    exclude_modules: tuple[str, ...] | str | None = None
    target_parameters: tuple[str, ...] | None = None
    modules_to_save: tuple[str, ...] | None = None
    rank_pattern: Pattern = field(default_factory=dict)
    alpha_pattern: Pattern = field(default_factory=dict)
    bias: str = "none"
    use_dora: bool = False
    use_rslora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    init_weights: str | bool | None = None
    layers_to_transform: tuple[int, ...] | None = None
    layers_pattern: tuple[str, ...] | None = None
    layer_replication: tuple[tuple[int, int], ...] | None = None
    # A tuple of ids for the input embedding, or module name -> ids.
    trainable_token_indices: tuple[int, ...] | Mapping[str, tuple[int, ...]] | None = None
    alora_invocation_tokens: tuple[int, ...] | None = None
    ensure_weight_tying: bool = False
    has_auto_mapping: bool = False
    peft_version: str | None = None
    unknown_keys: tuple[str, ...] = ()
    declared: frozenset[str] = frozenset()
    raw: Mapping[str, object] = field(default_factory=dict)


def parse_adapter_config(data: bytes) -> AdapterConfig:
    """Parse the file. Raises ConfigInvalid, ForeignFormat (naming the tool) or NotAPeftAdapter.

    A ConfigInvalid about one key has it in `fields["field"]`.
    """
    raw = parse_json_object(data, FILE_NAME, max_bytes=MAX_BYTES)
    peft_type = _peft_type(raw)
    config = _read(raw, peft_type)
    if peft_type in ("LORA", "ADALORA"):
        _check_lora(config)
    return config


def _read(raw: dict[str, object], peft_type: str) -> AdapterConfig:
    lora = peft_type == "LORA"
    tokens = "token_indices" if peft_type == "TRAINABLE_TOKENS" else "trainable_token_indices"
    return AdapterConfig(
        peft_type=peft_type,
        task_type=_task_type(raw),
        base_model_name_or_path=text_member(raw, "base_model_name_or_path"),
        revision=text_member(raw, "revision"),
        r=_rank(raw, required=lora),
        lora_alpha=_alpha(raw, required=lora),
        target_modules=_targets(raw, "target_modules"),
        exclude_modules=_targets(raw, "exclude_modules") or None,
        target_parameters=_names(raw, "target_parameters"),
        modules_to_save=_names(raw, "modules_to_save"),
        rank_pattern=_pattern(raw, "rank_pattern", required=lora, whole=True),
        alpha_pattern=_pattern(raw, "alpha_pattern", required=lora, whole=False),
        bias=_bias(raw),
        use_dora=bool(raw.get("use_dora")),
        use_rslora=bool(raw.get("use_rslora")),
        lora_bias=bool(raw.get("lora_bias")),
        fan_in_fan_out=bool(raw.get("fan_in_fan_out")),
        init_weights=_init_weights(raw),
        layers_to_transform=_layers(raw),
        layers_pattern=_layers_pattern(raw),
        layer_replication=_replication(raw),
        trainable_token_indices=_token_indices(raw, tokens),
        alora_invocation_tokens=_integers(raw, "alora_invocation_tokens"),
        ensure_weight_tying=bool(raw.get("ensure_weight_tying")),
        has_auto_mapping=bool(raw.get("auto_mapping")),
        peft_version=text_member(raw, "peft_version"),
        unknown_keys=tuple(sorted(raw.keys() - KNOWN_KEYS[peft_type])),
        declared=frozenset(raw),
        raw=raw,
    )


def _invalid(key: str, expected: str, value: object) -> ConfigInvalid:
    return ConfigInvalid(f"{key} is {shown(repr(value), 60)}; {expected}.", field=key)


# --- the type ----------------------------------------------------------------------------------


def _peft_type(raw: dict[str, object]) -> str:
    value = raw.get("peft_type")
    if isinstance(value, str) and value in KNOWN_KEYS:
        if merged_linear(raw):
            raise ForeignFormat(
                "The config sets enable_lora: it was written by PEFT before 0.3, whose fused "
                "matrices no later version reads.",
                tool="PEFT before 0.3",
            )
        return value
    if tool := foreign_tool(raw):
        raise ForeignFormat(f"This {FILE_NAME} is for {tool}, not for PEFT.", tool=tool)
    if value is None:
        if not raw.keys() & KNOWN_KEYS["LORA"]:
            raise NotAPeftAdapter(f"{FILE_NAME} has no peft_type and no other key of PEFT.")
        raise ConfigInvalid("peft_type is missing; PEFT needs it.", field="peft_type")
    if isinstance(value, str) and value in REMOVED_TYPES:
        raise _invalid("peft_type", REMOVED_TYPES[value], value)
    if isinstance(value, str) and value.upper() in KNOWN_KEYS:
        raise _invalid("peft_type", f"PEFT writes {value.upper()!r} and takes nothing else", value)
    raise _invalid("peft_type", "PEFT 0.21 has no such type", value)


def _task_type(raw: dict[str, object]) -> str | None:
    value = raw.get("task_type")
    if value is None:
        return None
    if not isinstance(value, str) or value not in TASK_TYPES:
        raise _invalid("task_type", f"PEFT knows {', '.join(sorted(TASK_TYPES))}", value)
    return value


# --- numbers -----------------------------------------------------------------------------------


def _rank(raw: dict[str, object], *, required: bool) -> int | None:
    if "r" not in raw or (raw["r"] is None and not required):
        return DEFAULT_RANK if required else None
    value = integer_member(raw, "r")
    # Types with block sizes instead of ranks write r=0.
    if value is None or value < (1 if required else 0):
        raise _invalid("r", "a rank is a whole number above 0", raw["r"])
    return value


def _alpha(raw: dict[str, object], *, required: bool) -> float | None:
    if "lora_alpha" not in raw or (raw["lora_alpha"] is None and not required):
        return None
    value = raw["lora_alpha"]
    if not isinstance(value, int | float):
        raise _invalid("lora_alpha", "it must be a number", value)
    return float(value)


def _pattern(raw: dict[str, object], key: str, *, required: bool, whole: bool) -> Pattern:
    value = raw.get(key, {})
    if value is None and not required:
        return {}
    if not isinstance(value, dict):
        raise _invalid(key, "it must be an object of names and numbers", value)
    return {name: _pattern_value(key, number, whole) for name, number in value.items()}


def _pattern_value(key: str, value: object, whole: bool) -> int | float:
    if isinstance(value, list) and all(isinstance(item, bool) for item in value):
        return sum(value)
    right = int if whole else (int, float)
    if not isinstance(value, right) or isinstance(value, bool) or (whole and value < 1):
        raise _invalid(key, "its values must be " + ("ranks" if whole else "numbers"), value)
    return value


def _integers(raw: dict[str, object], key: str) -> tuple[int, ...] | None:
    value = raw.get(key)
    if value is None:
        return None
    return _integer_list(key, [value] if isinstance(value, int) else value)


def _integer_list(key: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise _invalid(key, "it must be a list of whole numbers", value)
    return tuple(value)


def _layers(raw: dict[str, object]) -> tuple[int, ...] | None:
    # PEFT takes an empty list as none given.
    return _integers(raw, "layers_to_transform") or None


def _replication(raw: dict[str, object]) -> tuple[tuple[int, int], ...] | None:
    value = raw.get("layer_replication")
    if not value:
        return None
    if not isinstance(value, list):
        raise _invalid("layer_replication", "it must be a list of pairs", value)
    pairs = []
    for item in value:
        pair = _integer_list("layer_replication", item)
        if len(pair) != 2:
            raise _invalid("layer_replication", "it must be a list of pairs", value)
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


def _token_indices(
    raw: dict[str, object], key: str
) -> tuple[int, ...] | Mapping[str, tuple[int, ...]] | None:
    value = raw.get(key)
    if isinstance(value, dict):
        return {module: _integer_list(key, ids) for module, ids in sorted(value.items())}
    return _integers(raw, key)


# --- names -------------------------------------------------------------------------------------


def _names(raw: dict[str, object], key: str) -> tuple[str, ...] | None:
    """A list of names, sorted and each once. PEFT iterates, so an object stands for its keys, and
    a string would be taken for its letters."""
    value = raw.get(key)
    if value is None or value is False:
        return None
    items = list(value) if isinstance(value, dict) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise _invalid(key, "it must be a list of names", value)
    return tuple(sorted(set(items)))


def _targets(raw: dict[str, object], key: str) -> tuple[str, ...] | str | None:
    value = raw.get(key)
    if not isinstance(value, str):
        return _names(raw, key)
    return ALL_LINEAR if value.lower() == ALL_LINEAR else value


def _layers_pattern(raw: dict[str, object]) -> tuple[str, ...] | None:
    value = raw.get("layers_pattern")
    if isinstance(value, str):
        return (value,) if value else None
    return _names(raw, "layers_pattern") or None


def _bias(raw: dict[str, object]) -> str:
    value = raw.get("bias", "none")
    # `lora_only`, `boft_only`, …: PEFT looks at the ending alone.
    if not isinstance(value, str) or not (value in ("none", "all") or value.endswith("_only")):
        raise _invalid("bias", "PEFT knows 'none', 'all' and 'lora_only'", value)
    return value


def _init_weights(raw: dict[str, object]) -> str | bool | None:
    for key in ("init_lora_weights", "init_ia3_weights", "init_weights"):
        value = raw.get(key)
        if value is not None and not isinstance(value, str | bool):
            raise _invalid(key, "it must be true, false or the name of a method", value)
        if value is not None:
            return value
    return None


# --- what only goes together -------------------------------------------------------------------


def _check_lora(config: AdapterConfig) -> None:
    """The checks of LoraConfig.__post_init__ and of its layers' constructors."""
    given = {key for key in ("layers_to_transform", "layers_pattern") if config.raw.get(key)}
    if isinstance(config.target_modules, str):
        for key in ("layers_to_transform", "layers_pattern"):
            if config.raw.get(key) is not None:
                raise ConfigInvalid(
                    f"{key} cannot be used when target_modules is a pattern.", field=key
                )
    elif given == {"layers_pattern"} and config.raw.get("layers_to_transform") is None:
        raise ConfigInvalid(
            "layers_pattern needs layers_to_transform beside it.", field="layers_pattern"
        )
    if config.lora_bias and (config.use_dora or isinstance(config.init_weights, str)):
        raise ConfigInvalid(
            "lora_bias goes neither with use_dora nor with a named init_lora_weights.",
            field="lora_bias",
        )
    if config.raw.get("megatron_config"):
        raise ConfigInvalid(
            "megatron_config needs Megatron's own layers; a base of transformers has none.",
            field="megatron_config",
        )
    dropout = config.raw.get("lora_dropout", 0.0)
    if not isinstance(dropout, int | float | dict):
        raise _invalid("lora_dropout", "it must be a number", dropout)
