"""Finding a record: by repository and commit as people ask, or by the pair's digests.

Each lookup is one statement without the ORM; the record comes out with the commits that the
lookup found, whatever commit it was first recorded at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from registry.db.models import (
    CheckpointRow,
    RecordBodyRow,
    RecordRow,
    RefRow,
    RepositoryAliasRow,
    RepositoryRow,
)
from registry.db.records.places import at_commits
from registry.db.repositories import DEFAULT_REVISION, known, repository_ids
from registry.domain.record import Evidence, Record, Status, record_from_json
from registry.domain.refs import (
    CheckpointRef,
    CommitSha,
    Digest,
    RepoId,
    Source,
    is_commit_sha,
)

# What a moved branch makes stale: statuses that say something of the content that it had.
OF_CONTENT = frozenset(
    {
        Status.PLANNED,
        Status.REHEARSED,
        Status.COMPATIBLE,
        Status.INCOMPATIBLE,
        Status.UNSUPPORTED,
    }
)
_EVIDENCE_ORDER = (Evidence.NONE, Evidence.STATIC, Evidence.REHEARSED, Evidence.PROVEN)

Condition = sa.ColumnExpressionArgument[bool]

_Adapter = aliased(RepositoryRow, name="adapter")
_BaseModel = aliased(RepositoryRow, name="base")


@dataclass(frozen=True)
class StoredRecord:
    """A record and how it stands. `private` is true when either repository is."""

    id: int
    record: Record
    scanned_at: datetime
    planner_version: int
    superseded_by: int | None = None
    private: bool = False


def find_record(
    connection: sa.Connection,
    *,
    source: Source = Source.HUB,
    repo_id: str,
    revision: str | None = None,
    subfolder: str | None = None,
    base_repo_id: str | None = None,
    base_revision: str | None = None,
) -> StoredRecord | None:
    """The current record, by any id the repositories go by.

    Without `revision`, `subfolder`, `base_repo_id`: the last commit recorded for main, the root
    folder, the declared base. A branch that has other content by now makes the answer `stale`,
    unless both sides were asked for by commit.
    """
    revision = revision or DEFAULT_REVISION
    by_commit = _is_commit(revision)
    statement = (
        select_stored()
        .join(
            CheckpointRow,
            (CheckpointRow.repository_id == RecordRow.adapter_repository_id)
            & (CheckpointRow.kind == "adapter")
            & (CheckpointRow.subfolder == RecordRow.subfolder)
            & (CheckpointRow.content_key == RecordRow.adapter_content),
        )
        .add_columns(
            CheckpointRow.commit_key.label("found_commit"),
            _base_commit(base_revision).label("found_base_commit"),
            _newest_content("base", base_revision).label("base_now"),
        )
        .where(
            RecordRow.adapter_repository_id.in_(repository_ids(source, repo_id)),
            RecordRow.subfolder == (subfolder or ""),
            RecordRow.current,
            *_base_conditions(base_repo_id, base_revision),
        )
    )
    newest = (RecordRow.confirmed_at.desc(), RecordRow.id.desc())
    if by_commit:
        statement = statement.where(_at_commit(CheckpointRow.commit_key, revision))
        statement = statement.order_by(*newest)
    else:
        statement = (
            statement.join(
                RefRow,
                (RefRow.repository_id == CheckpointRow.repository_id)
                & (RefRow.commit_key == CheckpointRow.commit_key)
                & (RefRow.name == revision),
            )
            .add_columns(_newest_content("adapter", revision).label("adapter_now"))
            .order_by(RefRow.seen_at.desc(), RefRow.id.desc(), *newest)
        )
    row = connection.execute(statement.limit(1)).first()
    return None if row is None else _found(row, revision, base_revision)


def find_pair(
    connection: sa.Connection,
    adapter_digest: Digest,
    subfolder: str | None,
    base_digest: Digest,
) -> StoredRecord | None:
    """What is known of a pair wherever it was found: the newest planner's, best-proven, record."""
    records = pair_records(connection, adapter_digest, subfolder, base_digest)
    return records[0] if records else None


def pair_records(
    connection: sa.Connection,
    adapter_digest: Digest,
    subfolder: str | None,
    base_digest: Digest,
) -> list[StoredRecord]:
    """The current records of a pair at every place where it was found, best first. Whoever learns
    more of a pair saves it for each of them."""
    evidence = sa.case(
        *((RecordRow.evidence == level, rank) for rank, level in enumerate(_EVIDENCE_ORDER))
    )
    rows = connection.execute(
        select_stored()
        .where(
            RecordRow.adapter_content == adapter_digest,
            RecordRow.subfolder == (subfolder or ""),
            RecordRow.base_content == base_digest,
            RecordRow.current,
        )
        .order_by(
            RecordRow.planner_version.desc(),
            evidence.desc(),
            RecordRow.confirmed_at.desc(),
            RecordRow.id.desc(),
        )
    )
    return [stored(row) for row in rows]


def record_history(
    connection: sa.Connection,
    *,
    source: Source = Source.HUB,
    repo_id: str,
    subfolder: str | None = None,
    base_repo_id: str | None = None,
    limit: int = 100,
) -> list[StoredRecord]:
    """Every record of an adapter's folder on its declared base, or on another, newest first;
    superseded ones too, at the commits of their time."""
    rows = connection.execute(
        select_stored()
        .where(
            RecordRow.adapter_repository_id.in_(repository_ids(source, repo_id)),
            RecordRow.subfolder == (subfolder or ""),
            *_base_conditions(base_repo_id, None),
        )
        .order_by(RecordRow.id.desc())
        .limit(limit)
    )
    return [stored(row) for row in rows]


# --- statements --------------------------------------------------------------------------------


