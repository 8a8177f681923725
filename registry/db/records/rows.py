"""What the tables hold of a record: its place, columns and issues. Nothing is read or saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from registry.db.base import write_document
from registry.db.records.places import content_of
from registry.db.repositories import DEFAULT_REVISION, commit_key, content_key
from registry.domain.canonical import sha256_digest
from registry.domain.record import Record
from registry.domain.refs import Digest

# Issues that say the base is another than the adapter's config names.
_NAMED_BY_CALLER = frozenset({"base-differs-from-declared", "base-local-path"})
_MAX_PEFT_TYPE = 64


@dataclass(frozen=True)
class Place:
    """The unique key of a current record, and whether its base is the config's own."""

    adapter_repository_id: int
    subfolder: str
    adapter_content: str
    base_source: str
    base_repo_id: str
    base_content: str
    declared: bool


def place_of(record: Record, repository_id: int, *, declared: bool) -> Place:
    """Where the record stands, in this repository."""
    base = record.base
    return Place(
        adapter_repository_id=repository_id,
        subfolder=record.adapter.subfolder or "",
        adapter_content=content_key(record.adapter),
        base_source="" if base is None else base.source.value,
        base_repo_id="" if base is None else base.repo_id,
        base_content="" if base is None else content_key(base),
        declared=declared,
    )


def is_declared(record: Record) -> bool:
    """Whether the record's base is the one that the adapter's config names."""
    if record.base is None:
        return True
    if any(issue.code in _NAMED_BY_CALLER for issue in record.issues):
        return False
    return record.facts.declared_base is not None


def content_digest(document: dict[str, Any]) -> Digest:
    """Equal for two printed records that say the same of the same content."""
    return sha256_digest(write_document(content_of(document)).encode("ascii"))


def record_values(record: Record, columns: Mapping[str, Any]) -> dict[str, Any]:
    """A current record's row. `columns` are those that the record does not tell: the members of
    its place, `base_repository_id`, `planner_version`, `content_digest`, `scanned_at`, `listed`
    and `private`."""
    adapter, base, plan = record.adapter, record.base, record.plan
    names = (adapter.repo_id, adapter.subfolder or "", base.repo_id if base else "")
    return {
        **columns,
        "adapter_revision": adapter.revision or DEFAULT_REVISION,
        "adapter_commit": commit_key(adapter),
        "base_revision": "" if base is None else base.revision or DEFAULT_REVISION,
        "base_commit": "" if base is None else commit_key(base),
        "status": record.status.value,
        "evidence": record.evidence.value,
        "peft_type": (record.facts.peft_type or "")[:_MAX_PEFT_TYPE],
        "issue_codes": write_codes(issue.code for issue in record.issues),
        "author": adapter.repo_id.partition("/")[0] if "/" in adapter.repo_id else "",
        "search_text": " ".join(names).lower(),
        "plan_digest": None if plan is None else plan.digest,
        "confirmed_at": columns["scanned_at"],
        "current": True,
        "shown_status": record.status.value,
    }


def write_codes(codes: Iterable[str]) -> str:
    """Equal for equal sets; a code is found in it between two spaces."""
    distinct = sorted(set(codes))
    return f" {' '.join(distinct)} " if distinct else ""


def plan_values(
    record: Record, document: Mapping[str, Any], created_at: datetime
) -> dict[str, Any]:
    """The row of a record's plan, which it has. `document` is the record as printed."""
    assert record.plan is not None
    base = record.base
    return {
        "digest": record.plan.digest,
        "adapter_digest": record.adapter.digest or "",
        "base_digest": (base.digest if base else None) or "",
        "document": document["plan"],
        "created_at": created_at,
    }


def issue_values(
    record: Record, record_id: int, columns: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One row for each code, the first of it: issues come sorted by severity."""
    rows: dict[str, dict[str, Any]] = {}
    for issue in record.issues:
        row = {
            "record_id": record_id,
            "code": issue.code,
            "severity": issue.severity.value,
            "status": record.status.value,
            "base_repo_id": columns["base_repo_id"],
            "scanned_at": columns["scanned_at"],
            "listed": columns["listed"],
            "private": columns["private"],
        }
        rows.setdefault(issue.code, row)
    return list(rows.values())
