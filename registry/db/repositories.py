"""Repositories by their names, past and present, and which commit a branch had when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.models import (
    CheckpointRow,
    RecordIssueRow,
    RecordRow,
    RefRow,
    RepositoryAliasRow,
    RepositoryRow,
)
from registry.db.models.checkpoints import CHECKPOINT_KINDS
from registry.db.upsert import find_or_insert, insert_unless_there, save_row
from registry.domain.facts import AdapterFacts
from registry.domain.refs import CheckpointRef, Source, is_commit_sha
from registry.domain.status import Status

DEFAULT_REVISION = "main"
# What a moved branch makes stale: statuses that say something of the content that it had.
STATUSES_OF_CONTENT = (
    Status.PLANNED,
    Status.REHEARSED,
    Status.COMPATIBLE,
    Status.INCOMPATIBLE,
    Status.UNSUPPORTED,
)


def commit_key(ref: CheckpointRef) -> str:
    """The commit, or `?` and the revision while it is not known which commit that is."""
    return ref.commit_sha or f"?{ref.revision or DEFAULT_REVISION}"


def content_key(ref: CheckpointRef) -> str:
    """The digest, or `?` and the commit key while it is not known what is there."""
    return ref.digest or f"?{commit_key(ref)}"


def known(key: str) -> str | None:
    """A commit or content key as printed: null while unknown."""
    return None if key.startswith("?") else key


def ensure_repository(session: Session, source: Source, repo_id: str) -> int:
    """The id of a repository's row, made where it is new."""
    cache: dict[tuple[str, str], int] = session.info.setdefault("repositories", {})
    if (source, repo_id) not in cache:
        cache[source, repo_id], _ = find_or_insert(
            session,
            RepositoryRow,
            {"source": source.value, "repo_id": repo_id},
            {
                "author": _author(source, repo_id),
                "private": False,
                "gated": False,
                "access": "unknown",
            },
        )
    return cache[source, repo_id]


def insert_repositories(
    session: Session, adapters: Iterable[AdapterFacts], *, checked_at: datetime
) -> dict[tuple[Source, str], int]:
    """Rows for the repositories of these adapters, each read just now; those that were there, or
    that another transaction has made first, are not among the ids given back."""
    rows = {(facts.ref.source, facts.ref.repo_id): facts for facts in adapters}
    # In one order everywhere, so that two that insert the same do not wait for each other.
    made = insert_unless_there(
        session,
        RepositoryRow,
        [_as_read(rows[place], checked_at) for place in sorted(rows)],
        returning=("source", "repo_id", "id"),
    )
    ids = {(Source(source), repo_id): row_id for source, repo_id, row_id in made}
    session.info.setdefault("repositories", {}).update(ids)
    return ids


def _as_read(facts: AdapterFacts, checked_at: datetime) -> dict[str, Any]:
    source, repo_id = facts.ref.source, facts.ref.repo_id
    hub = source is Source.HUB
    return {
        "source": source.value,
        "repo_id": repo_id,
        "author": _author(source, repo_id),
        "private": hub and facts.private,
        "gated": hub and facts.gated,
        "access": "readable" if hub else "unknown",
        "checked_at": checked_at if hub else None,
    }


def _author(source: Source, repo_id: str) -> str:
    return repo_id.partition("/")[0] if "/" in repo_id and source is Source.HUB else ""


