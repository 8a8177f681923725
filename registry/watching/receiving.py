"""The Hub's webhook: noted, hidden, queued, all in one transaction, and looked up later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from registry.asking import ask_scan, pair_request
from registry.db import hub_events, moving, visibility, watched
from registry.db.session import Database
from registry.db.watched import Dependent
from registry.domain.hub_events import Change, HubChange, revision_of
from registry.domain.refs import Reference, make_reference
from registry.errors import InvalidReference
from registry.jobs import Jobs, Priority

# What the Hub calls a repository that holds a PEFT adapter.
_ADAPTER_TAG = "peft"
# Events under this word hold the proofs that a change made void.
OWED = "prove"
_MAIN = "main"


@dataclass(frozen=True)
class Received:
    """How many changes were new and how many told before. `hidden`: a repository was taken out of
    public view, and whatever memory holds of it must go."""

    noted: int
    repeated: int
    hidden: bool


def receive(
    database: Database, jobs: Jobs, changes: Sequence[HubChange], *, received_at: datetime
) -> Received:
    """Note the changes of one event and do what they ask for. Safe to repeat."""

    def work(session: Session) -> Received:
        noted = sum(_receive(session, jobs, change, received_at) for change in changes)
        hidden = any(change.private or change.change is Change.DELETED for change in changes)
        return Received(noted, len(changes) - noted, hidden)

    return database.write(work)


def _receive(session: Session, jobs: Jobs, change: HubChange, at: datetime) -> bool:
    if change.private:
        # Hiding is always safe, so a repeat or an event out of order may do it again.
        visibility.hide(session, change.repo_id, access="unknown", checked_at=at)
    if change.change is Change.UPDATED:
        return note_update(session, jobs, change, at)
    # These events have no commit of their own; the time tells one from the next of its kind.
    event_id = hub_events.save_hub_event(
        session,
        repo_id=change.repo_id,
        action=change.change.value,
        ref="",
        new_sha=at.isoformat(),
        received_at=at,
        document={"moved_to": change.moved_to, "private": change.private},
    )
    name = change.repo_id
    if change.change is Change.DELETED:
        visibility.hide(session, name, access="missing", checked_at=at)
    elif change.change is Change.MOVED and change.moved_to is not None:
        moving.move(session, name, change.moved_to)
        name = change.moved_to
    # Whether it is public, gone or elsewhere is for the Hub to say: the scan reads it again.
    operation_id = None
    if watched.is_adapter(session.connection(), name) or _ADAPTER_TAG in change.tags:
        operation_id = _ask(session, jobs, Reference(name, _MAIN))
    if event_id is not None:
        hub_events.finish_hub_event(
            session, event_id, state="done", handled_at=at, operation_id=operation_id
        )
    return event_id is not None


def note_update(session: Session, jobs: Jobs, change: HubChange, at: datetime) -> bool:
    """Note that a branch has another commit and queue its scan; False where that is known."""
    revision = revision_of(change.ref)
    try:
        reference = make_reference(change.repo_id, revision)
    except InvalidReference:
        # A branch by a name that no caller could ask for.
        return False
    event_id = hub_events.save_hub_event(
        session,
        repo_id=change.repo_id,
        action=change.change.value,
        ref=change.ref,
        new_sha=change.new_sha,
        old_sha=change.old_sha,
        received_at=at,
    )
    if event_id is None:
        return False
    connection = session.connection()
    note_owed(
        session,
        change.repo_id,
        change.ref,
        change.new_sha,
        watched.list_own(connection, change.repo_id, revision or _MAIN),
        at,
    )
    if _ADAPTER_TAG in change.tags or watched.is_adapter(connection, change.repo_id):
        operation_id = _ask(session, jobs, reference)
        hub_events.save_handling(session, event_id, document={}, operation_id=operation_id)
    return True


def note_owed(
    session: Session,
    repo_id: str,
    ref: str,
    new_sha: str,
    records: Sequence[Dependent],
    at: datetime,
) -> None:
    """Remember, in their order, which of these records were proven: once there is a plan for the
    new content, it is proven as well."""
    owed: list[dict[str, Any]] = []
    for record in records:
        entry = owed_entry(record)
        if record.proven and entry not in owed:
            owed.append(entry)
    if owed:
        hub_events.save_hub_event(
            session,
            repo_id=repo_id,
            action=OWED,
            ref=ref,
            new_sha=new_sha,
            received_at=at,
            document={"owed": owed},
        )


def owed_entry(record: Dependent) -> dict[str, Any]:
    """A record as it is asked for again; the inverse is `registry.asking.read_request`."""
    reference = Reference(record.repo_id, record.revision, record.subfolder)
    base = None if record.base is None else Reference(record.base, record.base_revision)
    return pair_request(reference, base)


def _ask(session: Session, jobs: Jobs, reference: Reference) -> str:
    return ask_scan(session, jobs, reference, priority=Priority.EVENT).id
