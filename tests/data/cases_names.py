"""Cases about names, absent and additional tensors, shapes, and other bases (P, S, W)."""

from __future__ import annotations

from typing import Any

import torch

from tests.data.cases import (
    Case,
    P,
    Tensors,
    added,
    both,
    prefixed,
    renamed,
    reshaped,
    without,
)
from tests.data.kinds import Kind
from tests.data.sound import lora

NAMES = ("key-names-nonstandard",)
MISSING = ("tensors-missing",)
UNEXPECTED = ("tensors-unexpected",)
NOTHING_TAKEN = ("missing", "unexpected")
MISMATCH = ("size mismatch",)
FOUR = ["q_proj", "k_proj", "v_proj", "o_proj"]

BERT_SPARSE = Kind("bert-query", "bert", lora("query"), task="FEATURE_EXTRACTION")
T5_ALL = Kind("t5-all", "t5", lora("all-linear"), task="SEQ_2_SEQ_LM")


def _misnamed(row: str, what: str, *changes: tuple[str, str], kind: str = "llama-lora") -> Case:
    return Case(row, what, kind, codes=NAMES, shows=NOTHING_TAKEN, edit=renamed(*changes))


def _factors_exchanged(tensors: Tensors) -> Tensors:
    return renamed(("lora_A", "lora_X"), ("lora_B", "lora_A"), ("lora_X", "lora_B"))(tensors)


def _one_more_layer(tensors: Tensors) -> Tensors:
    more = {n.replace(".1.", ".2."): t + 1 for n, t in tensors.items() if ".layers.1." in n}
    return {**tensors, **more}


def _halved_rank(tensors: Tensors) -> Tensors:
    first = reshaped("0.self_attn.q_proj.lora_A", lambda tensor: tensor[:2])
    return both(first, reshaped("0.self_attn.q_proj.lora_B", lambda tensor: tensor[:, :2]))(tensors)


def _absent(row: str, what: str, part: str, kind: str | Kind = "llama-lora") -> Case:
    return Case(row, what, kind, "incompatible", MISSING, ("missing",), without(part))


def _config(
    row: str, what: str, kind: str, codes: tuple[str, ...], shows: tuple[str, ...], **config: Any
) -> Case:
    return Case(row, what, kind, "incompatible", codes, shows, config=config)


NAMING = (
    _misnamed("P1", "inner model prefix lost", (P + "model.", P)),
    Case("P2", "no prefix", "llama-lora", codes=NAMES, shows=NOTHING_TAKEN, edit=renamed((P, ""))),
    _misnamed("P3", "FSDP in the path", (P, P + "_fsdp_wrapped_module.")),
    _misnamed("P3", "FSDP in every layer", (".self_attn.", "._fsdp_wrapped_module.self_attn.")),
    _misnamed("P4", "torch.compile in the path", (P, P + "_orig_mod.")),
    _misnamed("P4", "torch.compile on gpt2", (P, P + "_orig_mod."), kind="gpt2-lora"),
    _misnamed("P4", "torch.compile on t5", (P, P + "_orig_mod."), kind="t5-lora"),
    _misnamed("P4", "torch.compile on bert", (P, P + "_orig_mod."), kind="bert-embedding"),
    Case(
        "P5",
        "DDP before the path",
        "llama-lora",
        codes=NAMES,
        shows=NOTHING_TAKEN,
        edit=prefixed("module."),
    ),
    Case(
        "P6",
        "default left in",
        "llama-lora",
        codes=NAMES,
        edit=renamed(
            ("lora_A.weight", "lora_A.default.weight"), ("lora_B.weight", "lora_B.default.weight")
        ),
    ),
    _misnamed(
        "P6",
        "another adapter name left in",
        ("lora_A.", "lora_A.chat."),
        ("lora_B.", "lora_B.chat."),
    ),
    Case("P7", "wrapped twice", "llama-lora", codes=NAMES, shows=NOTHING_TAKEN, edit=prefixed(P)),
    _misnamed("P9", "names of another trainer", ("lora_A", "lora_down"), ("lora_B", "lora_up")),
    Case(
        "P8",
        "names of no module here",
        "llama-lora",
        "incompatible",
        (*MISSING, *UNEXPECTED),
        NOTHING_TAKEN,
        renamed(("self_attn", "attention")),
    ),
)

