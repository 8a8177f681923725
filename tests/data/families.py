"""Tiny base models of real architectures, with real random weights, saved as safetensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    BertConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    PreTrainedModel,
    Qwen2Config,
    RobertaConfig,
    T5Config,
)

VOCABULARY = 96
HIDDEN = 32
SEED = 20260101


@dataclass(frozen=True)
class Family:
    """One architecture: `attention` and `mlp` are module names that an adapter may target."""

    name: str
    config: Callable[[], Any]
    auto_class: str
    attention: tuple[str, ...]
    mlp: tuple[str, ...]
    input_name: str
    output_name: str | None


def _decoder(kind: type, **more: Any) -> Callable[[], Any]:
    def build() -> Any:
        usual: dict[str, Any] = {
            "vocab_size": VOCABULARY,
            "hidden_size": HIDDEN,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        }
        return kind(**usual | more)

    return build


def _encoder(kind: type, **more: Any) -> Callable[[], Any]:
    def build() -> Any:
        return kind(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=130,
            **more,
        )

    return build


_LLAMA_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_LLAMA_MLP = ("gate_proj", "up_proj", "down_proj")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "llama",
            _decoder(LlamaConfig, tie_word_embeddings=False),
            "AutoModelForCausalLM",
            _LLAMA_ATTENTION,
            _LLAMA_MLP,
            "embed_tokens",
            "lm_head",
        ),
        Family(
            "llama-tied",
            _decoder(LlamaConfig, tie_word_embeddings=True),
            "AutoModelForCausalLM",
            _LLAMA_ATTENTION,
            _LLAMA_MLP,
            "embed_tokens",
            "lm_head",
        ),
        Family(
            "qwen2",
            _decoder(Qwen2Config, tie_word_embeddings=True),
            "AutoModelForCausalLM",
            _LLAMA_ATTENTION,
            _LLAMA_MLP,
            "embed_tokens",
            "lm_head",
        ),
        Family(
            "mixtral",
            _decoder(MixtralConfig, num_local_experts=4, num_experts_per_tok=2),
            "AutoModelForCausalLM",
            _LLAMA_ATTENTION,
            (),
            "embed_tokens",
            "lm_head",
        ),
        Family(
            "gpt2",
            lambda: GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=HIDDEN,
                n_layer=2,
                n_head=4,
                n_positions=512,
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=0,
            ),
            "AutoModelForCausalLM",
            ("c_attn",),
            ("c_fc", "mlp.c_proj"),
            "wte",
            "lm_head",
        ),
        Family(
            "t5",
            lambda: T5Config(
                vocab_size=VOCABULARY,
                d_model=HIDDEN,
                d_kv=8,
                d_ff=48,
                num_layers=2,
                num_heads=4,
                decoder_start_token_id=0,
            ),
            "AutoModelForSeq2SeqLM",
            ("q", "v"),
            ("wo",),
            "shared",
            "lm_head",
        ),
        Family(
            "bert",
            _encoder(BertConfig),
            "AutoModel",
            ("query", "value"),
            ("intermediate.dense",),
            "word_embeddings",
            None,
        ),
        Family(
            "roberta",
            _encoder(RobertaConfig, pad_token_id=1),
            "AutoModel",
            ("query", "value"),
            ("intermediate.dense",),
            "word_embeddings",
            None,
        ),
    )
}


# Bases that an adapter of "llama" was not trained on.
_OTHER_LLAMAS: dict[str, dict[str, Any]] = {
    "wider": {"hidden_size": HIDDEN + 8},
    "shallower": {"num_hidden_layers": 1},
    "deeper": {"num_hidden_layers": 3},
    "twin": {},
}
for _name, _more in _OTHER_LLAMAS.items():
    FAMILIES[_name] = replace(
        FAMILIES["llama"],
        name=_name,
        config=_decoder(LlamaConfig, tie_word_embeddings=False, **_more),
    )


def save_base(family: Family, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write the family's base once: config.json and model.safetensors."""
    if not (folder / "config.json").exists():
        torch.manual_seed(SEED + list(FAMILIES).index(family.name))
        model = getattr(transformers, family.auto_class).from_config(family.config())
        with torch.no_grad():
            for parameter in model.parameters():
                # Biases and norms begin at 0 and 1 everywhere; a lost one would not show.
                parameter.add_(torch.randn_like(parameter) * 0.05)
        model.to(dtype).save_pretrained(folder)
    return folder


def build_base(
    folder: Path, auto_class: str, dtype: torch.dtype = torch.float32, **kwargs: Any
) -> PreTrainedModel:
    """The saved base as a user would load it, for training an adapter on it."""
    torch.manual_seed(SEED + 1)
    model: PreTrainedModel = getattr(transformers, auto_class).from_pretrained(
        folder, dtype=dtype, **kwargs
    )
    return model