def select_stored() -> sa.Select[*tuple[Any, ...]]:
    """Rows that `stored` reads."""
    return (
        sa.select(
            RecordRow.id,
            RecordRow.scanned_at,
            RecordRow.planner_version,
            RecordRow.superseded_by,
            RecordRow.moved,
            RecordRow.adapter_revision,
            RecordRow.adapter_commit,
            RecordRow.adapter_content,
            RecordRow.base_revision,
            RecordRow.base_commit,
            RecordRow.base_content,
            _Adapter.repo_id.label("adapter_name"),
            _BaseModel.repo_id.label("base_name"),
            (_Adapter.private | sa.func.coalesce(_BaseModel.private, sa.false())).label("private"),
            RecordBodyRow.document,
        )
        .select_from(RecordRow)
        .join(RecordBodyRow, RecordBodyRow.record_id == RecordRow.id)
        .join(_Adapter, _Adapter.id == RecordRow.adapter_repository_id)
        .join(_BaseModel, _BaseModel.id == RecordRow.base_repository_id, isouter=True)
    )


def _is_commit(revision: str) -> bool:
    """A Hub commit, or a local folder's."""
    return is_commit_sha(revision) or revision.startswith("sha256:")


def _at_commit(column: Any, commit_sha: str) -> sa.ColumnElement[bool]:
    """At this commit, or where this commit was asked for and could not be read."""
    condition: sa.ColumnElement[bool] = column.in_((commit_sha, f"?{commit_sha}"))
    return condition


def _base_conditions(repo_id: str | None, revision: str | None) -> list[Condition]:
    if repo_id is None:
        return [RecordRow.declared]
    ids = sa.union_all(
        sa.select(RepositoryRow.id).where(RepositoryRow.repo_id == repo_id),
        sa.select(RepositoryAliasRow.repository_id).where(RepositoryAliasRow.alias == repo_id),
    )
    conditions: list[Condition] = [RecordRow.base_repository_id.in_(ids)]
    if revision is not None:
        conditions.append(_base_commit(revision).is_not(None))
    return conditions


def _base_commit(revision: str | None) -> sa.ScalarSelect[str]:
    """The newest commit of the base, at a revision, that has the content of the record."""
    base = aliased(CheckpointRow)
    commits = sa.select(base.commit_key).where(
        base.repository_id == RecordRow.base_repository_id,
        base.kind == "base",
        base.content_key == RecordRow.base_content,
    )
    if revision is not None and _is_commit(revision):
        commits = commits.where(_at_commit(base.commit_key, revision))
    else:
        ref = aliased(RefRow)
        commits = commits.join(
            ref,
            (ref.repository_id == base.repository_id)
            & (ref.commit_key == base.commit_key)
            & (ref.name == (RecordRow.base_revision if revision is None else revision)),
        ).order_by(ref.seen_at.desc(), ref.id.desc())
    return commits.correlate(RecordRow).limit(1).scalar_subquery()


def _newest_content(kind: str, revision: str | None) -> sa.ScalarSelect[str]:
    """What a branch holds now, as far as that is known; null for a commit, which never moves."""
    now, ref = aliased(CheckpointRow), aliased(RefRow)
    adapter = kind == "adapter"
    whose = RecordRow.adapter_repository_id if adapter else RecordRow.base_repository_id
    name = RecordRow.base_revision if revision is None else revision
    return (
        sa.select(now.content_key)
        .join(ref, (ref.repository_id == now.repository_id) & (ref.commit_key == now.commit_key))
        .where(
            now.repository_id == whose,
            now.kind == kind,
            now.subfolder == (RecordRow.subfolder if adapter else ""),
            ref.name == name,
        )
        .order_by(ref.seen_at.desc(), ref.id.desc())
        .correlate(RecordRow)
        .limit(1)
        .scalar_subquery()
    )


# --- rows --------------------------------------------------------------------------------------


def stored(row: sa.Row[Any]) -> StoredRecord:
    """The record at the place where it was found last; stale where its branches have moved."""
    return _stored(
        row,
        (row.adapter_revision, row.adapter_commit),
        (row.base_revision, row.base_commit),
        moved=row.moved,
    )


def _found(row: sa.Row[Any], revision: str, base_revision: str | None) -> StoredRecord:
    base = (base_revision or row.base_revision, row.found_base_commit or row.base_commit)
    moved = _differs(row.base_now, row.base_content) or (
        not _is_commit(revision) and _differs(row.adapter_now, row.adapter_content)
    )
    return _stored(row, (revision, row.found_commit), base, moved=moved)


def _differs(now: str | None, recorded: str) -> bool:
    """Unknown is not other."""
    return now is not None and known(now) is not None and now != recorded


def _stored(
    row: sa.Row[Any], adapter: Sequence[str], base: Sequence[str], *, moved: bool
) -> StoredRecord:
    record = record_from_json(row.document)
    adapter_ref = _ref(record.adapter, row.adapter_name, *adapter)
    base_ref = None if record.base is None else _ref(record.base, row.base_name, *base)
    record = at_commits(record, adapter_ref, base_ref)
    if moved and record.status in OF_CONTENT:
        record = replace(record, status=Status.STALE)
    return StoredRecord(
        id=row.id,
        record=record,
        scanned_at=row.scanned_at,
        planner_version=row.planner_version,
        superseded_by=row.superseded_by,
        private=row.private,
    )


def _ref(recorded: CheckpointRef, repo_id: str, revision: str, commit: str) -> CheckpointRef:
    sha = known(commit)
    return replace(
        recorded,
        repo_id=RepoId(repo_id),
        # A local folder has no revisions; it is recorded as it was.
        revision=revision if recorded.source is Source.HUB else recorded.revision,
        commit_sha=None if sha is None else CommitSha(sha),
    )
