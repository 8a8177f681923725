"""Finding a record: by repository and commit as people ask, or by the pair's digests.

Each lookup is one statement without the ORM; the record comes out with the commits that the
lookup found, whatever commit it was first recorded at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
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
from registry.db.repositories import DEFAULT_REVISION, STATUSES_OF_CONTENT, known
from registry.domain.record import Evidence, Record, Status, record_from_json
from registry.domain.refs import (
    CheckpointRef,
    CommitSha,
    Digest,
    RepoId,
    Source,
    is_commit_sha,
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
    statement = _lookup(
        by_commit=_is_commit(revision),
        base_named=base_repo_id is not None,
        base_by_commit=None if base_revision is None else _is_commit(base_revision),
    )
    asked = {
        "source": source.value,
        "repo_id": repo_id,
        "revision": revision,
        "unread": f"?{revision}",
        "subfolder": subfolder or "",
        "base_repo_id": base_repo_id,
        "base_revision": base_revision,
        "base_unread": f"?{base_revision}",
    }
    row = connection.execute(statement, asked).first()
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
    rows = connection.execute(
        _pair(),
        {
            "adapter_digest": adapter_digest,
            "subfolder": subfolder or "",
            "base_digest": base_digest,
        },
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
            RecordRow.adapter_repository_id.in_(_ids("repo_id", "source")),
            RecordRow.subfolder == (subfolder or ""),
            *_base_conditions(named=base_repo_id is not None),
        )
        .order_by(RecordRow.id.desc())
        .limit(limit),
        {"source": source.value, "repo_id": repo_id, "base_repo_id": base_repo_id},
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
            RecordRow.status,
            RecordRow.shown_status,
            RecordRow.private,
            RecordRow.adapter_revision,
            RecordRow.adapter_commit,
            RecordRow.adapter_content,
            RecordRow.base_revision,
            RecordRow.base_commit,
            RecordRow.base_content,
            _Adapter.repo_id.label("adapter_name"),
            _BaseModel.repo_id.label("base_name"),
            RecordBodyRow.document,
        )
        .select_from(RecordRow)
        .join(RecordBodyRow, RecordBodyRow.record_id == RecordRow.id)
        .join(_Adapter, _Adapter.id == RecordRow.adapter_repository_id)
        .join(_BaseModel, _BaseModel.id == RecordRow.base_repository_id, isouter=True)
    )


@lru_cache(maxsize=1)
def _pair() -> sa.Select[*tuple[Any, ...]]:
    evidence = sa.case(
        *((RecordRow.evidence == level, rank) for rank, level in enumerate(_EVIDENCE_ORDER))
    )
    return (
        select_stored()
        .where(
            RecordRow.adapter_content == sa.bindparam("adapter_digest"),
            RecordRow.subfolder == sa.bindparam("subfolder"),
            RecordRow.base_content == sa.bindparam("base_digest"),
            RecordRow.current,
        )
        .order_by(
            RecordRow.planner_version.desc(),
            evidence.desc(),
            RecordRow.confirmed_at.desc(),
            RecordRow.id.desc(),
        )
    )


@lru_cache(maxsize=16)
def _lookup(
    *, by_commit: bool, base_named: bool, base_by_commit: bool | None
) -> sa.Select[*tuple[Any, ...]]:
    """`find_record`'s statement; building it takes ten times as long as running it."""
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
            _base_commit(base_by_commit).label("found_base_commit"),
            _newest_content("base", _base_branch(base_by_commit)).label("base_now"),
        )
        .where(
            RecordRow.adapter_repository_id.in_(_ids("repo_id", "source")),
            RecordRow.subfolder == sa.bindparam("subfolder"),
            RecordRow.current,
            *_base_conditions(named=base_named),
        )
    )
    if base_by_commit is not None:
        statement = statement.where(_base_commit(base_by_commit).is_not(None))
    newest = (RecordRow.confirmed_at.desc(), RecordRow.id.desc())
    if by_commit:
        # At this commit, or where this commit was asked for and could not be read.
        asked = CheckpointRow.commit_key.in_([sa.bindparam("revision"), sa.bindparam("unread")])
        statement = statement.where(asked).order_by(*newest)
    else:
        now = _newest_content("adapter", sa.bindparam("revision"))
        statement = (
            statement.join(
                RefRow,
                (RefRow.repository_id == CheckpointRow.repository_id)
                & (RefRow.commit_key == CheckpointRow.commit_key)
                & (RefRow.name == sa.bindparam("revision")),
            )
            .add_columns(now.label("adapter_now"))
            .order_by(RefRow.seen_at.desc(), RefRow.id.desc(), *newest)
        )
    return statement.limit(1)


