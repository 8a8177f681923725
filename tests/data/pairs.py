"""Recorded facts of a pair on disk: what a scan of these folders would have found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from registry.domain.adapter_config import AdapterConfig
from registry.domain.base_model import BaseConfig
from registry.domain.facts import AdapterFacts, BaseFacts, WeightsFacts, WeightsFormat
from registry.domain.refs import CheckpointRef, CommitSha, Digest, RepoId, Source
from registry.domain.tensors import Layout, parse_safetensors_header


def read_layout(path: Path) -> Layout:
    return parse_safetensors_header(path.read_bytes(), path.stat().st_size).tensors


def adapter_facts(folder: Path, layout: Layout | None = None, **config: Any) -> AdapterFacts:
    """The adapter's facts; `config` replaces keys of its adapter_config.json."""
    raw = json.loads((folder / "adapter_config.json").read_text()) | config
    weights = folder / "adapter_model.safetensors"
    return AdapterFacts(
        ref=_ref("acme/adapter", "1"),
        config=AdapterConfig(
            peft_type=raw["peft_type"],
            task_type=raw.get("task_type"),
            base_model_name_or_path=raw.get("base_model_name_or_path"),
            revision=None,
            raw=raw,
        ),
        weights=WeightsFacts(
            WeightsFormat.SAFETENSORS,
            {weights.name: "0" * 64},
            weights.stat().st_size,
            read_layout(weights) if layout is None else layout,
        ),
        tokenizer=None,
    )


def base_facts(raw: dict[str, Any]) -> BaseFacts:
    return BaseFacts(
        ref=_ref("acme/base", "0"),
        config=BaseConfig(
            model_type=raw.get("model_type"),
            architectures=tuple(raw.get("architectures") or ()),
            vocab_size=raw.get("vocab_size"),
            hidden_size=raw.get("hidden_size"),
            num_hidden_layers=raw.get("num_hidden_layers"),
            tie_word_embeddings=raw.get("tie_word_embeddings"),
            dtype=raw.get("dtype"),
            is_encoder_decoder=bool(raw.get("is_encoder_decoder")),
            raw=raw,
        ),
        weights=None,
        tokenizer=None,
    )


def read_base_facts(folder: Path) -> BaseFacts:
    return base_facts(json.loads((folder / "config.json").read_text()))


def _ref(repo_id: str, digit: str) -> CheckpointRef:
    return CheckpointRef(
        Source.HUB,
        RepoId(repo_id),
        "main",
        CommitSha(digit * 40),
        Digest("sha256:" + digit * 64),
    )