def save_access(
    session: Session,
    source: Source,
    repo_id: str,
    *,
    access: str,
    private: bool,
    gated: bool,
    checked_at: datetime,
) -> None:
    """How the source answers for a repository: readable, gated, missing, disabled or unknown.

    Records of a repository that has become private are hidden in the same transaction.
    """
    row_id = ensure_repository(session, source, repo_id)
    connection = session.connection()
    connection.execute(
        sa.update(RepositoryRow)
        .where(RepositoryRow.id == row_id)
        .values(access=access, private=private, gated=gated, checked_at=checked_at)
    )
    concerned = (RecordRow.adapter_repository_id == row_id) | (
        RecordRow.base_repository_id == row_id
    )
    ids = sa.select(RecordRow.id).where(concerned, RecordRow.private != either_private())
    for record_id in connection.scalars(ids).all():
        hide = {"private": ~RecordRow.private}
        connection.execute(sa.update(RecordRow).where(RecordRow.id == record_id).values(hide))
        hide = {"private": ~RecordIssueRow.private}
        connection.execute(
            sa.update(RecordIssueRow).where(RecordIssueRow.record_id == record_id).values(hide)
        )


def either_private() -> sa.ColumnElement[bool]:
    """Whether a record's adapter or base is a private repository."""
    return (
        sa.select(RepositoryRow.id)
        .where(
            RepositoryRow.id.in_((RecordRow.adapter_repository_id, RecordRow.base_repository_id)),
            RepositoryRow.private,
        )
        .correlate(RecordRow)
        .exists()
    )


def save_alias(session: Session, source: Source, alias: str, repo_id: str) -> None:
    """`alias` was asked for and the source answered as `repo_id`: lookups accept both."""
    if alias == repo_id:
        return
    save_row(
        session,
        RepositoryAliasRow,
        {"source": source.value, "alias": alias},
        {"repository_id": ensure_repository(session, source, repo_id)},
    )


def repository_ids(source: Source | str, repo_id: str) -> sa.CompoundSelect[int]:
    """The rows that an id may mean: its own, and the one it has moved to."""
    return sa.union_all(
        sa.select(RepositoryRow.id).where(
            RepositoryRow.source == str(source), RepositoryRow.repo_id == repo_id
        ),
        sa.select(RepositoryAliasRow.repository_id).where(
            RepositoryAliasRow.source == str(source), RepositoryAliasRow.alias == repo_id
        ),
    )


def repository_names(repo_id: str) -> sa.CompoundSelect[str]:
    """The ids that rows are kept under for an id that people ask by."""
    return sa.union_all(
        sa.select(sa.literal(repo_id, RepositoryRow.repo_id.type)),
        sa.select(RepositoryRow.repo_id)
        .join(RepositoryAliasRow, RepositoryAliasRow.repository_id == RepositoryRow.id)
        .where(RepositoryAliasRow.alias == repo_id),
    )


def insert_refs(
    session: Session, found: Sequence[tuple[int, CheckpointRef]], *, seen_at: datetime
) -> None:
    """`save_ref` in repositories, by id, that this transaction has made: nothing has moved."""
    rows = [_ref_row(repository_id, ref, seen_at) for repository_id, ref in found if _moves(ref)]
    if rows:
        session.connection().execute(_INSERT_REF, rows)


def _ref_row(repository_id: int, ref: CheckpointRef, seen_at: datetime) -> dict[str, Any]:
    return {
        "repository_id": repository_id,
        "name": ref.revision or DEFAULT_REVISION,
        "commit_key": commit_key(ref),
        "seen_at": seen_at,
    }


def _moves(ref: CheckpointRef) -> bool:
    """Whether its revision may have another commit some day: a commit itself never has."""
    return not is_commit_sha(ref.revision or DEFAULT_REVISION) or ref.commit_sha is None


_INSERT_REF = sa.insert(RefRow)


def save_ref(session: Session, ref: CheckpointRef, *, seen_at: datetime) -> bool:
    """Note that a branch or tag had this commit at that time; True when that is a move.

    Records of content that the branch no longer has are marked as moved. A revision that is itself
    a commit never moves and is not noted.
    """
    name = ref.revision or DEFAULT_REVISION
    if not _moves(ref):
        return False
    repository_id = ensure_repository(session, ref.source, ref.repo_id)
    commit = commit_key(ref)
    noted: dict[tuple[int, str], str] = session.info.setdefault("refs", {})
    if noted.get((repository_id, name)) == commit:
        return False
    connection = session.connection()
    newest = connection.execute(_NEWEST_REF, {"repository": repository_id, "name": name}).first()
    if newest is not None and newest.seen_at > seen_at:
        return False
    noted[repository_id, name] = commit
    if newest is not None and newest.commit_key == commit:
        return False
    connection.execute(_INSERT_REF, _ref_row(repository_id, ref, seen_at))
    for kind in CHECKPOINT_KINDS:
        mark_moved(session, repository_id, kind, name, commit)
    return True


