"""The record: everything known of one pair, its status by precedence, and its printed form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from registry.domain.issues import CATALOGUE, Issue, Severity
from registry.domain.naive_load import NaiveLoad
from registry.domain.refs import CheckpointRef, CommitSha, Digest, RepoId, Source
from registry.domain.status import TRANSITIONS, Evidence, Status, may_follow
from registry.domain.steps import Json, Plan, plan_from_json
from registry.errors import InvalidRequest

__all__ = [
    "TRANSITIONS",
    "Evidence",
    "Proof",
    "Record",
    "RecordFacts",
    "Status",
    "decide_evidence",
    "decide_status",
    "exit_code",
    "may_follow",
    "record_from_json",
]


@dataclass(frozen=True)
class RecordFacts:
    """The `facts` member, names as the contract prints them. None: not known."""

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

    def to_json(self) -> dict[str, Json]:
        return {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}


# A proof's environment says by this member since when it is retired.
RETIRED_AT = "retired_at"


@dataclass(frozen=True)
class Proof:
    """One run of the plan with real weights; `checks` as the contract's section 5 prints them.

    `outcome` is passed, failed or error (error: a failure of ours, never of the adapter).
    Times are ISO 8601 in UTC.
    """

    id: str
    outcome: str
    device: str
    environment: Mapping[str, Json]
    sandbox: str
    inherited_from: Mapping[str, Json] | None
    checks: Mapping[str, Json]
    started_at: str
    finished_at: str

    @property
    def is_retired(self) -> bool:
        """The operator has retired the versions that it was run with; it counts no longer."""
        return RETIRED_AT in self.environment

    def to_json(self) -> dict[str, Json]:
        return {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}


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

    def to_json(self) -> dict[str, Json]:
        """The printed record, members in the contract's order (section 3)."""
        return {
            "adapter": {**_ref_to_json(self.adapter), "subfolder": self.adapter.subfolder},
            "base": None if self.base is None else _ref_to_json(self.base),
            "status": self.status.value,
            "evidence": self.evidence.value,
            "facts": self.facts.to_json(),
            "plan": None if self.plan is None else self.plan.to_json(),
            "issues": [issue_to_json(issue) for issue in self.issues],
            "naive_load": None
            if self.naive_load is None
            else {"outcome": self.naive_load.outcome, "error": self.naive_load.error},
            "proofs": [proof.to_json() for proof in self.proofs],
            # Verdicts per serving engine and version; empty means unknown.
            "serving": [],
        }


# --- status ------------------------------------------------------------------------------------

# Blocked on the adapter itself. `revision-not-found` is here only while the adapter is unread.
_BLOCKED_ON_ADAPTER = frozenset({"adapter-not-found", "adapter-gated"})

# Faults that the adapter's own files settle, whatever the base is.
_DECIDED_BY_ADAPTER = frozenset(
    {
        "vocabulary-conflict",
        "rank-mismatch",
        "modules-to-save-missing",
        # While a base is unread this can only be half a pair of LoRA matrices.
        "tensors-missing",
        "empty-tensors",
        "dora-flag-missing",
        "weights-missing",
        "weights-misnamed",
        "weights-lfs-pointer",
        "weights-truncated",
        "header-invalid",
        "weights-pickle-unsafe",
        "config-invalid",
        "weights-not-finite",
        "key-names-nonstandard",
    }
)


def decide_status(
    issues: Iterable[Issue],
    *,
    evidence: Evidence = Evidence.STATIC,
    adapter_found: bool = True,
) -> Status:
    """The status that issues and evidence lead to (contract section 2).

    Order: blocked on the adapter, unsupported, incompatible by the adapter's own files, blocked on
    the base, a failure of ours, incompatible, and without errors what the evidence says.
    `adapter_found` is False while the adapter's commit is unknown: a missing revision is then its.
    """
    errors = {issue.code for issue in issues if issue.severity is Severity.ERROR}
    statuses = {CATALOGUE[code].status for code in errors if code in CATALOGUE}
    if errors & _BLOCKED_ON_ADAPTER or (not adapter_found and "revision-not-found" in errors):
        return Status.BLOCKED
    if Status.UNSUPPORTED in statuses:
        return Status.UNSUPPORTED
    if errors & _DECIDED_BY_ADAPTER:
        return Status.INCOMPATIBLE
    for status in (Status.BLOCKED, Status.FAILED, Status.INCOMPATIBLE):
        if status in statuses:
            return status
    return _STATUS_OF_EVIDENCE[evidence]


_STATUS_OF_EVIDENCE: Mapping[Evidence, Status] = {
    Evidence.NONE: Status.QUEUED,
    Evidence.STATIC: Status.PLANNED,
    Evidence.REHEARSED: Status.REHEARSED,
    Evidence.PROVEN: Status.COMPATIBLE,
}


