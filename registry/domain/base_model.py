"""The base model: config.json, and its module tree as far as names in its files tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BaseConfig:
    """What config.json says. Nested text configs are flattened as transformers reads them.

    `vocab_size` is the config vocab size, `dtype` the torch spelling (`bfloat16`) or None,
    `quantization` the method's name or None, `remote_code` True when the config needs code from
    the repository (`auto_map`) and transformers has no class of its own for `model_type`.
    `token_ids` maps every `*_token_id` key to its ids.
    """

    model_type: str | None
    architectures: tuple[str, ...]
    vocab_size: int | None
    hidden_size: int | None
    num_hidden_layers: int | None
    tie_word_embeddings: bool | None
    dtype: str | None
    is_encoder_decoder: bool = False
    num_labels: int | None = None
    quantization: str | None = None
    remote_code: bool = False
    token_ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    raw: Mapping[str, object] = field(default_factory=dict)


def parse_base_config(data: bytes) -> BaseConfig:
    """Parse config.json. Raises ConfigInvalid."""