_NEWEST_REF = (
    sa.select(RefRow.commit_key, RefRow.seen_at)
    .where(RefRow.repository_id == sa.bindparam("repository"), RefRow.name == sa.bindparam("name"))
    .order_by(RefRow.seen_at.desc(), RefRow.id.desc())
    .limit(1)
)
_NAMES_AT = (
    sa.select(RefRow.name)
    .where(
        RefRow.repository_id == sa.bindparam("repository"),
        RefRow.commit_key == sa.bindparam("commit"),
    )
    .distinct()
)


def mark_refs_moved(session: Session, repository_id: int, kind: str, commit: str) -> None:
    """What a commit holds has become known: the same for every branch that is at this commit."""
    connection = session.connection()
    at_commit = {"repository": repository_id, "commit": commit}
    for name in connection.scalars(_NAMES_AT, at_commit).all():
        newest = connection.execute(_NEWEST_REF, {"repository": repository_id, "name": name}).one()
        if newest.commit_key == commit:
            mark_moved(session, repository_id, kind, name, commit)


def mark_moved(session: Session, repository_id: int, kind: str, name: str, commit: str) -> None:
    """Mark the records that were asked for by this branch and are of other content than it has at
    `commit`; unmark those whose content it has again. Nothing is marked while the content of the
    commit is not known: unknown is not other.
    """
    session.connection().execute(
        _MARK_MOVED[kind], {"repository": repository_id, "name": name, "commit": commit}
    )


def _mark_moved(kind: str) -> sa.Update:
    whose, revision, content = (
        (RecordRow.adapter_repository_id, RecordRow.adapter_revision, RecordRow.adapter_content)
        if kind == "adapter"
        else (RecordRow.base_repository_id, RecordRow.base_revision, RecordRow.base_content)
    )
    now = sa.select(CheckpointRow.content_key).where(
        CheckpointRow.repository_id == sa.bindparam("repository"),
        CheckpointRow.kind == kind,
        CheckpointRow.commit_key == sa.bindparam("commit"),
        CheckpointRow.subfolder == (RecordRow.subfolder if kind == "adapter" else ""),
        sa.not_(CheckpointRow.content_key.startswith("?")),
    )
    held = now.correlate(RecordRow).scalar_subquery()
    shown = sa.case(
        ((held != content) & RecordRow.status.in_(STATUSES_OF_CONTENT), Status.STALE.value),
        else_=RecordRow.status,
    )
    return (
        sa.update(RecordRow)
        .where(
            whose == sa.bindparam("repository"),
            revision == sa.bindparam("name"),
            RecordRow.current,
            sa.not_(content.startswith("?")),
            held.is_not(None),
            RecordRow.shown_status != shown,
        )
        .values(shown_status=shown)
    )


_MARK_MOVED = {kind: _mark_moved(kind) for kind in CHECKPOINT_KINDS}


def ref_history(
    connection: sa.Connection, source: Source, repo_id: str, name: str = DEFAULT_REVISION
) -> Sequence[tuple[str | None, datetime]]:
    """Commits that a branch had, newest first, with the time when each was first seen there."""
    rows = connection.execute(
        sa.select(RefRow.commit_key, RefRow.seen_at)
        .where(RefRow.repository_id.in_(repository_ids(source, repo_id)), RefRow.name == name)
        .order_by(RefRow.seen_at.desc(), RefRow.id.desc())
    )
    return [(known(row.commit_key), row.seen_at) for row in rows]
