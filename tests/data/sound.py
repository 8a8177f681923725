"""The table of sound kinds: every one of them must load, rehearse and be proven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peft
import torch
from peft import LoraConfig

from tests.data.families import Family
from tests.data.kinds import GROWN, LABELS, PADDED, SHRUNK, Kind

BF16, F32 = torch.bfloat16, torch.float32


def lora(targets: str = "attention", **more: Any) -> Callable[[Family], Any]:
    """A LoRA config; `targets` is fields of the family or module names joined by `+`."""

    def build(family: Family) -> Any:
        chosen = _targets(family, targets)
        return LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": chosen} | more)

    return build


def other(kind: type, targets: str | None = "attention", **more: Any) -> Callable[[Family], Any]:
    """The config of another PEFT type."""

    def build(family: Family) -> Any:
        chosen = {} if targets is None else {"target_modules": _targets(family, targets)}
        return kind(**chosen, **more)

    return build


def _targets(family: Family, names: str) -> list[str] | str:
    if names == "all-linear":
        return names
    chosen: list[str] = []
    for name in names.split("+"):
        if name == "attention":
            chosen += family.attention
        elif name == "mlp":
            chosen += family.mlp
        elif name == "input":
            chosen.append(family.input_name)
        elif name == "output":
            chosen.append(family.output_name or "")
        else:
            chosen.append(name)
    return chosen


def without_embeddings(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As save_embedding_layers=False saves: no copies of the base's tables."""
    return {name: t for name, t in tensors.items() if ".base_layer." not in name}


def without_duplicates(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As most published files are: one tensor per saved module."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if ".modules_to_save." not in name and ".original_module." not in name
    }


