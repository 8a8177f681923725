"""Saving a record: one transaction, safe to repeat, safe beside another process doing the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.announcing import announce_record
from registry.db.checkpoints import ensure_checkpoint
from registry.db.models import PlanRow, RecordBodyRow, RecordIssueRow, RecordRow, RepositoryRow
from registry.db.records.finding import Condition, find_record
from registry.db.records.rows import (
    Place,
    content_digest,
    is_declared,
    issue_values,
    place_of,
    plan_values,
    record_values,
)
from registry.db.repositories import (
    DEFAULT_REVISION,
    commit_key,
    ensure_repository,
    save_alias,
    save_ref,
)
from registry.db.upsert import insert
from registry.domain.plan import PLANNER_VERSION
from registry.domain.record import Record, Status
from registry.domain.refs import Source, is_repo_id

# Nothing is known with these, so they never take the place of what is.
UNKNOWN = (Status.QUEUED, Status.FAILED)


def save_record(
    session: Session,
    record: Record,
    *,
    scanned_at: datetime,
    planner_version: int = PLANNER_VERSION,
    declared: bool | None = None,
) -> int:
    """The id under which the record stands. It supersedes the current one of its pair and place.

    Content that stands already is confirmed, under its id, and a failure of ours never takes the
    place of something known. The commits are noted as those that the revisions had at `scanned_at`.
    `declared` says whether the base is the config's own; left out, the record's issues tell.
    """
    declared = is_declared(record) if declared is None else declared
    repository_id = ensure_repository(session, record.adapter.source, record.adapter.repo_id)
    _hold(session, repository_id)
    if record.status in UNKNOWN:
        known = _known_before(session, record, declared=declared)
        if known is not None:
            return known
    place = place_of(record, repository_id, declared=declared)
    base_repository_id = _save_names(session, record, scanned_at, declared=declared)
    document = record.to_json()
    digest = content_digest(document)
    earlier = session.connection().execute(_EARLIER, vars(place)).first()
    if earlier is not None and tuple(earlier)[1:] == (digest, planner_version):
        _confirm(session, earlier.id, record, scanned_at)
        _choose_listed(session, place)
        return int(earlier.id)
    retired: list[int] = [] if earlier is None else [earlier.id]
    retired += _answered(session, record, place)
    _retire(session, retired)
    columns = {
        **vars(place),
        "base_repository_id": base_repository_id,
        "planner_version": planner_version,
        "content_digest": digest,
        "scanned_at": scanned_at,
    }
    record_id = _insert(session, record, document, columns)
    if retired:
        supersede = sa.update(RecordRow).where(RecordRow.id.in_(retired))
        session.connection().execute(supersede.values(superseded_by=record_id))
    _choose_listed(session, place)
    announce_record(session, record_id, record)
    return record_id


def _hold(session: Session, repository_id: int) -> None:
    """One writer at a time for the records of an adapter; on SQLite there is only one anyway."""
    session.connection().execute(_HOLD, {"repository": repository_id})


def _known_before(session: Session, record: Record, *, declared: bool) -> int | None:
    adapter, base = record.adapter, record.base
    earlier = find_record(
        session.connection(),
        source=adapter.source,
        repo_id=adapter.repo_id,
        revision=adapter.revision,
        subfolder=adapter.subfolder,
        base_repo_id=None if declared or base is None else base.repo_id,
    )
    return None if earlier is None or earlier.record.status in UNKNOWN else earlier.id


def _save_names(
    session: Session, record: Record, scanned_at: datetime, *, declared: bool
) -> int | None:
    """Note which commits the revisions had, and under which ids; the base repository's row."""
    ensure_checkpoint(session, "adapter", record.adapter)
    save_ref(session, record.adapter, seen_at=scanned_at)
    return save_base_names(session, record, scanned_at, declared=declared)


def save_base_names(
    session: Session, record: Record, scanned_at: datetime, *, declared: bool
) -> int | None:
    """Of the base alone: which commit its revision had, and under which ids; its row."""
    base = record.base
    if base is None:
        return None
    base_repository_id = ensure_checkpoint(session, "base", base)
    save_ref(session, base, seen_at=scanned_at)
    name = record.facts.declared_base
    if declared and base.source is Source.HUB and name is not None and is_repo_id(name):
        # The Hub redirected from one to the other; lookups accept both.
        save_alias(session, base.source, name, base.repo_id)
    return base_repository_id


def _confirm(session: Session, record_id: int, record: Record, scanned_at: datetime) -> None:
    """The same was found again: where and when is standing, not content."""
    values: dict[str, Any] = {
        "adapter_commit": commit_key(record.adapter),
        "confirmed_at": scanned_at,
    }
    if (record.adapter.revision or DEFAULT_REVISION) == DEFAULT_REVISION:
        values["adapter_revision"] = DEFAULT_REVISION
    if record.base is not None:
        values["base_commit"] = commit_key(record.base)
        if (record.base.revision or DEFAULT_REVISION) == DEFAULT_REVISION:
            values["base_revision"] = DEFAULT_REVISION
    session.connection().execute(
        sa.update(RecordRow)
        .where(RecordRow.id == record_id, RecordRow.confirmed_at <= scanned_at)
        .values(values)
    )


