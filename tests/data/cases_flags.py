"""Cases about flags, biases, configs, experts, classifiers, leftovers and other types."""

from __future__ import annotations

import torch

from tests.data.cases import Case, P, Tensors, added, both, renamed, reshaped, without
from tests.data.kinds import Kind
from tests.data.sound import lora

MISSING = ("tensors-missing",)
UNEXPECTED = ("tensors-unexpected",)
OVERWRITTEN = ("base-overwritten",)
MISMATCH = ("size mismatch",)
INVALID = ("config-invalid",)
HEAD_MISSING = ("modules-to-save-missing",)

GPT2_WRONG_FLAG = Kind("gpt2-wrong-flag", "gpt2", lora("attention", fan_in_fan_out=False))
T5_RSLORA = Kind("t5-rslora", "t5", lora(use_rslora=True), task="SEQ_2_SEQ_LM")
ONE_PARAMETER = ["experts.gate_up_proj"]


def _quantizer_words(tensors: Tensors) -> Tensors:
    more = {
        f"{P}model.layers.0.self_attn.q_proj.base_layer.weight.absmax": torch.ones(8),
        f"{P}model.layers.0.self_attn.q_proj.base_layer.weight.quant_map": torch.ones(16),
    }
    return {**tensors, **more}


def _without_expert(tensors: Tensors) -> Tensors:
    return without("experts.3.")(tensors)


FLAGS = (
    Case("D1", "DoRA", "llama-lora-dora"),
    Case(
        "D2",
        "DoRA flag lost",
        "llama-lora-dora",
        "incompatible",
        ("dora-flag-missing",),
        ("unexpected",),
        config={"use_dora": False},
    ),
    Case(
        "D3",
        "magnitudes absent",
        "llama-lora-dora",
        "incompatible",
        MISSING,
        ("missing",),
        without("magnitude"),
    ),
    Case("R1", "rsLoRA", "llama-lora-rslora"),
    Case("R2", "rsLoRA flag lost", T5_RSLORA, config={"use_rslora": False}),
    Case(
        "R2", "alpha lost", "llama-lora", codes=("scale-unverifiable",), config={"lora_alpha": None}
    ),
    Case("R5", "PiSSA", "llama-pissa", codes=("rewrites-base-weights",)),
    Case("R6", "OLoRA", "llama-olora", codes=("rewrites-base-weights",)),
    Case("LR1", "layers replicated", "llama-layer-replication", forecast=False),
    Case(
        "LR2",
        "layer replication lost",
        "llama-layer-replication",
        "incompatible",
        ("layers-outside-base",),
        ("unexpected",),
        config={"layer_replication": None},
    ),
    Case("B1", "every bias", "qwen2-bias-all", codes=OVERWRITTEN, shows=("overwritten",)),
    Case(
        "B2",
        "biases of adapted layers",
        "qwen2-bias-lora-only",
        codes=OVERWRITTEN,
        shows=("overwritten",),
    ),
    Case(
        "B3",
        "biases that the base lacks",
        "llama-lora",
        "incompatible",
        UNEXPECTED,
        ("unexpected",),
        added({"model.layers.0.self_attn.q_proj.base_layer.bias": torch.ones(32)}),
        {"bias": "lora_only"},
    ),
    Case(
        "B4",
        "biases asked for and absent",
        "qwen2-bias-lora-only",
        codes=("bias-not-saved",),
        edit=without(".bias"),
    ),
    Case(
        "B5",
        "biases unasked",
        "qwen2-bias-lora-only",
        codes=OVERWRITTEN,
        shows=("overwritten",),
        config={"bias": "none"},
    ),
    Case(
        "B6",
        "lora_bias lost",
        "llama-lora-bias",
        "incompatible",
        UNEXPECTED,
        ("unexpected",),
        config={"lora_bias": False},
    ),
    Case("G1", "Conv1D", "gpt2-lora"),
    Case("G2", "Conv1D without fan_in_fan_out", GPT2_WRONG_FLAG),
    Case("DT", "bfloat16 file", "llama-lora-bf16-file"),
    Case("DT", "float16 file", "llama-lora-fp16-file"),
    Case("DT", "float32 tables on a bfloat16 base", "llama-saved-fp32-on-bf16"),
)

CONFIGS = (
    Case(
        "RE1",
        "targets as a pattern",
        "llama-lora",
        config={"target_modules": r".*\.(q|k|v|o)_proj"},
    ),
    Case(
        "RE2",
        "a bare name as a pattern",
        "llama-lora",
        "incompatible",
        ("targets-not-found", "tensors-unexpected"),
        ("NoMatchingPeftModuleError",),
        config={"target_modules": "q_proj"},
    ),
    Case(
        "C1",
        "a key that PEFT does not know",
        "llama-lora",
        codes=("config-unknown-keys",),
        config={"use_wonder": True},
    ),
    Case("C3", "no task", "llama-lora", config={"task_type": None}),
    Case("C3", "no task for an encoder", "bert-embedding", config={"task_type": None}),
    Case(
        "C4",
        "base named by a local path",
        "llama-lora",
        config={"base_model_name_or_path": "./base"},
    ),
    Case(
        "C6",
        "no targets, and the file has the default ones",
        Kind("llama-defaults", "llama", lora("q_proj+v_proj")),
        config={"target_modules": None},
    ),
    Case(
        "C6",
        "no targets, and the file has more",
        "llama-lora",
        "incompatible",
        UNEXPECTED,
        ("unexpected",),
        config={"target_modules": None},
    ),
    Case(
        "C12",
        "one module both adapted and saved",
        "llama-lora",
        "incompatible",
        ("modules-to-save-missing", "tensors-unexpected"),
        ("KeyError",),
        config={"modules_to_save": ["o_proj"]},
    ),
)

