"""Look up what the Hub told of, until it is recorded: an event is a hint, the Hub has the word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session

from registry.asking import BATCH, ask_batch, ask_proof, ask_scan, read_request
from registry.db import announcing, checkpoints, hub_events, records, visibility, watched
from registry.db.hub_events import HubEvent
from registry.db.proofs import Pair
from registry.db.records import StoredRecord
from registry.db.session import Database
from registry.db.watched import Dependent
from registry.domain.facts import BaseFacts
from registry.domain.hub_events import Change, revision_of
from registry.domain.messages import MessageType, record_data
from registry.domain.record import Evidence, Status
from registry.domain.refs import Reference, Source
from registry.errors import (
    HubError,
    RepositoryNotFound,
    TransientHubError,
)
from registry.hub import Reader, Snapshot
from registry.hub.snapshots import adapter_folders
from registry.jobs import Jobs, Priority
from registry.watching.receiving import OWED, note_owed

log = structlog.get_logger("watching")
T = TypeVar("T")

_AT_ONCE = 8
_LOOKED_AT = 500
# How often a commit is scanned anew that its scan did not reach.
_TRIES = 3
_OWED_FOR = timedelta(days=3)
_ASKED_FOR = timedelta(days=30)
# Not yet what it will be.
_UNDECIDED = frozenset({Status.QUEUED, Status.PLANNED, Status.STALE, Status.FAILED})


@dataclass(frozen=True)
class _Desk:
    """What every look needs."""

    database: Database
    jobs: Jobs
    reader: Reader
    now: datetime

    async def read(self, work: Callable[[Session], T]) -> T:
        return await asyncio.to_thread(self.database.write, work)


async def settle_events(
    database: Database, jobs: Jobs, reader: Reader, *, now: datetime | None = None
) -> int:
    """Look at events that nobody is at work on; how many are settled by it.

    What the Hub does not answer stays for the next time. Raises DatabaseUnavailable.
    """
    desk = _Desk(database, jobs, reader, now or datetime.now(UTC))

    def load() -> list[HubEvent]:
        with database.reading() as connection:
            return hub_events.list_waiting(
                connection, action=Change.UPDATED.value, limit=_LOOKED_AT
            )

    free = asyncio.Semaphore(_AT_ONCE)

    async def settle(event: HubEvent) -> bool:
        async with free:
            return await _settle(desk, event)

    waiting = await asyncio.to_thread(load)
    return sum(await asyncio.gather(*(settle(event) for event in waiting)))


async def _settle(desk: _Desk, event: HubEvent) -> bool:
    """True when the event needs no further look."""
    needs_base, read = await asyncio.to_thread(_known, desk.database, event)
    if read and not needs_base:
        return await _finish(desk, event, "done")
    reference = Reference(event.repo_id, revision_of(event.ref))
    try:
        snapshot = await desk.reader.resolve(reference)
        if needs_base:
            await _look_at_base(desk, event, reference)
        folders = await _folders(desk.reader, snapshot, reference)
    except RepositoryNotFound:
        await desk.read(
            lambda s: visibility.hide(s, event.repo_id, access="missing", checked_at=desk.now)
        )
        return await _finish(desk, event, "done")
    except TransientHubError as error:
        log.warning("look-failed", event_id=event.id, reason=error.code)
        return False
    except HubError:
        # Gated, disabled or without this branch: a scan says so where the adapter is recorded.
        return await _finish(desk, event, "done")
    if not folders:
        return await _finish(desk, event, "done" if needs_base else "ignored")
    return await desk.read(lambda session: _ask_again(desk, session, event, reference, snapshot))


def _known(database: Database, event: HubEvent) -> tuple[bool, bool]:
    with database.reading() as connection:
        needs_base = watched.is_base(connection, event.repo_id)
        return needs_base, watched.has_adapter_at(connection, event.repo_id, event.new_sha)


async def _folders(
    reader: Reader, snapshot: Snapshot, reference: Reference
) -> tuple[str | None, ...]:
    if snapshot.complete:
        return adapter_folders(snapshot)
    return await reader.find_adapters(reference)


def _ask_again(
    desk: _Desk, session: Session, event: HubEvent, reference: Reference, snapshot: Snapshot
) -> bool:
    """A scan of what the branch holds now, unless that is recorded or was tried often enough."""
    tries = int((event.document or {}).get("tries", 0))
    read = watched.has_adapter_at(session.connection(), snapshot.repo_id, snapshot.commit_sha)
    if read or tries >= _TRIES:
        hub_events.finish_hub_event(
            session,
            event.id,
            state="done",
            handled_at=desk.now,
            operation_id=event.operation_id,
        )
        return True
    operation = ask_scan(session, desk.jobs, reference, priority=Priority.EVENT)
    hub_events.save_handling(
        session, event.id, document={"tries": tries + 1}, operation_id=operation.id
    )
    return False


async def _finish(desk: _Desk, event: HubEvent, state: str) -> bool:
    await desk.read(
        lambda session: hub_events.finish_hub_event(
            session,
            event.id,
            state=state,
            handled_at=desk.now,
            operation_id=event.operation_id,
        )
    )
    return True


# --- bases ---------------------------------------------------------------------------------------


async def _look_at_base(desk: _Desk, event: HubEvent, reference: Reference) -> None:
    """Read a base again. Equal content costs this look; other content makes what was judged on the
    branch stale, and everything of it is asked for anew."""
    facts = await desk.reader.read_base(reference)
    await desk.read(lambda session: _save_base(desk, session, event, facts))


def _save_base(desk: _Desk, session: Session, event: HubEvent, facts: BaseFacts) -> None:
    connection = session.connection()
    revision = facts.ref.revision or "main"
    dependents = watched.list_dependents(
        connection, event.repo_id, revision, facts.ref.digest or ""
    )
    ids = [each.record_id for each in dependents] if announcing.is_heard(session) else []
    # As they stood: the next lines make them stale.
    told = watched.load_records(connection, ids)
    checkpoints.save_base(session, facts)
    checkpoints.save_ref(session, facts.ref, seen_at=desk.now)
    asked = watched.count_requests(connection, since=desk.now - _ASKED_FOR)
    dependents.sort(key=lambda each: (-asked[each.repo_id], each.record_id))
    for dependent in dependents:
        _announce_stale(session, told.get(dependent.record_id), facts)
    _ask_for(desk, session, dependents)
    note_owed(session, event.repo_id, event.ref, event.new_sha, dependents, desk.now)


def _announce_stale(session: Session, stored: StoredRecord | None, facts: BaseFacts) -> None:
    if stored is None or stored.record.evidence is Evidence.NONE:
        return
    data = {**record_data(stored.record), "status": Status.STALE.value}
    content = str(facts.ref.digest).removeprefix("sha256:")[:16]
    announcing.announce(session, MessageType.STALE, f"msg_{stored.id}_{content}", data)


def _ask_for(desk: _Desk, session: Session, dependents: Sequence[Dependent]) -> None:
    """New scans in this order: on the declared base in batches, on others one by one."""
    declared = [
        Reference(each.repo_id, each.revision, each.subfolder)
        for each in dependents
        if each.base is None
    ]
    for first in range(0, len(declared), BATCH):
        # The most asked-for go before the sweep's work, the rest stand in line with it.
        priority = Priority.EVENT if first == 0 else Priority.SWEEP
        ask_batch(session, desk.jobs, declared[first : first + BATCH], priority=priority)
    for each in dependents:
        if each.base is not None:
            ask_scan(
                session,
                desk.jobs,
                Reference(each.repo_id, each.revision, each.subfolder),
                Reference(each.base, each.base_revision),
                priority=Priority.SWEEP,
            )


# --- proofs --------------------------------------------------------------------------------------


def pay_proofs(database: Database, jobs: Jobs, *, now: datetime | None = None) -> int:
    """Queue proofs for pairs whose proven content has changed, once their new plan is rehearsed;
    how many. A change of the README alone owes nothing: the proof is of the content."""
    now = now or datetime.now(UTC)
    with database.reading() as connection:
        waiting = hub_events.list_waiting(connection, action=OWED, limit=_LOOKED_AT)
    return sum(database.write(partial(_pay, jobs, event, now)) for event in waiting)


def _pay(jobs: Jobs, event: HubEvent, now: datetime, session: Session) -> int:
    left, asked = [], 0
    overdue = now - event.received_at > _OWED_FOR
    read = watched.has_adapter_at(session.connection(), event.repo_id, event.new_sha)
    for entry in event.document["owed"]:
        reference, base = read_request(entry)
        if reference.repo_id == event.repo_id and not read:
            # Until the new commit is read, the record is the old commit's.
            left += [] if overdue else [entry]
            continue
        stored = records.find_record(
            session.connection(),
            source=Source.HUB,
            repo_id=reference.repo_id,
            revision=reference.revision,
            subfolder=reference.subfolder,
            base_repo_id=base.repo_id if base else None,
            base_revision=base.revision if base else None,
        )
        pair = _provable(stored)
        if pair is not None:
            ask_proof(session, jobs, reference, base, pair, priority=Priority.EVENT)
            asked += 1
        elif stored is not None and stored.record.status in _UNDECIDED and not overdue:
            left.append(entry)
    if left:
        hub_events.save_handling(session, event.id, document={"owed": left}, operation_id=None)
    else:
        hub_events.finish_hub_event(session, event.id, state="done", handled_at=now)
    return asked


def _provable(stored: StoredRecord | None) -> Pair | None:
    if stored is None or stored.record.status is not Status.REHEARSED:
        return None
    record = stored.record
    if record.base is None or record.adapter.digest is None or record.base.digest is None:
        return None
    return Pair(record.adapter.digest, record.adapter.subfolder, record.base.digest)
