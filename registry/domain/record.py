"""Statuses, evidence, their precedence and legal transitions; the record as it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.domain.issues import Issue
from registry.domain.plan import Json, NaiveLoad, Plan
from registry.domain.refs import CheckpointRef


class Status(StrEnum):
    QUEUED = "queued"
    PLANNED = "planned"
    REHEARSED = "rehearsed"
    COMPATIBLE = "compatible"
    INCOMPATIBLE = "incompatible"
    UNSUPPORTED = "unsupported"
    BLOCKED = "blocked"
    FAILED = "failed"
    STALE = "stale"


class Evidence(StrEnum):
    NONE = "none"
    STATIC = "static"
    REHEARSED = "rehearsed"
    PROVEN = "proven"


@dataclass(frozen=True)
class RecordFacts:
    """The `facts` member, names as the contract prints them."""

    peft_type: str | None = None
    task_type: str | None = None
    rank: int | None = None
    ranks: Mapping[str, int] | None = None
    lora_alpha: float | None = None
    target_modules: tuple[str, ...] | str | None = None
    modules_to_save: tuple[str, ...] | None = None
    weights_file: str | None = None
    weights_bytes: int | None = None
    tensor_count: int | None = None
    dtypes: Mapping[str, int] | None = None
    tokenizer_length: int | None = None
    embedding_rows: int | None = None
    output_rows: int | None = None
    base_config_vocab_size: int | None = None
    base_embedding_rows: int | None = None
    base_output_rows: int | None = None
    tie_word_embeddings: bool | None = None
    declared_base: str | None = None
    other_adapters: tuple[str, ...] | None = None
    trainable_parameters: int | None = None
    trainable_fraction: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Proof:
    """One run of the plan with real weights; `checks` as the contract's section 5 prints them."""

    id: str
    outcome: str
    device: str
    environment: Mapping[str, Json]
    sandbox: str
    inherited_from: Mapping[str, Json] | None
    checks: Mapping[str, Json]
    started_at: str
    finished_at: str


@dataclass(frozen=True)
class Record:
    """Everything known of one (adapter digest, subfolder, base digest) pair."""

    adapter: CheckpointRef
    base: CheckpointRef | None
    status: Status
    evidence: Evidence
    facts: RecordFacts
    plan: Plan | None
    issues: tuple[Issue, ...]
    naive_load: NaiveLoad | None
    proofs: tuple[Proof, ...] = ()

    def to_json(self) -> dict[str, Json]: ...
