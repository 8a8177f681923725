"""Everything that was read of an adapter and of a base, before anything is decided.

`registry.hub` makes these values, `registry.db` stores them, `compute_plan` reads them. None means
"not known", never "absent": what could not be read leaves an Issue in `problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.domain.adapter_config import AdapterConfig
from registry.domain.base_model import BaseConfig
from registry.domain.issues import Issue
from registry.domain.refs import CheckpointRef
from registry.domain.tensors import Layout
from registry.domain.tokenizer import TokenizerFacts


class WeightsFormat(StrEnum):
    SAFETENSORS = "safetensors"
    PICKLE = "pickle"


@dataclass(frozen=True)
class WeightsFacts:
    """The weight file or files of one checkpoint.

    `files` maps each path to its content id (LFS sha256 or git blob oid); a sharded base has
    several. `size_bytes` is their sum, header included. `layout` is None when no header could
    be read.
    """

    format: WeightsFormat
    files: Mapping[str, str]
    size_bytes: int
    layout: Layout | None


@dataclass(frozen=True)
class AdapterFacts:
    """One adapter at one commit. `config` is None when it could not be parsed."""

    ref: CheckpointRef
    config: AdapterConfig | None
    weights: WeightsFacts | None
    tokenizer: TokenizerFacts | None
    other_adapters: tuple[str, ...] = ()
    problems: tuple[Issue, ...] = ()
    # sha256 of the adapter's own generation_config.json as canonical JSON, None when it has none.
    generation_config_digest: str | None = None
    # How its repository stood when it was read: not content, and kept with the repository.
    private: bool = False
    gated: bool = False


@dataclass(frozen=True)
class BaseFacts:
    """One base model at one commit.

    `tree` is the parameter tree of the built model (names as transformers gives them), known once
    a rehearsal has built it for this config; `weights.layout` holds the names of the files, which
    often differ (no prefix, tied head left out, fused or renamed by the library).
    """

    ref: CheckpointRef
    config: BaseConfig | None
    weights: WeightsFacts | None
    tokenizer: TokenizerFacts | None
    tree: Layout | None = None
    problems: tuple[Issue, ...] = ()
    generation_config_digest: str | None = None
    # Every `*_token_id` of generation_config.json: name -> ids.
    generation_token_ids: Mapping[str, tuple[int, ...]] | None = None
    private: bool = False
    gated: bool = False