EXPERTS = (
    Case(
        "MOE2",
        "one of two matrices that are fused",
        "mixtral-lora",
        "incompatible",
        UNEXPECTED,
        ("ValueError: Cannot convert PEFT target",),
        config={"target_modules": ["w1", "q_proj"]},
        forecast=False,
    ),
    Case(
        "MOE5b",
        "a pattern of single experts",
        "mixtral-lora",
        "incompatible",
        UNEXPECTED,
        ("not found in the base model",),
        config={"target_modules": r".*experts\.\d+\.w1"},
        forecast=False,
    ),
    Case(
        "TP3",
        "adapted parameters that match nothing",
        "mixtral-experts",
        "incompatible",
        shows=("unexpected",),
        config={"target_parameters": ["experts.nothing"]},
        found=UNEXPECTED,
        forecast=False,
    ),
    Case("MOE1", "one adapter per expert", "mixtral-per-expert", forecast=False),
    Case(
        "MOE3",
        "an expert absent",
        "mixtral-per-expert",
        "incompatible",
        shows=MISMATCH,
        edit=_without_expert,
        found=("shape-mismatch",),
        forecast=False,
    ),
    Case("TP1", "adapted parameters", "mixtral-experts", forecast=False),
    Case(
        "TP2",
        "adapted parameters lost",
        "mixtral-experts",
        "incompatible",
        shows=("unexpected",),
        found=UNEXPECTED,
        config={"target_parameters": None},
        forecast=False,
    ),
)

CLASSIFIERS = (
    Case("SC1", "llama with three labels", "llama-classifier", shows=MISMATCH),
    Case("SC1", "bert with three labels", "bert-classifier", shows=MISMATCH),
    Case("SC1", "bert with token labels", "bert-tokens", shows=MISMATCH),
    Case("SC1", "bert for questions", "bert-questions", forecast=False),
    Case(
        "SC1",
        "roberta with a nested head",
        "roberta-classifier-bias-all",
        codes=OVERWRITTEN,
        shows=MISMATCH,
    ),
    Case(
        "SC2",
        "one label more",
        "llama-classifier",
        shows=MISMATCH,
        edit=reshaped("score", lambda t: torch.cat([t, t[:1]])),
    ),
    Case(
        "SC2",
        "the default number of labels",
        "bert-classifier",
        edit=reshaped("classifier", lambda t: t[:2]),
    ),
    Case(
        "SC3",
        "a classifier on a language model",
        "llama-classifier",
        "incompatible",
        UNEXPECTED,
        ("unexpected",),
        config={"task_type": "CAUSAL_LM", "modules_to_save": None},
    ),
    Case(
        "SC4",
        "no score",
        "llama-classifier",
        "incompatible",
        HEAD_MISSING,
        ("KeyError",),
        without("score"),
        forecast=False,
    ),
    Case(
        "SC4",
        "no classifier",
        "bert-classifier",
        "incompatible",
        HEAD_MISSING,
        ("KeyError",),
        without("classifier"),
        forecast=False,
    ),
)

LEFTOVERS = (
    Case(
        "Q",
        "leftovers of a quantiser",
        "llama-lora",
        "incompatible",
        UNEXPECTED,
        ("unexpected",),
        _quantizer_words,
    ),
    Case(
        "Q",
        "packed weights of the base",
        "llama-lora",
        "incompatible",
        ("shape-mismatch",),
        MISMATCH,
        added(
            {
                "model.layers.0.self_attn.q_proj.base_layer.weight": torch.ones(
                    512, 1, dtype=torch.uint8
                )
            }
        ),
    ),
    Case(
        "Q2",
        "weights of the base along",
        "llama-lora",
        codes=OVERWRITTEN,
        shows=("overwritten",),
        edit=added({"model.norm.weight": torch.full((32,), 3.0)}),
    ),
    Case(
        "Q2",
        "weights of adapted layers along",
        "llama-lora",
        codes=OVERWRITTEN,
        shows=("overwritten",),
        edit=added({"model.layers.0.self_attn.q_proj.base_layer.weight": torch.ones(32, 32)}),
    ),
    Case(
        "OLD",
        "biases under their old names",
        "qwen2-bias-lora-only",
        codes=("base-overwritten", "key-names-nonstandard"),
        shows=("unexpected",),
        edit=renamed((".base_layer.bias", ".bias")),
    ),
    Case(
        "OLD",
        "old names and a wrong prefix",
        "qwen2-lora",
        codes=("key-names-nonstandard",),
        shows=("missing", "unexpected"),
        edit=both(renamed((P, P + "_orig_mod.")), renamed(("lora_A.", "lora_A.mine."))),
    ),
)

# Each by the name of its sound kind. The static rules leave most of a plain load to the rehearsal.
TYPES = tuple(
    Case("TYPE", kind.removeprefix("other-"), kind, forecast=False)
    for kind in (
        *("ia3", "adalora", "loha", "lokr", "vera", "vera-projections-not-saved", "oft", "hra"),
        *("vblora", "ln-tuning", "prompt-tuning", "prefix-tuning", "p-tuning", "trainable-tokens"),
        *("fourierft", "miss", "randlora", "c3a", "poly", "delora", "osf", "gralora", "road"),
        "waveft",
    )
) + tuple(
    Case("TYPE", f"{kind}, which needs values", kind, "unsupported", forecast=False, only_real=True)
    for kind in ("boft", "shira")
)
