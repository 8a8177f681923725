"""What is recorded of a repository that the Hub tells of: as adapter, as base, and who needs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from registry.db.base import Base
from registry.db.models import (
    CheckpointRow,
    OperationRow,
    RecordRow,
    RepositoryRow,
)
from registry.db.records.finding import StoredRecord, select_stored, stored
from registry.db.repositories import repository_ids, repository_names
from registry.domain.record import Evidence, Status
from registry.domain.refs import Source

_OPERATIONS = Base.metadata.tables[OperationRow.__tablename__]
# What counts as being asked for: requests of people and programs, not our own crawls.
_ASKED_KINDS = ("scan", "prove")
_MOST_OPERATIONS = 100_000
_AT_ONCE = 500


@dataclass(frozen=True)
class Dependent:
    """A current record as it is asked for again. `base` is None for the declared one; `proven`:
    it was compatible with the content that its base or adapter had."""

    record_id: int
    repo_id: str
    revision: str
    subfolder: str | None
    base: str | None
    base_revision: str
    proven: bool


def is_adapter(connection: sa.Connection, repo_id: str) -> bool:
    """Whether an adapter was read in this repository, under any id that it goes by."""
    return _has_checkpoint(connection, "adapter", repo_id)


def is_base(connection: sa.Connection, repo_id: str) -> bool:
    """Whether any record's base is this repository, read or not."""
    found = sa.select(RecordRow.id).where(
        RecordRow.base_repo_id.in_(repository_names(repo_id)),
        RecordRow.base_source == Source.HUB.value,
    )
    return connection.execute(found.limit(1)).first() is not None


def has_adapter_at(connection: sa.Connection, repo_id: str, commit_sha: str) -> bool:
    """Whether this commit of the repository was read as an adapter."""
    return _has_checkpoint(connection, "adapter", repo_id, commit_sha)


def _has_checkpoint(
    connection: sa.Connection, kind: str, repo_id: str, commit_sha: str | None = None
) -> bool:
    conditions = [
        CheckpointRow.repository_id.in_(repository_ids(Source.HUB, repo_id)),
        CheckpointRow.kind == kind,
        sa.not_(CheckpointRow.content_key.startswith("?")),
    ]
    if commit_sha is not None:
        conditions.append(CheckpointRow.commit_key == commit_sha)
    found = sa.select(CheckpointRow.id).where(*conditions).limit(1)
    return connection.execute(found).first() is not None


def list_own(connection: sa.Connection, repo_id: str, revision: str) -> list[Dependent]:
    """The current records of an adapter's repository at a branch."""
    return _dependents(
        connection,
        RecordRow.adapter_repository_id.in_(repository_ids(Source.HUB, repo_id)),
        RecordRow.adapter_revision == revision,
    )


def list_dependents(
    connection: sa.Connection, repo_id: str, revision: str, content: str
) -> list[Dependent]:
    """The current records that were judged on a branch of this base when it had other content, or
    when it could not be read."""
    return _dependents(
        connection,
        RecordRow.base_repo_id.in_(repository_names(repo_id)),
        RecordRow.base_source == Source.HUB.value,
        RecordRow.base_revision == revision,
        RecordRow.base_content != content,
    )


def _dependents(
    connection: sa.Connection, *conditions: Any, limit: int | None = None
) -> list[Dependent]:
    rows = connection.execute(
        sa.select(
            RecordRow.id,
            RepositoryRow.repo_id,
            RecordRow.adapter_revision,
            RecordRow.subfolder,
            RecordRow.declared,
            RecordRow.base_repo_id,
            RecordRow.base_revision,
            RecordRow.status,
            RecordRow.evidence,
        )
        .join(RepositoryRow, RepositoryRow.id == RecordRow.adapter_repository_id)
        .where(RecordRow.current, RepositoryRow.source == Source.HUB.value, *conditions)
        .order_by(RecordRow.id)
        .limit(limit)
    )
    return [
        Dependent(
            record_id=row.id,
            repo_id=row.repo_id,
            revision=row.adapter_revision,
            subfolder=row.subfolder or None,
            base=None if row.declared else row.base_repo_id,
            base_revision=row.base_revision,
            proven=row.status == Status.COMPATIBLE and row.evidence == Evidence.PROVEN,
        )
        for row in rows
    ]


def load_records(connection: sa.Connection, record_ids: Sequence[int]) -> dict[int, StoredRecord]:
    """Records by id, as they stand."""
    found: dict[int, StoredRecord] = {}
    for first in range(0, len(record_ids), _AT_ONCE):
        chunk = record_ids[first : first + _AT_ONCE]
        rows = connection.execute(select_stored().where(RecordRow.id.in_(chunk)))
        found.update((row.id, stored(row)) for row in rows)
    return found


def count_requests(connection: sa.Connection, *, since: datetime) -> Counter[str]:
    """How often callers have asked for work on each adapter: joined requests count each."""
    asked: Counter[str] = Counter()
    rows = connection.execute(
        sa.select(_OPERATIONS.c.request, _OPERATIONS.c.requests)
        .where(_OPERATIONS.c.kind.in_(_ASKED_KINDS), _OPERATIONS.c.created_at >= since)
        .order_by(_OPERATIONS.c.created_at.desc())
        .limit(_MOST_OPERATIONS)
    )
    for request, requests in rows:
        asked[str(request.get("repo_id", ""))] += requests
    return asked


def list_failed(connection: sa.Connection, *, limit: int) -> list[Dependent]:
    """Listed records of failures: nothing else is known of them."""
    return _dependents(connection, RecordRow.listed, RecordRow.status == Status.FAILED, limit=limit)