TENSORS = (
    _absent("S1", "one lora_B absent", "1.self_attn.q_proj.lora_B"),
    _absent("S1", "every lora_A absent", "lora_A"),
    _absent("S1", "gpt2 lora_B absent", "h.0.attn.c_attn.lora_B", "gpt2-lora"),
    _absent(
        "S1", "t5 lora_B absent", "decoder.block.1.layer.1.EncDecAttention.q.lora_B", "t5-lora"
    ),
    _absent("S1", "bert lora_B absent", "layer.0.attention.self.query.lora_B", "bert-embedding"),
    _absent("S2", "a layer absent", ".layers.1."),
    _absent("S2", "half of an encoder-decoder absent", ".decoder.", T5_ALL),
    _absent("S6b", "a target absent", "o_proj"),
    Case(
        "S3",
        "a tensor of nothing",
        "llama-lora",
        "incompatible",
        UNEXPECTED,
        ("unexpected",),
        added(
            {
                "model.layers.0.self_attn.extra.lora_A.weight": torch.ones(4, 32),
                "model.layers.0.self_attn.extra.lora_B.weight": torch.ones(32, 4),
            }
        ),
    ),
    _config(
        "S4",
        "targets narrower than the file",
        "llama-lora",
        UNEXPECTED,
        ("unexpected",),
        target_modules=FOUR[:3],
    ),
    _config(
        "S4",
        "modules excluded",
        "llama-lora",
        UNEXPECTED,
        ("unexpected",),
        exclude_modules=["o_proj"],
    ),
    _config(
        "S4",
        "fewer layers transformed",
        "llama-lora",
        UNEXPECTED,
        ("unexpected",),
        layers_to_transform=[0],
    ),
    _config(
        "S4",
        "targets of a bert narrower",
        "bert-embedding",
        UNEXPECTED,
        ("unexpected",),
        target_modules=["query"],
    ),
    Case(
        "S5",
        "targets of another architecture",
        "llama-lora",
        "incompatible",
        ("targets-not-found", "tensors-unexpected"),
        ("NoMatchingPeftModuleError",),
        config={"target_modules": ["c_attn"]},
    ),
    Case(
        "S5",
        "targets of another architecture on t5",
        "t5-lora",
        "incompatible",
        ("targets-not-found", "tensors-unexpected"),
        ("NoMatchingPeftModuleError",),
        config={"target_modules": ["q_proj"]},
    ),
    Case(
        "S6",
        "one target matches nothing",
        "llama-lora",
        config={"target_modules": [*FOUR, "c_attn"]},
    ),
    _config("S7", "rank in the config doubled", "llama-lora", ("rank-mismatch",), MISMATCH, r=8),
    _config("S7", "rank in the config of a t5", "t5-lora", ("rank-mismatch",), MISMATCH, r=2),
    Case(
        "S7",
        "rank of one module halved",
        "llama-lora",
        "incompatible",
        ("rank-mismatch",),
        MISMATCH,
        _halved_rank,
    ),
    _config(
        "R4",
        "rank pattern lost",
        "llama-lora-rank-pattern",
        ("rank-mismatch",),
        MISMATCH,
        rank_pattern={},
    ),
    Case(
        "S8",
        "another hidden size",
        "llama-lora",
        "incompatible",
        ("shape-mismatch",),
        MISMATCH,
        base="wider",
    ),
    Case(
        "S8b",
        "another width of keys and values",
        "llama-lora",
        "incompatible",
        ("shape-mismatch",),
        MISMATCH,
        reshaped("v_proj.lora_B", lambda t: torch.cat([t, t])),
    ),
    Case(
        "S8c",
        "a base with more layers",
        "llama-lora",
        "incompatible",
        MISSING,
        ("missing",),
        base="deeper",
    ),
    Case(
        "S8d",
        "a base with fewer layers",
        "llama-lora",
        "incompatible",
        ("layers-outside-base",),
        ("unexpected",),
        base="shallower",
    ),
    Case(
        "S8d",
        "a layer beyond the base",
        "llama-lora",
        "incompatible",
        ("layers-outside-base",),
        ("unexpected",),
        _one_more_layer,
    ),
    Case(
        "S9",
        "emptied by a sharded save",
        "llama-lora",
        "incompatible",
        ("empty-tensors",),
        MISMATCH,
        reshaped("q_proj.lora", lambda t: torch.zeros(0)),
    ),
    Case("S10", "every lora_B zero", "llama-lora", edit=reshaped("lora_B", torch.zeros_like)),
    Case(
        "S12",
        "A transposed",
        "llama-lora",
        "incompatible",
        ("rank-mismatch", "shape-mismatch"),
        MISMATCH,
        reshaped("lora_A", torch.t),
    ),
    Case(
        "S12",
        "A and B exchanged",
        BERT_SPARSE,
        "incompatible",
        ("rank-mismatch", "shape-mismatch"),
        MISMATCH,
        _factors_exchanged,
    ),
    Case("W", "another base of the same shapes", "llama-lora", base="twin"),
    Case(
        "W",
        "a base of another architecture",
        "llama-lora",
        "incompatible",
        shows=("NoMatchingPeftModuleError",),
        base="gpt2",
        found=("targets-not-found",),
        forecast=False,
    ),
)