def decide_evidence(status: Status, reached: Evidence) -> Evidence:
    """What a record of this status rests on: nothing was learnt while blocked, failed or queued."""
    if status in (Status.QUEUED, Status.FAILED, Status.BLOCKED):
        return Evidence.NONE
    return reached


_MEETS: Mapping[Status, frozenset[Status]] = {
    Status.PLANNED: frozenset({Status.PLANNED, Status.REHEARSED, Status.COMPATIBLE, Status.STALE}),
    Status.REHEARSED: frozenset({Status.REHEARSED, Status.COMPATIBLE, Status.STALE}),
    Status.COMPATIBLE: frozenset({Status.COMPATIBLE}),
}
_NOT_KNOWN_YET, _REFUSED, _SERVICE_FAILED = 3, 4, 5


def exit_code(record: Record, require: Status = Status.REHEARSED) -> int:
    """The command line's exit code (contract section 6): 0 meets `require`.

    `require` is planned, rehearsed or compatible; another status raises KeyError.
    """
    if record.status in _MEETS[require]:
        return 0
    if record.status is Status.INCOMPATIBLE:
        return 1
    if record.status is Status.FAILED:
        return _SERVICE_FAILED
    if record.status is Status.BLOCKED:
        codes = {issue.code for issue in record.issues if issue.severity is Severity.ERROR}
        gated = codes & {"adapter-gated", "base-gated"}
        return _REFUSED if gated else _NOT_KNOWN_YET
    return _NOT_KNOWN_YET


# --- JSON --------------------------------------------------------------------------------------


def issue_to_json(issue: Issue) -> dict[str, Json]:
    """One entry of `issues`; tensor and shapes are left out when the issue names none."""
    document: dict[str, Json] = {
        "code": issue.code,
        "severity": issue.severity.value,
        "message": issue.message,
        "fix": issue.fix,
    }
    if issue.tensor is not None:
        document["tensor"] = issue.tensor
    if issue.file_shape is not None:
        document["file_shape"] = list(issue.file_shape)
    if issue.base_shape is not None:
        document["base_shape"] = list(issue.base_shape)
    return document


def issue_from_json(document: Mapping[str, Any]) -> Issue:
    """The inverse of `issue_to_json`."""
    return Issue(
        code=document["code"],
        severity=Severity(document["severity"]),
        message=document["message"],
        fix=document.get("fix"),
        tensor=document.get("tensor"),
        file_shape=_shape(document.get("file_shape")),
        base_shape=_shape(document.get("base_shape")),
    )


def record_from_json(document: Mapping[str, Any]) -> Record:
    """The inverse of `Record.to_json`. Raises InvalidRequest for what is not a record."""
    try:
        return _read_record(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidRequest(f"This is not a record: {type(error).__name__}.") from error


def _read_record(document: Mapping[str, Any]) -> Record:
    base, plan, naive = document["base"], document["plan"], document["naive_load"]
    return Record(
        adapter=_ref_from_json(document["adapter"]),
        base=None if base is None else _ref_from_json(base),
        status=Status(document["status"]),
        evidence=Evidence(document["evidence"]),
        facts=_facts_from_json(document["facts"]),
        plan=None if plan is None else plan_from_json(plan),
        issues=tuple(issue_from_json(issue) for issue in document["issues"]),
        naive_load=None if naive is None else NaiveLoad(naive["outcome"], naive.get("error")),
        proofs=tuple(
            Proof(**{entry.name: proof[entry.name] for entry in fields(Proof)})
            for proof in document["proofs"]
        ),
    )


def _facts_from_json(document: Mapping[str, Any]) -> RecordFacts:
    known = {entry.name for entry in fields(RecordFacts)}
    members: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in document.items()
        if name in known
    }
    return RecordFacts(**members)


def _ref_to_json(ref: CheckpointRef) -> dict[str, Json]:
    return {
        "source": ref.source.value,
        "repo_id": ref.repo_id,
        "revision": ref.revision,
        "commit_sha": ref.commit_sha,
        "digest": ref.digest,
    }


def _ref_from_json(document: Mapping[str, Any]) -> CheckpointRef:
    commit_sha, digest = document["commit_sha"], document["digest"]
    return CheckpointRef(
        source=Source(document["source"]),
        repo_id=RepoId(document["repo_id"]),
        revision=document["revision"],
        commit_sha=None if commit_sha is None else CommitSha(commit_sha),
        digest=None if digest is None else Digest(digest),
        subfolder=document.get("subfolder"),
    )


def _shape(value: Any) -> tuple[int, ...] | None:
    return None if value is None else tuple(value)


def _plain(value: Any) -> Json:
    """Members as JSON has them: tuples as arrays, mappings as objects, 16.0 as 16."""
    if isinstance(value, tuple):
        return [_plain(member) for member in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    plain: Json = int(value) if isinstance(value, float) and value.is_integer() else value
    return plain
