"""Tiny models with real random weights and adapters that PEFT itself saved, for real loads.

torch, transformers and peft are imported inside the functions: they cost seconds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.data.tokenizers import tokenizer_files
from tests.data.weights import Files

ROWS, WIDTH = 320, 32


@lru_cache(maxsize=8)
def build_tiny(kind: str = "llama", *, rows: int = ROWS, tied: bool = False, seed: int = 0) -> Any:
    """A random causal model of two layers. The same arguments give the same weights."""
    import torch
    import transformers

    torch.manual_seed(seed)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            n_embd=WIDTH, n_layer=2, n_head=4, n_positions=64, vocab_size=rows
        )
        return transformers.GPT2LMHeadModel(config).eval()
    shared = {
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": rows,
        "max_position_embeddings": 64,
        "tie_word_embeddings": tied,
    }
    if kind == "qwen2":
        return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shared)).eval()
    if kind == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shared)).eval()
    raise ValueError(kind)


def tiny_base(
    kind: str = "llama", *, rows: int = ROWS, tied: bool = False, tokenizer: Files | None = None
) -> Files:
    """The model's repository, with a tokenizer as long as its rows."""
    files = _saved(build_tiny(kind, rows=rows, tied=tied))
    return {**files, **(tokenizer if tokenizer is not None else tokenizer_files(rows))}


def tiny_adapter(
    base_repo_id: str,
    kind: str = "llama",
    *,
    rows: int | None = None,
    tied: bool = False,
    tokenizer: Files | None = None,
    safe: bool = True,
    lora: Mapping[str, Any] | None = None,
) -> Files:
    """An adapter with non-zero weights, saved by PEFT from the model resized to `rows`.

    `safe=False` saves `adapter_model.bin`; `lora` overrides arguments of LoraConfig.
    """
    import copy

    import peft
    import torch

    base = copy.deepcopy(build_tiny(kind, tied=tied))
    # Without a name PEFT cannot ask the Hub whether the vocabulary was changed.
    base.name_or_path = ""
    if rows is not None:
        base.resize_token_embeddings(rows, mean_resizing=False)
    targets = ["c_attn"] if kind == "gpt2" else ["q_proj", "v_proj"]
    given: dict[str, Any] = {"r": 4, "task_type": "CAUSAL_LM", "target_modules": targets}
    given |= {"fan_in_fan_out": True} if kind == "gpt2" else {}
    model = peft.get_peft_model(base, peft.LoraConfig(**(given | dict(lora or {}))))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    files = _saved(model, safe_serialization=safe)
    files.pop("README.md", None)
    config = json.loads(files["adapter_config.json"]) | {"base_model_name_or_path": base_repo_id}
    files["adapter_config.json"] = json.dumps(config, indent=2) + "\n"
    return {**files, **(tokenizer or {})}


def _saved(model: Any, **options: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, **options)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
