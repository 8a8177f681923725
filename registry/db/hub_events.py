"""Events of the Hub: each is noted once, however often it is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.models import HubEventRow, OperationRow
from registry.db.models.operations import OPEN_STATES
from registry.db.upsert import insert


@dataclass(frozen=True)
class HubEvent:
    """`ref` and the commits are '' where an event has none (deleted, moved, made private); then
    `new_sha` holds what tells it from the next of its kind, the Hub's own time or id."""

    id: int
    repo_id: str
    action: str
    ref: str
    new_sha: str
    old_sha: str
    document: Any
    state: str
    operation_id: str | None
    received_at: datetime
    handled_at: datetime | None


_COLUMNS = tuple(HubEventRow.__table__.c[name] for name in HubEvent.__annotations__)


def save_hub_event(
    session: Session,
    *,
    repo_id: str,
    action: str,
    ref: str,
    new_sha: str,
    received_at: datetime,
    old_sha: str = "",
    document: Any = None,
) -> int | None:
    """The event's id, None where it was told before."""
    connection = session.connection()
    made: int | None = connection.execute(
        insert(connection, HubEventRow).on_conflict_do_nothing().returning(HubEventRow.id),
        {
            "repo_id": repo_id,
            "action": action,
            "ref": ref,
            "new_sha": new_sha,
            "old_sha": old_sha,
            "document": document or {},
            "state": "received",
            "received_at": received_at,
        },
    ).scalar()
    return made


def finish_hub_event(
    session: Session,
    event_id: int,
    *,
    state: str,
    handled_at: datetime,
    operation_id: str | None = None,
) -> None:
    """Done, by this operation if one was needed, or ignored."""
    session.execute(
        sa.update(HubEventRow)
        .where(HubEventRow.id == event_id)
        .values(state=state, handled_at=handled_at, operation_id=operation_id)
    )


def list_hub_events(
    connection: sa.Connection, *, state: str | None = None, limit: int = 100
) -> list[HubEvent]:
    """The newest first."""
    statement = sa.select(*_COLUMNS).order_by(HubEventRow.received_at.desc(), HubEventRow.id.desc())
    if state is not None:
        statement = statement.where(HubEventRow.state == state)
    return [HubEvent(*row) for row in connection.execute(statement.limit(limit))]


def delete_hub_events(session: Session, *, before: datetime) -> None:
    """Forget handled events; the Hub no longer repeats ones this old."""
    session.execute(
        sa.delete(HubEventRow).where(
            HubEventRow.received_at < before, HubEventRow.state != "received"
        )
    )


def list_waiting(connection: sa.Connection, *, action: str, limit: int = 100) -> list[HubEvent]:
    """Events of a kind that are not handled and that no open operation is at work on, the oldest
    first."""
    at_work = (
        sa.select(OperationRow.id)
        .where(OperationRow.id == HubEventRow.operation_id, OperationRow.state.in_(OPEN_STATES))
        .exists()
    )
    statement = (
        sa.select(*_COLUMNS)
        .where(HubEventRow.state == "received", HubEventRow.action == action, sa.not_(at_work))
        .order_by(HubEventRow.received_at, HubEventRow.id)
    )
    return [HubEvent(*row) for row in connection.execute(statement.limit(limit))]


def find_hub_event(
    connection: sa.Connection, *, repo_id: str, action: str, ref: str, new_sha: str
) -> HubEvent | None:
    row = connection.execute(
        sa.select(*_COLUMNS).where(
            HubEventRow.repo_id == repo_id,
            HubEventRow.action == action,
            HubEventRow.ref == ref,
            HubEventRow.new_sha == new_sha,
        )
    ).first()
    return None if row is None else HubEvent(*row)


def save_handling(
    session: Session, event_id: int, *, document: Any, operation_id: str | None
) -> None:
    """What is being done about an event that stays open: by which operation, and what is owed."""
    session.execute(
        sa.update(HubEventRow)
        .where(HubEventRow.id == event_id)
        .values(document=document, operation_id=operation_id, state="received", handled_at=None)
    )
