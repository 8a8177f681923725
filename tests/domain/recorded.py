"""Facts as a scan would record them: from folders on disk, and from plain shapes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry.domain.adapter_config import parse_adapter_config
from registry.domain.base_model import parse_base_config
from registry.domain.facts import AdapterFacts, BaseFacts, WeightsFacts, WeightsFormat
from registry.domain.refs import CheckpointRef, CommitSha, Digest, RepoId, Source
from registry.domain.tensors import Layout, Shape, TensorSpec, parse_safetensors_header
from registry.domain.tokenizer import AddedToken, TokenizerFacts

PREFIX = "base_model.model."
Shapes = Mapping[str, Shape]


def ref(repo_id: str, digit: str, subfolder: str | None = None) -> CheckpointRef:
    return CheckpointRef(
        Source.HUB,
        RepoId(repo_id),
        "main",
        CommitSha(digit * 40),
        Digest("sha256:" + digit * 64),
        subfolder,
    )


def layout_of(shapes: Shapes, dtype: str = "F32") -> Layout:
    return tuple(sorted(TensorSpec(name, dtype, tuple(shape)) for name, shape in shapes.items()))


def read_layout(path: Path) -> Layout:
    with path.open("rb") as file:
        head = file.read(8)
        head += file.read(int.from_bytes(head, "little"))
    return parse_safetensors_header(head, path.stat().st_size).tensors


def weights_of(layout: Layout, name: str = "adapter_model.safetensors") -> WeightsFacts:
    size = sum(_bytes(spec) for spec in layout) + 1024
    return WeightsFacts(WeightsFormat.SAFETENSORS, {name: "0" * 64}, size, layout)


def make_adapter(
    shapes: Shapes | Layout, config: Mapping[str, Any], tokenizer: TokenizerFacts | None = None
) -> AdapterFacts:
    layout = layout_of(shapes) if isinstance(shapes, Mapping) else shapes
    members = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "a/b"}
    return AdapterFacts(
        ref("acme/adapter", "1"),
        parse_adapter_config(json.dumps({**members, **config}).encode()),
        weights_of(layout),
        tokenizer,
    )


def make_base(
    shapes: Shapes | Layout,
    config: Mapping[str, Any],
    tokenizer: TokenizerFacts | None = None,
    *,
    exact: bool = False,
) -> BaseFacts:
    layout = layout_of(shapes) if isinstance(shapes, Mapping) else shapes
    return BaseFacts(
        ref("acme/base", "2"),
        parse_base_config(json.dumps(dict(config)).encode()),
        weights_of(layout, "model.safetensors"),
        tokenizer,
        tree=layout if exact else None,
    )


def read_adapter(folder: Path) -> AdapterFacts:
    weights = folder / "adapter_model.safetensors"
    return AdapterFacts(
        ref("acme/adapter", "1"),
        parse_adapter_config((folder / "adapter_config.json").read_bytes()),
        replace(weights_of(read_layout(weights)), size_bytes=weights.stat().st_size),
        None,
    )


def read_base(folder: Path) -> BaseFacts:
    weights = folder / "model.safetensors"
    return BaseFacts(
        ref("acme/base", "2"),
        parse_base_config((folder / "config.json").read_bytes()),
        weights_of(read_layout(weights), weights.name),
        None,
    )


def tokenizer_of(
    length: int,
    added: Iterable[tuple[int | None, str]] = (),
    *,
    largest_id: int | None = None,
    template: str | None = None,
    **special: str,
) -> TokenizerFacts:
    """A tokenizer whose vocabulary is whatever `added` leaves of `length`."""
    tokens = tuple(AddedToken(i, text, True) for i, text in added)
    return TokenizerFacts(
        content_id="sha256:" + "c" * 64,
        length=length,
        largest_id=length - 1 if largest_id is None else largest_id,
        base_vocabulary_size=length - len(tokens),
        added_tokens=tokens,
        special_tokens=special,
        chat_template=template,
    )


def llama_config(rows: int = 32, layers: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": rows,
        "hidden_size": 8,
        "num_hidden_layers": layers,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
        "eos_token_id": 2,
        **more,
    }


def llama_shapes(
    rows: int = 32, layers: int = 2, *, head: bool = True, output_rows: int | None = None
) -> dict[str, Shape]:
    """A small Llama: width 8, intermediate 12, key and value heads of 4."""
    shapes: dict[str, Shape] = {"model.embed_tokens.weight": (rows, 8), "model.norm.weight": (8,)}
    if head:
        shapes["lm_head.weight"] = (output_rows or rows, 8)
    for layer in range(layers):
        stem = f"model.layers.{layer}"
        for name, (fan_in, fan_out) in LINEAR.items():
            shapes[f"{stem}.{name}.weight"] = (fan_out, fan_in)
        shapes[f"{stem}.input_layernorm.weight"] = (8,)
    return shapes


LINEAR: dict[str, tuple[int, int]] = {
    "self_attn.q_proj": (8, 8),
    "self_attn.k_proj": (8, 4),
    "self_attn.v_proj": (8, 4),
    "self_attn.o_proj": (8, 8),
    "mlp.gate_proj": (8, 12),
    "mlp.up_proj": (8, 12),
    "mlp.down_proj": (12, 8),
}


def lora_shapes(
    targets: Iterable[str] = ("q_proj", "v_proj"),
    *,
    r: int = 4,
    layers: int = 2,
    rows: int | None = None,
    saved: Iterable[str] = ("model.embed_tokens", "lm_head"),
) -> dict[str, Shape]:
    """LoRA on some projections; with `rows` also saved embeddings of so many rows."""
    wanted = set(targets)
    shapes: dict[str, Shape] = {}
    for layer in range(layers):
        for name, (fan_in, fan_out) in LINEAR.items():
            if name.rpartition(".")[2] in wanted:
                stem = f"{PREFIX}model.layers.{layer}.{name}"
                shapes[f"{stem}.lora_A.weight"] = (r, fan_in)
                shapes[f"{stem}.lora_B.weight"] = (fan_out, r)
    if rows is not None:
        shapes |= {f"{PREFIX}{module}.weight": (rows, 8) for module in saved}
    return shapes


def lora_config(targets: Iterable[str] = ("q_proj", "v_proj"), **more: Any) -> dict[str, Any]:
    return {"r": 4, "lora_alpha": 8, "target_modules": list(targets), **more}


def _bytes(spec: TensorSpec) -> int:
    size = {"F32": 4, "BF16": 2, "F16": 2, "F64": 8}.get(spec.dtype, 1)
    for dimension in spec.shape:
        size *= dimension
    return size