def _answered(session: Session, record: Record, place: Place) -> Sequence[int]:
    """Current records that said the adapter or the base could not be read, and now could."""
    if record.adapter.digest is None:
        return []
    base = record.base
    return (
        session.connection()
        .scalars(
            _UNREAD[place.declared],
            {
                **vars(place),
                "revision": record.adapter.revision or DEFAULT_REVISION,
                "base_revision": "" if base is None else base.revision or DEFAULT_REVISION,
                "base_read": base is not None and base.digest is not None,
            },
        )
        .all()
    )


def _retire(session: Session, record_ids: Sequence[int]) -> None:
    if record_ids:
        session.connection().execute(
            sa.update(RecordRow)
            .where(RecordRow.id.in_(record_ids))
            .values(current=False, listed=False)
        )
        _list_issues(session, record_ids, listed=False)


def _insert(
    session: Session, record: Record, document: Mapping[str, Any], columns: Mapping[str, Any]
) -> int:
    connection = session.connection()
    places = {name: columns[name] for name in ("adapter_repository_id", "base_repository_id")}
    private = any(row.private for row in connection.execute(_PRIVATE, places))
    standing = {"listed": False, "private": private}
    if record.plan is not None:
        connection.execute(
            insert(connection, PlanRow).on_conflict_do_nothing(),
            plan_values(record, document, columns["scanned_at"]),
        )
    record_id: int = connection.execute(
        insert(connection, RecordRow).returning(RecordRow.id),
        record_values(record, {**columns, **standing}),
    ).scalar_one()
    connection.execute(
        insert(connection, RecordBodyRow), {"record_id": record_id, "document": document}
    )
    issues = issue_values(record, record_id, {**columns, **standing})
    if issues:
        connection.execute(insert(connection, RecordIssueRow), issues)
    return record_id


def _choose_listed(session: Session, place: Place) -> None:
    """Lists show what was found last on the main branch, else what was found last."""
    rows = session.connection().execute(_RIVALS[place.declared], vars(place)).all()
    newest, *others = rows
    if not newest.listed:
        _set_listed(session, [newest.id], listed=True)
    unlisted = [row.id for row in others if row.listed]
    if unlisted:
        _set_listed(session, unlisted, listed=False)


def _set_listed(session: Session, record_ids: Sequence[int], *, listed: bool) -> None:
    session.connection().execute(
        sa.update(RecordRow).where(RecordRow.id.in_(record_ids)).values(listed=listed)
    )
    _list_issues(session, record_ids, listed=listed)


def _list_issues(session: Session, record_ids: Sequence[int], *, listed: bool) -> None:
    session.connection().execute(
        sa.update(RecordIssueRow)
        .where(RecordIssueRow.record_id.in_(record_ids))
        .values(listed=listed)
    )


# --- statements, built once ----------------------------------------------------------------------


def _same(*names: str) -> list[Condition]:
    """Conditions that columns equal the members of a place of the same names."""
    return [getattr(RecordRow, name) == sa.bindparam(name) for name in names]


def _rivals(declared: bool) -> list[Condition]:
    """Current records that a list shows one of: all of the adapter's folder on its declared base,
    whatever that is called, or all on this other base."""
    names = ["adapter_repository_id", "subfolder", "declared"]
    if not declared:
        names += ["base_source", "base_repo_id"]
    return [*_same(*names), RecordRow.current]


_HOLD = (
    sa.select(RepositoryRow.id)
    .where(RepositoryRow.id == sa.bindparam("repository"))
    .with_for_update(key_share=True)
)
# Shared, so that many records of one base are saved at once; who makes it private waits for them.
_PRIVATE = (
    sa.select(RepositoryRow.id, RepositoryRow.private)
    .where(
        RepositoryRow.id.in_(
            [sa.bindparam("adapter_repository_id"), sa.bindparam("base_repository_id")]
        )
    )
    .with_for_update(read=True)
)
_EARLIER = sa.select(RecordRow.id, RecordRow.content_digest, RecordRow.planner_version).where(
    *_same(
        "adapter_repository_id",
        "subfolder",
        "adapter_content",
        "base_source",
        "base_repo_id",
        "base_content",
    ),
    RecordRow.current,
)
_RIVALS = {
    declared: sa.select(RecordRow.id, RecordRow.listed)
    .where(*_rivals(declared))
    .order_by(
        sa.desc(RecordRow.adapter_revision == DEFAULT_REVISION),
        RecordRow.confirmed_at.desc(),
        RecordRow.id.desc(),
    )
    for declared in (True, False)
}
_UNREAD = {
    declared: sa.select(RecordRow.id).where(
        *_rivals(declared),
        (
            RecordRow.adapter_content.startswith("?")
            & (RecordRow.adapter_revision == sa.bindparam("revision"))
        )
        | (
            sa.bindparam("base_read", type_=sa.Boolean)
            & RecordRow.base_content.startswith("?")
            & (RecordRow.base_repo_id == sa.bindparam("base_repo_id"))
            & (RecordRow.base_revision == sa.bindparam("base_revision"))
        ),
    )
    for declared in (True, False)
}
