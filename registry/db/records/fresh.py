"""Saving what is new through and through, many at once: a few statements for all of a batch.

Nearly all that a crawl finds are adapters in repositories that were never seen. Nothing can stand
against what is recorded there: no earlier record, no other place of it in lists, no branch that
has moved. Whether a repository is new is not asked but tried: its INSERT makes it ours until the
transaction ends, or tells that somebody was first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.announcing import announce_record
from registry.db.checkpoints import insert_adapters
from registry.db.models import (
    PlanRow,
    RecordBodyRow,
    RecordIssueRow,
    RecordRow,
    RepositoryRow,
)
from registry.db.records.rows import (
    content_digest,
    is_declared,
    issue_values,
    place_of,
    plan_values,
    record_values,
)
from registry.db.records.saving import UNKNOWN, save_base_names
from registry.db.repositories import insert_refs, insert_repositories
from registry.db.upsert import insert
from registry.domain.facts import AdapterFacts
from registry.domain.plan import PLANNER_VERSION
from registry.domain.record import Record
from registry.domain.refs import Source


@dataclass(frozen=True)
class Found:
    """A record of an adapter that was read, and what was read."""

    adapter: AdapterFacts
    record: Record


@dataclass(frozen=True)
class _Entry:
    record: Record
    document: dict[str, Any]
    columns: dict[str, Any]


def save_new(session: Session, found: Sequence[Found], *, scanned_at: datetime) -> list[bool]:
    """Save those whose repository and content nobody has recorded; which of them these were.

    The others are left to `save_record`, as are a second adapter of one repository and a second
    place of one content. What was read of the bases has to be saved before.
    """
    candidates = _candidates(session, found)
    if not candidates:
        return [False] * len(found)
    # Bases come first: what is one and an adapter's repository, too, is not new any more then.
    bases = {id(one): _save_base_names(session, one.record, scanned_at) for one in candidates}
    made = insert_repositories(session, [one.adapter for one in candidates], checked_at=scanned_at)
    ids = {
        id(one): made[place] for one in candidates if (place := _repository(one.adapter)) in made
    }
    new = [one for one in candidates if id(one) in ids]
    insert_adapters(session, [(ids[id(one)], one.adapter) for one in new])
    insert_refs(session, [(ids[id(one)], one.adapter.ref) for one in new], seen_at=scanned_at)
    private = _private_bases(session, {bases[id(one)] for one in new})
    entries = [
        _entry(
            one, ids[id(one)], bases[id(one)], scanned_at, base_private=bases[id(one)] in private
        )
        for one in new
    ]
    for record_id, entry in _insert(session, entries):
        announce_record(session, record_id, entry.record)
    return [id(one) in ids for one in found]


def find_known(connection: sa.Connection, adapter_digests: Iterable[str]) -> frozenset[str]:
    """Which of these contents stand in a record, wherever it was found."""
    asked = sorted(set(adapter_digests))
    if not asked:
        return frozenset()
    return frozenset(connection.scalars(_KNOWN, {"digests": asked}))


def _candidates(session: Session, found: Sequence[Found]) -> list[Found]:
    """The first of each repository and of each content, where that content is not recorded."""
    readable = [
        one
        for one in found
        if one.record.status not in UNKNOWN
        and one.adapter.ref.digest is not None
        and one.record.adapter == one.adapter.ref
    ]
    digests = [str(one.adapter.ref.digest) for one in readable]
    known = find_known(session.connection(), digests)
    seen: set[object] = set()
    candidates: list[Found] = []
    for one, digest in zip(readable, digests, strict=True):
        keys = {digest, _repository(one.adapter)}
        if digest not in known and not seen & keys:
            candidates.append(one)
        seen |= keys
    return candidates


def _repository(adapter: AdapterFacts) -> tuple[Source, str]:
    return adapter.ref.source, adapter.ref.repo_id


def _save_base_names(session: Session, record: Record, scanned_at: datetime) -> int | None:
    return save_base_names(session, record, scanned_at, declared=is_declared(record))


def _private_bases(session: Session, ids: set[int | None]) -> frozenset[int]:
    """Those that are private, held as they are until the transaction ends."""
    asked = sorted(row_id for row_id in ids if row_id is not None)
    if not asked:
        return frozenset()
    rows = session.connection().execute(_PRIVATE, {"ids": asked})
    return frozenset(row.id for row in rows if row.private)


def _entry(
    one: Found,
    repository_id: int,
    base_repository_id: int | None,
    scanned_at: datetime,
    *,
    base_private: bool,
) -> _Entry:
    document = one.record.to_json()
    place = place_of(one.record, repository_id, declared=is_declared(one.record))
    columns = {
        **vars(place),
        "base_repository_id": base_repository_id,
        "planner_version": PLANNER_VERSION,
        "content_digest": content_digest(document),
        "scanned_at": scanned_at,
        # The only one of its place is the one that lists show.
        "listed": True,
        "private": base_private or (one.adapter.private and one.adapter.ref.source is Source.HUB),
    }
    return _Entry(one.record, document, columns)


def _insert(session: Session, entries: Sequence[_Entry]) -> list[tuple[int, _Entry]]:
    """The records with their plans, bodies and issues; by their ids."""
    if not entries:
        return []
    connection = session.connection()
    plans = {
        entry.record.plan.digest: plan_values(
            entry.record, entry.document, entry.columns["scanned_at"]
        )
        for entry in entries
        if entry.record.plan is not None
    }
    if plans:
        connection.execute(
            insert(connection, PlanRow).on_conflict_do_nothing(),
            [plans[digest] for digest in sorted(plans)],
        )
    made = connection.execute(
        insert(connection, RecordRow).returning(RecordRow.id, RecordRow.adapter_repository_id),
        [record_values(entry.record, entry.columns) for entry in entries],
    )
    # Each has a repository of its own.
    by_place = {repository_id: record_id for record_id, repository_id in made}
    saved = [(by_place[entry.columns["adapter_repository_id"]], entry) for entry in entries]
    connection.execute(
        insert(connection, RecordBodyRow),
        [{"record_id": record_id, "document": entry.document} for record_id, entry in saved],
    )
    issues = [
        row
        for record_id, entry in saved
        for row in issue_values(entry.record, record_id, entry.columns)
    ]
    if issues:
        connection.execute(insert(connection, RecordIssueRow), issues)
    return saved


# --- statements, built once ----------------------------------------------------------------------

_KNOWN = (
    sa.select(RecordRow.adapter_content)
    .where(RecordRow.adapter_content.in_(sa.bindparam("digests", expanding=True)))
    .where(RecordRow.current)
    .distinct()
)
# Shared, so that many records of one base are saved at once; who makes it private waits for them.
_PRIVATE = (
    sa.select(RepositoryRow.id, RepositoryRow.private)
    .where(RepositoryRow.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(RepositoryRow.id)
    .with_for_update(read=True)
)
