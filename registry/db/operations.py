"""Operations: work that was asked for, who holds it, and what became of it.

An attempt is the right to change an operation. Taking it counts `attempts` up and writes the
executor down; whoever stores a result shows its attempt in the same transaction and is refused once
another has been taken. So a process that was stopped and goes on later changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.base import Base
from registry.db.models import OperationEventRow, OperationRow
from registry.db.models.operations import OPEN_STATES
from registry.db.upsert import insert

Document = Mapping[str, Any]

# Any number that nobody else takes an advisory lock on.
_EVENT_LOCK = 7_203_461_156
# A request that meets its twin just when that one ends becomes an operation of its own.
_TRIES = 5
_TABLE = Base.metadata.tables[OperationRow.__tablename__]
_EVENTS = Base.metadata.tables[OperationEventRow.__tablename__]


class Superseded(Exception):
    """This attempt no longer holds its operation: it was cancelled, or another took it over."""


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self.value not in OPEN_STATES


@dataclass(frozen=True)
class Operation:
    """One piece of work as it stands. `progress` is for readers; `request` is what was asked."""

    id: str
    kind: str
    state: State
    dedupe_key: str
    priority: int
    request: Document
    requester_token_id: int | None
    attempts: int
    progress: Document | None
    result: Document | None
    problem: Document | None
    executor_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Attempt:
    """The right to change an operation, while it is the newest one."""

    operation_id: str
    number: int
    executor_id: str


@dataclass(frozen=True)
class Event:
    """What happened to an operation; ids grow in the order in which events become visible."""

    id: int
    operation_id: str
    name: str
    document: Document
    created_at: datetime


# The event after which none follows.
DONE = "done"

_COLUMNS = [_TABLE.c[name] for name in Operation.__dataclass_fields__]


def ensure_operation(
    session: Session,
    *,
    kind: str,
    dedupe_key: str,
    request: Document,
    priority: int,
    requester_token_id: int | None = None,
) -> tuple[Operation, bool]:
    """The open operation of this key, made now if there is none; True when it was made now.

    Whoever asks for the same while it is open is given the same; a finished one is never reused.
    """
    connection = session.connection()
    now = datetime.now(UTC)
    for _ in range(_TRIES):
        joined = connection.execute(
            sa.update(_TABLE)
            .where(_TABLE.c.dedupe_key == dedupe_key, _TABLE.c.state.in_(OPEN_STATES))
            .values(requests=_TABLE.c.requests + 1)
            .returning(*_COLUMNS)
        ).first()
        if joined is not None:
            return _operation(joined), False
        made = connection.execute(
            insert(connection, OperationRow).on_conflict_do_nothing().returning(*_COLUMNS),
            {
                "id": str(uuid.uuid4()),
                "kind": kind,
                "state": State.QUEUED.value,
                "dedupe_key": dedupe_key,
                "priority": priority,
                "request": request,
                "requester_token_id": requester_token_id,
                "requests": 1,
                "attempts": 0,
                "created_at": now,
            },
        ).first()
        if made is not None:
            operation = _operation(made)
            _emit(session, operation.id, State.QUEUED.value, {"state": State.QUEUED.value}, now)
            return operation, True
    raise RuntimeError("An operation of this key opened and closed at every look.")


def take(session: Session, operation_id: str, executor_id: str) -> tuple[Operation, Attempt] | None:
    """Count an attempt and hold the operation by it; None when it is over or gone.

    Whoever held it before is superseded.
    """
    now = datetime.now(UTC)
    row = session.execute(
        sa.update(_TABLE)
        .where(_TABLE.c.id == operation_id, _TABLE.c.state.in_(OPEN_STATES))
        .values(
            state=State.RUNNING.value,
            attempts=_TABLE.c.attempts + 1,
            executor_id=executor_id,
            started_at=sa.func.coalesce(_TABLE.c.started_at, now),
        )
        .returning(*_COLUMNS)
    ).first()
    if row is None:
        return None
    operation = _operation(row)
    return operation, Attempt(operation_id, operation.attempts, executor_id)


def hold(session: Session, attempt: Attempt) -> None:
    """Lock the operation until the transaction ends. Raises Superseded."""
    _change(session, attempt, {"executor_id": attempt.executor_id})


def note(session: Session, attempt: Attempt, progress: Document) -> None:
    """Say how far the work is, to readers and to who waits. Raises Superseded."""
    _change(session, attempt, {"progress": progress})
    document = {"state": State.RUNNING.value, "progress": progress}
    _emit(session, attempt.operation_id, "progress", document, datetime.now(UTC))


def release(
    session: Session,
    attempt: Attempt,
    state: State,
    *,
    progress: Document,
    result: Document | None = None,
) -> None:
    """Give the operation up while it stays open: its next stage or try is another job.

    `result` is what the next stage needs to know. Raises Superseded.
    """
    values: dict[str, Any] = {"state": state.value, "executor_id": None}
    _change(session, attempt, {**values, "progress": progress, "result": result})
    document = {"state": state.value, "progress": progress}
    _emit(session, attempt.operation_id, "progress", document, datetime.now(UTC))


def finish(
    session: Session,
    attempt: Attempt,
    state: State,
    *,
    progress: Document | None = None,
    result: Document | None = None,
    problem: Document | None = None,
) -> None:
    """End the operation. Raises Superseded: then this attempt's result is nobody's."""
    now = datetime.now(UTC)
    values: dict[str, Any] = {"state": state.value, "finished_at": now, "result": result}
    values |= {"problem": problem, "progress": progress}
    _change(session, attempt, values)
    _emit(session, attempt.operation_id, DONE, {"state": state.value, "problem": problem}, now)


def close(
    session: Session, operation_id: str, state: State, *, problem: Document | None = None
) -> Operation | None:
    """End an open operation whoever holds it: it was cancelled, or nobody is left to do it.

    None when it is over already or does not exist.
    """
    now = datetime.now(UTC)
    row = session.execute(
        sa.update(_TABLE)
        .where(_TABLE.c.id == operation_id, _TABLE.c.state.in_(OPEN_STATES))
        .values(state=state.value, finished_at=now, problem=problem)
        .returning(*_COLUMNS)
    ).first()
    if row is None:
        return None
    _emit(session, operation_id, DONE, {"state": state.value, "problem": problem}, now)
    return _operation(row)


def load_operation(connection: sa.Connection, operation_id: str) -> Operation | None:
    row = connection.execute(sa.select(*_COLUMNS).where(_TABLE.c.id == operation_id)).first()
    return None if row is None else _operation(row)


def list_queued(
    session: Session, key_prefix: str, *, never_tried: bool = True, limit: int
) -> list[Operation]:
    """Queued operations whose key begins so, the most urgent first. Locks what it gives, and
    passes over what another holds."""
    statement = (
        sa.select(*_COLUMNS)
        .where(
            _TABLE.c.state == State.QUEUED.value,
            _TABLE.c.dedupe_key.startswith(key_prefix, autoescape=True),
        )
        .order_by(_TABLE.c.priority, _TABLE.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if never_tried:
        statement = statement.where(_TABLE.c.attempts == 0)
    return [_operation(row) for row in session.execute(statement)]


def list_open(
    connection: sa.Connection, *, created_before: datetime, limit: int
) -> list[Operation]:
    """Operations that are not over, the oldest first."""
    statement = (
        sa.select(*_COLUMNS)
        .where(_TABLE.c.state.in_(OPEN_STATES), _TABLE.c.created_at < created_before)
        .order_by(_TABLE.c.created_at)
        .limit(limit)
    )
    return [_operation(row) for row in connection.execute(statement)]


def list_failed(
    connection: sa.Connection, *, kind: str, since: datetime, limit: int
) -> list[Operation]:
    """Operations of a kind that ended as failed since, the newest first."""
    statement = (
        sa.select(*_COLUMNS)
        .where(
            _TABLE.c.finished_at >= since,
            _TABLE.c.state == State.FAILED.value,
            _TABLE.c.kind == kind,
        )
        .order_by(_TABLE.c.finished_at.desc())
        .limit(limit)
    )
    return [_operation(row) for row in connection.execute(statement)]


def count_open(connection: sa.Connection) -> list[tuple[str, str, int, datetime]]:
    """(kind, state, how many, the oldest one's creation) of what is not over."""
    statement = (
        sa.select(_TABLE.c.kind, _TABLE.c.state, sa.func.count(), sa.func.min(_TABLE.c.created_at))
        .where(_TABLE.c.state.in_(OPEN_STATES))
        .group_by(_TABLE.c.kind, _TABLE.c.state)
    )
    return [tuple(row) for row in connection.execute(statement)]


def list_events(
    connection: sa.Connection,
    *,
    after: int,
    operation_id: str | None = None,
    limit: int = 1000,
) -> list[Event]:
    """Events with a greater id, of one operation or of all, in order."""
    statement = sa.select(_EVENTS).where(_EVENTS.c.id > after).order_by(_EVENTS.c.id).limit(limit)
    if operation_id is not None:
        statement = statement.where(_EVENTS.c.operation_id == operation_id)
    return [Event(**row._mapping) for row in connection.execute(statement)]


def last_event_id(connection: sa.Connection) -> int:
    """The newest event's id, 0 before the first."""
    return connection.execute(sa.select(sa.func.max(_EVENTS.c.id))).scalar() or 0


def delete_finished(session: Session, *, before: datetime, limit: int) -> list[str]:
    """Forget operations that ended before; their ids. Records and proofs are kept for ever."""
    chosen: Sequence[str] = session.scalars(
        sa.select(_TABLE.c.id)
        .where(_TABLE.c.finished_at < before)
        .order_by(_TABLE.c.finished_at)
        .limit(limit)
    ).all()
    if chosen:
        session.execute(sa.delete(_TABLE).where(_TABLE.c.id.in_(chosen)))
    return list(chosen)


def _change(session: Session, attempt: Attempt, values: Document) -> None:
    changed = session.execute(
        sa.update(_TABLE)
        .where(
            _TABLE.c.id == attempt.operation_id,
            _TABLE.c.state == State.RUNNING.value,
            _TABLE.c.attempts == attempt.number,
            _TABLE.c.executor_id == attempt.executor_id,
        )
        .values(dict(values))
        .returning(_TABLE.c.id)
    ).first()
    if changed is None:
        raise Superseded(f"attempt {attempt.number} of operation {attempt.operation_id}")


def _emit(
    session: Session, operation_id: str, name: str, document: Document, now: datetime
) -> None:
    """Write an event, as the last thing that its transaction does to the operation."""
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        # Ids are drawn before the commit: without this an event could become visible after one
        # with a greater id, and who reads on from the greatest would never see it.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_EVENT_LOCK)))
    values = {"operation_id": operation_id, "name": name, "document": document, "created_at": now}
    connection.execute(insert(connection, OperationEventRow), values)


def _operation(row: sa.Row[Any]) -> Operation:
    values = dict(row._mapping)
    return Operation(**{**values, "state": State(values["state"])})