def _is_commit(revision: str) -> bool:
    """A Hub commit, or a local folder's."""
    return is_commit_sha(revision) or revision.startswith("sha256:")


def _ids(name: str, source: str | None = None) -> sa.CompoundSelect[int]:
    """Repositories that the id in this parameter may mean: by its own name, and moved from it."""
    own = sa.select(RepositoryRow.id).where(RepositoryRow.repo_id == sa.bindparam(name))
    moved = sa.select(RepositoryAliasRow.repository_id).where(
        RepositoryAliasRow.alias == sa.bindparam(name)
    )
    if source is not None:
        own = own.where(RepositoryRow.source == sa.bindparam(source))
        moved = moved.where(RepositoryAliasRow.source == sa.bindparam(source))
    return sa.union_all(own, moved)


def _base_conditions(*, named: bool) -> list[Condition]:
    """On the declared base, or on the one in the parameter `base_repo_id`."""
    if named:
        return [RecordRow.base_repository_id.in_(_ids("base_repo_id"))]
    return [RecordRow.declared]


def _base_branch(by_commit: bool | None) -> sa.ColumnElement[str]:
    """The name whose moves matter; a commit has none."""
    if by_commit is None:
        return sa.type_coerce(RecordRow.base_revision, RecordRow.base_revision.type)
    return sa.bindparam("base_revision", type_=RefRow.name.type)


def _base_commit(by_commit: bool | None) -> sa.ScalarSelect[str]:
    """The newest commit of the base, at the revision asked for, with the content of the record."""
    base = aliased(CheckpointRow)
    commits = sa.select(base.commit_key).where(
        base.repository_id == RecordRow.base_repository_id,
        base.kind == "base",
        base.content_key == RecordRow.base_content,
    )
    if by_commit:
        commits = commits.where(
            base.commit_key.in_([sa.bindparam("base_revision"), sa.bindparam("base_unread")])
        )
    else:
        ref = aliased(RefRow)
        commits = commits.join(
            ref,
            (ref.repository_id == base.repository_id)
            & (ref.commit_key == base.commit_key)
            & (ref.name == _base_branch(by_commit)),
        ).order_by(ref.seen_at.desc(), ref.id.desc())
    return commits.correlate(RecordRow).limit(1).scalar_subquery()


def _newest_content(kind: str, branch: sa.ColumnElement[str]) -> sa.ScalarSelect[str]:
    """What a branch holds now, as far as that is known; null for a commit, which never moves."""
    now, ref = aliased(CheckpointRow), aliased(RefRow)
    adapter = kind == "adapter"
    whose = RecordRow.adapter_repository_id if adapter else RecordRow.base_repository_id
    return (
        sa.select(now.content_key)
        .join(ref, (ref.repository_id == now.repository_id) & (ref.commit_key == now.commit_key))
        .where(
            now.repository_id == whose,
            now.kind == kind,
            now.subfolder == (RecordRow.subfolder if adapter else ""),
            ref.name == branch,
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
        moved=row.shown_status != row.status,
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
    if moved and record.status in STATUSES_OF_CONTENT:
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