def input_alone(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The saved embedding and no copy of the base's head."""
    return {n: t for n, t in without_duplicates(tensors).items() if "lm_head" not in n}


def finer_than_bf16(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As training in mixed precision saves them: float32 values that bfloat16 cannot hold."""
    return {name: tensor * (1 + 2**-10) for name, tensor in tensors.items()}


def with_adapter_name(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`.default.` left in, as a plain torch.save of the state dict has it; PEFT takes it."""
    return {
        name.replace("lora_A.weight", "lora_A.default.weight").replace(
            "lora_B.weight", "lora_B.default.weight"
        ): tensor
        for name, tensor in tensors.items()
    }


def per_expert(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The keys of transformers 4: one adapter per expert and matrix instead of fused ones."""
    torch.manual_seed(11)
    old = {name: t for name, t in tensors.items() if ".experts." not in name}
    for layer in range(2):
        for expert in range(4):
            stem = f"base_model.model.model.layers.{layer}.block_sparse_moe.experts.{expert}"
            for matrix, (inner, outer) in {"w1": (32, 48), "w3": (32, 48), "w2": (48, 32)}.items():
                old[f"{stem}.{matrix}.lora_A.weight"] = torch.randn(4, inner) * 0.05
                old[f"{stem}.{matrix}.lora_B.weight"] = torch.randn(outer, 4) * 0.05
    return old


BOTH = ["embed_tokens", "lm_head"]
SAVED_TABLES = ("lm_head.weight", "model.embed_tokens.weight")

LORA_KINDS = (
    Kind("llama-lora", "llama", lora()),
    Kind("llama-lora-all-linear", "llama", lora("all-linear")),
    Kind("llama-lora-dora", "llama", lora(use_dora=True)),
    Kind("llama-lora-rslora", "llama", lora(use_rslora=True)),
    Kind(
        "llama-lora-rank-pattern",
        "llama",
        lora(rank_pattern={"q_proj": 2}, alpha_pattern={"q_proj": 3}),
    ),
    Kind("llama-lora-some-layers", "llama", lora(layers_to_transform=[1])),
    Kind("llama-lora-bias", "llama", lora(lora_bias=True)),
    Kind("llama-lora-bf16-file", "llama", lora(), dtype=BF16, file_dtype=BF16),
    Kind("llama-lora-fp16-file", "llama", lora(), file_dtype=torch.float16),
    Kind("llama-lora-adapter-name", "llama", lora(), edit=with_adapter_name),
    Kind("llama-saved-both", "llama", lora(modules_to_save=BOTH)),
    Kind(
        "llama-saved-fp32-on-bf16",
        "llama",
        lora(modules_to_save=BOTH),
        dtype=BF16,
        file_dtype=F32,
        edit=finer_than_bf16,
    ),
    Kind(
        "llama-saved-head-untouched",
        "llama",
        lora(modules_to_save=["lm_head"]),
        untouched=("lm_head",),
    ),
    Kind("llama-grown", "llama", lora(modules_to_save=BOTH), rows=GROWN),
    Kind(
        "llama-grown-plain",
        "llama",
        lora(modules_to_save=BOTH),
        rows=GROWN,
        edit=without_duplicates,
    ),
    Kind("llama-shrunk", "llama", lora(modules_to_save=BOTH), rows=SHRUNK),
    Kind("llama-padded", "llama", lora(modules_to_save=BOTH), rows=PADDED),
    Kind(
        "llama-grown-input-only",
        "llama",
        lora(modules_to_save=["embed_tokens"]),
        rows=GROWN,
        fill="output",
        edit=input_alone,
    ),
    Kind("llama-lora-on-tables", "llama", lora("attention+input+output"), edit=without_embeddings),
    Kind(
        "llama-lora-on-tables-saved",
        "llama",
        lora("attention+input+output"),
        overwrites=SAVED_TABLES,
    ),
    Kind(
        "llama-lora-on-tables-grown",
        "llama",
        lora("attention+input+output"),
        rows=GROWN,
        overwrites=SAVED_TABLES,
    ),
    Kind("llama-lora-and-tokens", "llama", lora(trainable_token_indices=[3, 5])),
    Kind("llama-lora-norm-saved", "llama", lora(modules_to_save=["norm"])),
    Kind("llama-pissa", "llama", lora(init_lora_weights="pissa")),
    Kind("llama-olora", "llama", lora(init_lora_weights="olora")),
    Kind("llama-layer-replication", "llama", lora(layer_replication=[[0, 2], [1, 2]])),
    Kind("llama-alora", "llama", lora(alora_invocation_tokens=[7, 8, 9])),
    Kind("tied-lora", "llama-tied", lora()),
    Kind("tied-saved-embedding", "llama-tied", lora(modules_to_save=["embed_tokens"])),
    Kind("tied-tokens", "llama-tied", lora(trainable_token_indices=[3, 5])),
    Kind("tied-grown", "llama-tied", lora(modules_to_save=BOTH), rows=GROWN),
    Kind("qwen2-lora", "qwen2", lora("attention+mlp")),
    Kind("qwen2-bias-lora-only", "qwen2", lora(bias="lora_only")),
    Kind("qwen2-bias-all", "qwen2", lora(bias="all")),
    Kind("gpt2-lora", "gpt2", lora("attention+mlp", fan_in_fan_out=True)),
    Kind(
        "gpt2-grown",
        "gpt2",
        lora(fan_in_fan_out=True, modules_to_save=["wte", "lm_head"]),
        rows=GROWN,
    ),
    Kind("mixtral-lora", "mixtral", lora()),
    Kind("mixtral-lora-router", "mixtral", lora("attention+gate")),
    Kind(
        "mixtral-experts",
        "mixtral",
        lora(target_parameters=["experts.gate_up_proj", "experts.down_proj"]),
    ),
    Kind("mixtral-per-expert", "mixtral", lora("attention+w1+w2+w3"), edit=per_expert),
    Kind("t5-lora", "t5", lora(), task="SEQ_2_SEQ_LM"),
    Kind("bert-embedding", "bert", lora(), task="FEATURE_EXTRACTION"),
    Kind(
        "bert-classifier",
        "bert",
        lora(modules_to_save=["classifier"]),
        task="SEQ_CLS",
        auto_class="AutoModelForSequenceClassification",
        labels=LABELS,
    ),
    Kind(
        "bert-tokens",
        "bert",
        lora(modules_to_save=["classifier"]),
        task="TOKEN_CLS",
        auto_class="AutoModelForTokenClassification",
        labels=LABELS,
    ),
    Kind(
        "bert-questions",
        "bert",
        lora(modules_to_save=["qa_outputs"]),
        task="QUESTION_ANS",
        auto_class="AutoModelForQuestionAnswering",
    ),
    Kind(
        "roberta-classifier-bias-all",
        "roberta",
        lora(bias="all", modules_to_save=["classifier"]),
        task="SEQ_CLS",
        auto_class="AutoModelForSequenceClassification",
        labels=LABELS,
    ),
    Kind(
        "llama-classifier",
        "llama",
        lora(modules_to_save=["score"]),
        task="SEQ_CLS",
        auto_class="AutoModelForSequenceClassification",
        labels=LABELS,
    ),
)

OTHER_KINDS = (
    Kind(
        "ia3",
        "llama",
        other(peft.IA3Config, "k_proj+v_proj+down_proj", feedforward_modules=["down_proj"]),
    ),
    Kind("adalora", "llama", other(peft.AdaLoraConfig, total_step=10)),
    Kind("loha", "llama", other(peft.LoHaConfig, r=4)),
    Kind("lokr", "llama", other(peft.LoKrConfig, r=4)),
    Kind("vera", "llama", other(peft.VeraConfig, "q_proj+o_proj", r=8)),
    Kind(
        "vera-projections-not-saved",
        "llama",
        other(peft.VeraConfig, "q_proj+o_proj", r=8, save_projection=False),
    ),
    Kind("oft", "llama", other(peft.OFTConfig, oft_block_size=8)),
    Kind(
        "boft",
        "llama",
        other(peft.BOFTConfig, "q_proj+o_proj", boft_block_size=8),
        rehearsable=False,
    ),
    Kind("hra", "llama", other(peft.HRAConfig, r=4)),
    Kind(
        "vblora",
        "llama",
        other(peft.VBLoRAConfig, "q_proj+o_proj", vector_length=16, num_vectors=32),
    ),
    Kind("ln-tuning", "llama", other(peft.LNTuningConfig, None)),
    Kind("prompt-tuning", "llama", other(peft.PromptTuningConfig, None, num_virtual_tokens=4)),
    Kind("prefix-tuning", "llama", other(peft.PrefixTuningConfig, None, num_virtual_tokens=4)),
    Kind(
        "p-tuning",
        "llama",
        other(peft.PromptEncoderConfig, None, num_virtual_tokens=4, encoder_hidden_size=16),
    ),
    Kind(
        "trainable-tokens", "llama", other(peft.TrainableTokensConfig, None, token_indices=[3, 5])
    ),
    Kind("fourierft", "llama", other(peft.FourierFTConfig, n_frequency=20)),
    Kind("miss", "llama", other(peft.MissConfig, r=4)),
    Kind("randlora", "llama", other(peft.RandLoraConfig, "q_proj+o_proj", r=4)),
    Kind("c3a", "llama", other(peft.C3AConfig, "q_proj+o_proj", block_size=8)),
    Kind("poly", "llama", other(peft.PolyConfig, "q_proj+o_proj", r=4)),
    Kind("delora", "llama", other(peft.DeloraConfig, r=4)),
    Kind("osf", "llama", other(peft.OSFConfig)),
    Kind("gralora", "llama", other(peft.GraloraConfig, r=4, gralora_k=2)),
    Kind("shira", "llama", other(peft.ShiraConfig, r=2), rehearsable=False),
    Kind("road", "llama", other(peft.RoadConfig, group_size=8)),
    Kind("waveft", "llama", other(peft.WaveFTConfig, n_frequency=20)),
)

SOUND: tuple[Kind, ...] = (*LORA_KINDS, *OTHER_KINDS)
BY_NAME = {kind.name: kind for kind in SOUND}
