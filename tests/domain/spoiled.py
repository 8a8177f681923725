"""Adapters that something happened to: how each is made, and what must be said of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]
Edit = Callable[[Tensors], Tensors]
P = "base_model.model."


@dataclass(frozen=True)
class Spoiled:
    """`kind` is the sound adapter that it was. `config` replaces keys of its config (None removes
    one), `codes` are the errors and warnings that must be found, `naive` what a plain load does.
    `plan` tells whether a plan loads it all the same. `forecast` is what the plan says of the plain
    load where that is less than what it does. `exact_text` is False where PEFT's words depend on
    what the model's class registers. `beside` are errors and warnings that may come along.
    """

    name: str
    kind: str
    codes: tuple[str, ...]
    naive: str
    edit: Edit = lambda tensors: tensors
    config: Mapping[str, Any] = field(default_factory=dict)
    plan: bool = False
    exact_text: bool = True
    forecast: str | None = None
    auto_class: str | None = None
    beside: tuple[str, ...] = ()


def renamed(change: Callable[[str], str]) -> Edit:
    return lambda tensors: {change(name): tensor for name, tensor in tensors.items()}


def without(*parts: str) -> Edit:
    return lambda tensors: {
        name: tensor for name, tensor in tensors.items() if not any(p in name for p in parts)
    }


def added(**tensors: torch.Tensor) -> Edit:
    extra = {P + name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return lambda known: {**known, **extra}


def reshaped(part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Edit:
    return lambda tensors: {
        name: change(tensor).contiguous() if part in name else tensor
        for name, tensor in tensors.items()
    }


def _raw_names(tensors: Tensors) -> Tensors:
    """A plain state dict: the saved copy under its own name and the original, nothing else."""
    kept = {}
    for name, tensor in tensors.items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")):
            stem = name.removesuffix(".weight")
            kept[f"{stem}.modules_to_save.default.weight"] = tensor
            kept[f"{stem}.original_module.weight"] = tensor * 0
        elif "modules_to_save" not in name and "original_module" not in name:
            kept[name] = tensor
    return kept


def _old_bias_names(tensors: Tensors) -> Tensors:
    return {name.replace(".base_layer.bias", ".bias"): t for name, t in tensors.items()}


def _cut_rows(part: str, rows: int) -> Edit:
    return reshaped(part, lambda tensor: tensor[:rows])


NAMES = ("key-names-nonstandard",)
MISSING = ("tensors-missing",)
UNEXPECTED = ("tensors-unexpected",)

SPOILED = (
    # --- vocabulary ----------------------------------------------------------------------------
    Spoiled("grown", "llama-grown-plain", (), "raises", plan=True),
    Spoiled("shrunk", "llama-shrunk", (), "raises", plan=True),
    Spoiled("padded", "llama-padded", (), "raises", plan=True),
    Spoiled("tied and grown", "tied-grown", (), "raises", plan=True, exact_text=False),
    Spoiled(
        "saved module missing",
        "llama-saved-both",
        ("modules-to-save-missing",),
        "raises",
        without("lm_head"),
    ),
    Spoiled(
        "raw names of saved modules",
        "llama-grown-plain",
        NAMES,
        "raises",
        _raw_names,
        plan=True,
    ),
    Spoiled(
        "embeddings saved beside the config, grown",
        "llama-grown-plain",
        ("base-overwritten",),
        "raises",
        config={"modules_to_save": None},
        plan=True,
    ),
    Spoiled(
        "embeddings saved beside the config",
        "llama-saved-both",
        ("base-overwritten",),
        "loads-wrong",
        config={"modules_to_save": None},
        plan=True,
    ),
    Spoiled(
        "rows contradict",
        "llama-grown-plain",
        ("vocabulary-conflict",),
        "raises",
        _cut_rows("lm_head", 99),
    ),
    Spoiled(
        "one side grown",
        "llama-grown-plain",
        ("vocabulary-conflict",),
        "raises",
        _cut_rows("lm_head", 96),
    ),
    Spoiled(
        "LoRA on grown tables without the tables",
        "llama-lora-on-tables-grown",
        ("new-rows-untrained",),
        "raises",
        without(".base_layer."),
        plan=True,
    ),
    Spoiled(
        "saved module that the base lacks",
        "llama-lora",
        UNEXPECTED,
        "loads-wrong",
        added(model__layers__0__adapter__weight=torch.ones(4, 4)),
        config={"modules_to_save": ["adapter"]},
    ),
    # --- trained tokens ------------------------------------------------------------------------
    Spoiled(
        "token delta missing",
        "llama-lora-and-tokens",
        MISSING,
        "raises",
        without("trainable_tokens_delta"),
    ),
    Spoiled(
        "token index beyond the rows",
        "llama-lora-and-tokens",
        ("token-index-out-of-range",),
        "raises",
        config={"trainable_token_indices": [3, 101]},
    ),
    Spoiled(
        "more token indices than rows",
        "llama-lora-and-tokens",
        ("shape-mismatch",),
        "raises",
        config={"trainable_token_indices": [3, 5, 7]},
    ),
    Spoiled(
        "token indices lost",
        "llama-lora-and-tokens",
        UNEXPECTED,
        "loads-wrong",
        config={"trainable_token_indices": None},
    ),
    # --- names ---------------------------------------------------------------------------------
    Spoiled(
        "torch.compile prefix",
        "llama-lora",
        NAMES,
        "loads-wrong",
        renamed(lambda name: name.replace(P, P + "_orig_mod.")),
        plan=True,
    ),
    Spoiled(
        "FSDP prefix",
        "llama-lora",
        NAMES,
        "loads-wrong",
        renamed(lambda name: "_fsdp_wrapped_module." + name),
        plan=True,
    ),
    Spoiled(
        "DDP prefix", "llama-lora", NAMES, "loads-wrong", renamed("module.{}".format), plan=True
    ),
    Spoiled(
        "doubled prefix",
        "llama-lora",
        NAMES,
        "loads-wrong",
        renamed(lambda name: P + name),
        plan=True,
    ),
    Spoiled(
        "no prefix",
        "llama-lora",
        NAMES,
        "loads-wrong",
        renamed(lambda name: name.removeprefix(P)),
        plan=True,
    ),
    Spoiled(
        "model. lost",
        "llama-lora",
        NAMES,
        "loads-wrong",
        renamed(lambda name: name.replace(P + "model.", P)),
        plan=True,
    ),
    Spoiled(
        "default left in",
        "llama-lora",
        NAMES,
        "loads",
        renamed(lambda name: name.replace(".weight", ".default.weight")),
        plan=True,
    ),
    Spoiled(
        "another adapter name left in",
        "llama-lora",
        NAMES,
        "loads-wrong",
        renamed(lambda name: name.replace(".weight", ".mine.weight")),
        plan=True,
    ),
    Spoiled(
        "names of other trainers",
        "llama-lora",
        NAMES,
        "loads-wrong",
        renamed(lambda name: name.replace("lora_A", "lora_down").replace("lora_B", "lora_up")),
        plan=True,
    ),
    Spoiled(
        "names of nothing",
        "llama-lora",
        (*UNEXPECTED, *MISSING),
        "loads-wrong",
        renamed(lambda name: name.replace("self_attn", "attention")),
    ),
    Spoiled(
        "old names of biases",
        "qwen2-bias-lora-only",
        NAMES,
        "loads-wrong",
        _old_bias_names,
        plan=True,
        beside=("base-overwritten",),
    ),
    # --- parts ---------------------------------------------------------------------------------
    Spoiled(
        "no lora_B in a layer",
        "llama-lora",
        MISSING,
        "loads-wrong",
        without("1.self_attn.q_proj.lora_B"),
    ),
    Spoiled("no lora_A", "llama-lora", MISSING, "loads-wrong", without("lora_A")),
    Spoiled("a layer missing", "llama-lora", MISSING, "loads-wrong", without(".layers.1.")),
    Spoiled("a target missing", "llama-lora", MISSING, "loads-wrong", without("o_proj")),
    Spoiled(
        "targets narrower than the file",
        "llama-lora",
        UNEXPECTED,
        "loads-wrong",
        config={"target_modules": ["q_proj", "k_proj", "v_proj"]},
    ),
    Spoiled(
        "layers beyond the base",
        "llama-lora",
        ("layers-outside-base",),
        "loads-wrong",
        lambda tensors: (
            tensors
            | {
                n.replace("layers.1.", "layers.2."): t.clone()
                for n, t in tensors.items()
                if "s.1." in n
            }
        ),
    ),
    Spoiled(
        "targets of another architecture",
        "llama-lora",
        ("targets-not-found",),
        "raises",
        config={"target_modules": ["c_attn"]},
        beside=UNEXPECTED,
    ),
    Spoiled(
        "a target that the base lacks",
        "llama-lora",
        ("targets-not-found",),
        "loads",
        config={"target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "c_attn"]},
        plan=True,
    ),
    Spoiled(
        "some layers only",
        "llama-lora",
        UNEXPECTED,
        "loads-wrong",
        config={"layers_to_transform": [0]},
    ),
    Spoiled(
        "excluded modules",
        "llama-lora",
        UNEXPECTED,
        "loads-wrong",
        config={"exclude_modules": ["o_proj"]},
    ),
    # --- shapes --------------------------------------------------------------------------------
    Spoiled("rank edited", "llama-lora", ("rank-mismatch",), "raises", config={"r": 8}),
    Spoiled(
        "rank pattern lost",
        "llama-lora-rank-pattern",
        ("rank-mismatch",),
        "raises",
        config={"rank_pattern": {}},
    ),
    Spoiled(
        "another width",
        "llama-lora",
        ("shape-mismatch",),
        "raises",
        reshaped("lora_A", lambda tensor: tensor[:, :24]),
    ),
    Spoiled(
        "transposed",
        "llama-lora",
        ("rank-mismatch",),
        "raises",
        reshaped("lora_A", torch.t),
        beside=("shape-mismatch",),
    ),
    Spoiled(
        "emptied by ZeRO-3",
        "llama-lora",
        ("empty-tensors",),
        "raises",
        reshaped("q_proj.lora", lambda tensor: torch.zeros(0)),
        exact_text=False,
    ),
    # --- flags ---------------------------------------------------------------------------------
    Spoiled(
        "use_dora lost",
        "llama-lora-dora",
        ("dora-flag-missing",),
        "loads-wrong",
        config={"use_dora": False},
    ),
    Spoiled("magnitudes missing", "llama-lora-dora", MISSING, "loads-wrong", without("magnitude")),
    Spoiled(
        "lora_bias lost",
        "llama-lora-bias",
        UNEXPECTED,
        "loads-wrong",
        config={"lora_bias": False},
    ),
    Spoiled(
        "bias of a base without one",
        "llama-lora",
        UNEXPECTED,
        "loads-wrong",
        added(model__layers__0__self_attn__q_proj__base_layer__bias=torch.ones(32)),
        config={"bias": "lora_only"},
    ),
    Spoiled(
        "biases not saved",
        "qwen2-bias-lora-only",
        ("bias-not-saved",),
        "loads",
        without(".bias"),
        plan=True,
    ),
    Spoiled(
        "biases saved unasked",
        "qwen2-bias-lora-only",
        ("base-overwritten",),
        "loads-wrong",
        config={"bias": "none"},
        plan=True,
    ),
    Spoiled(
        "base weights saved along",
        "llama-lora",
        ("base-overwritten",),
        "loads-wrong",
        added(model__norm__weight=torch.ones(32)),
        plan=True,
    ),
    Spoiled(
        "quantiser leftovers",
        "llama-lora",
        UNEXPECTED,
        "loads-wrong",
        added(model__layers__0__self_attn__q_proj__base_layer__weight__absmax=torch.ones(8)),
    ),
    # --- classifiers ---------------------------------------------------------------------------
    Spoiled("three labels", "llama-classifier", (), "raises", plan=True),
    Spoiled("three labels on BERT", "bert-classifier", (), "raises", plan=True),
    Spoiled("token labels", "bert-tokens", (), "raises", plan=True),
    Spoiled(
        "roberta's nested head",
        "roberta-classifier-bias-all",
        ("base-overwritten",),
        "raises",
        plan=True,
    ),
    Spoiled(
        "head missing",
        "llama-classifier",
        ("modules-to-save-missing",),
        "raises",
        without("score"),
        exact_text=False,
        forecast="unknown",
    ),
    Spoiled(
        "classifier on a language model",
        "llama-classifier",
        UNEXPECTED,
        "loads-wrong",
        config={"task_type": "CAUSAL_LM", "modules_to_save": None},
        auto_class="AutoModelForCausalLM",
    ),
)
