"""LoRA adapters made of nothing: PEFT's config and key names over a header and a hole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.data.bases import Base
from tests.data.weights import Files, Tensors, safetensors_file

PREFIX = "base_model.model."

# Every key that PEFT 0.21 writes for a LoRA adapter, with its default.
DEFAULTS: Mapping[str, object] = {
    "alora_invocation_tokens": None,
    "alpha_pattern": {},
    "arrow_config": None,
    "auto_mapping": None,
    "base_model_name_or_path": None,
    "bias": "none",
    "corda_config": None,
    "ensure_weight_tying": False,
    "eva_config": None,
    "exclude_modules": None,
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "kasa_config": None,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": None,
    "loftq_config": {},
    "lora_alpha": 16,
    "lora_bias": False,
    "lora_dropout": 0.0,
    "lora_ga_config": None,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "monteclora_config": None,
    "peft_type": "LORA",
    "peft_version": "0.21.2",
    "qalora_group_size": 16,
    "r": 8,
    "rank_pattern": {},
    "revision": None,
    "target_modules": None,
    "target_parameters": None,
    "task_type": "CAUSAL_LM",
    "trainable_token_indices": None,
    "use_bdlora": None,
    "use_dora": False,
    "use_qalora": False,
    "use_rslora": False,
    "velora_config": None,
}


@dataclass(frozen=True)
class Lora:
    """What an adapter adapts and saves, over the shapes of its base.

    - `input_rows`, `output_rows`: `modules_to_save` of the embedding and the head, so many rows.
    - `base_rows`: rows of an adapted embedding or head whose base layer is saved beside it (what
      `save_embedding_layers` does); targets then name the embedding or the head.
    - `adapted_rows`: rows of an adapted embedding or head; None is the base's own.
    - `tokens`: ids of `trainable_token_indices` on the input embedding.
    - `labels`: rows of a saved classifier, `classifier` its module path.
    - `bias`: "none", "lora_only" or "all"; `lora_bias` is the bias of B itself.
    """

    rank: int = 8
    targets: Sequence[str] = ("q_proj", "v_proj")
    alpha: int = 16
    dtype: str = "F32"
    input_rows: int | None = None
    output_rows: int | None = None
    adapted_rows: int | None = None
    base_rows: int | None = None
    tokens: Sequence[int] = ()
    dora: bool = False
    bias: str = "none"
    lora_bias: bool = False
    labels: int | None = None
    classifier: str = "score"
    task_type: str = "CAUSAL_LM"


def lora_adapter(
    base: Base,
    lora: Lora,
    *,
    tokenizer: Files | None = None,
    config: Mapping[str, object] | None = None,
    rename: Callable[[str], str | None] | None = None,
    more_tensors: Tensors | None = None,
    declared_base: str | None = None,
) -> Files:
    """adapter_config.json, adapter_model.safetensors of header and hole, the tokenizer's files.

    `config` overrides keys of the config; `rename` maps each key of the file to another, or to
    None to leave the tensor out; `more_tensors` are added as they stand.
    """
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, entry in lora_tensors(base, lora).items():
        key = rename(name) if rename else name
        if key is not None:
            tensors[key] = entry
    document = lora_config(base, lora) | {"base_model_name_or_path": declared_base or base.repo_id}
    return {
        "adapter_config.json": json.dumps(document | dict(config or {}), indent=2) + "\n",
        "adapter_model.safetensors": safetensors_file({**tensors, **(more_tensors or {})}),
        **(tokenizer or {}),
    }


def lora_config(base: Base, lora: Lora) -> dict[str, Any]:
    """adapter_config.json as PEFT 0.21 writes it."""
    saved = [
        name
        for name, rows in (("embed_tokens", lora.input_rows), ("lm_head", lora.output_rows))
        if rows is not None
    ]
    if lora.labels is not None:
        # PEFT adds both names to every sequence classifier's config.
        saved = ["classifier", "score"]
    return {
        **DEFAULTS,
        "bias": lora.bias,
        "fan_in_fan_out": _is_conv1d(base),
        "lora_alpha": lora.alpha,
        "lora_bias": lora.lora_bias,
        "modules_to_save": saved or None,
        "r": lora.rank,
        "target_modules": list(lora.targets),
        "task_type": lora.task_type,
        "trainable_token_indices": list(lora.tokens) or None,
        "use_dora": lora.dora,
    }


def lora_tensors(base: Base, lora: Lora) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Every tensor that PEFT would save, under the names that it gives them in the file."""
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in base.shapes.items():
        module = name.removesuffix(".weight")
        if module != name and len(shape) == 2 and _is_target(module, lora.targets):
            found |= _adapted(base, lora, module, shape)
    head = base.shapes.get("lm_head.weight", base.shapes[f"{base.input_name}.weight"])
    if "lm_head" in lora.targets and "lm_head.weight" not in base.shapes:
        found |= _adapted(base, lora, "lm_head", head)
    if lora.input_rows is not None:
        found[f"{base.input_name}.weight"] = (lora.input_rows, base.width)
    if lora.output_rows is not None:
        found["lm_head.weight"] = (lora.output_rows, head[1])
    if lora.tokens:
        key = f"{base.input_name}.token_adapter.trainable_tokens_delta"
        found[key] = (len(lora.tokens), base.width)
    if lora.labels is not None:
        found[f"{lora.classifier}.weight"] = (lora.labels, base.width)
    if lora.bias == "all":
        found |= _other_biases(base, lora)
    return {PREFIX + name: (lora.dtype, shape) for name, shape in found.items()}


def _adapted(
    base: Base, lora: Lora, module: str, shape: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    outputs, inputs = shape[::-1] if _is_conv1d(base) and module != base.input_name else shape
    table = module == base.input_name
    found: dict[str, tuple[int, ...]]
    if table or module == "lm_head":
        outputs = lora.adapted_rows or lora.base_rows or outputs
    if table:
        found = {
            f"{module}.lora_embedding_A": (lora.rank, outputs),
            f"{module}.lora_embedding_B": (inputs, lora.rank),
        }
    else:
        found = {
            f"{module}.lora_A.weight": (lora.rank, inputs),
            f"{module}.lora_B.weight": (outputs, lora.rank),
        }
    if lora.base_rows is not None and (table or module == "lm_head"):
        found[f"{module}.base_layer.weight"] = (lora.base_rows, inputs)
    if lora.dora:
        found[f"{module}.lora_magnitude_vector"] = (outputs,)
    if lora.lora_bias:
        found[f"{module}.lora_B.bias"] = (outputs,)
    if lora.bias in ("all", "lora_only") and f"{module}.bias" in base.shapes:
        found[f"{module}.base_layer.bias"] = (outputs,)
    return found


def _other_biases(base: Base, lora: Lora) -> dict[str, tuple[int, ...]]:
    """The biases of modules that are not adapted, which `bias="all"` saves too; a classifier's
    base has no language head."""
    heads = () if lora.labels is None else ("lm_head.", "vocab_")
    return {
        name: shape
        for name, shape in base.shapes.items()
        if name.endswith(".bias")
        and not name.startswith(heads)
        and not _is_target(name.removesuffix(".bias"), lora.targets)
    }


def _is_target(module: str, targets: Sequence[str]) -> bool:
    return any(module == target or module.endswith(f".{target}") for target in targets)


def _is_conv1d(base: Base) -> bool:
    return base.model_type == "gpt2"
