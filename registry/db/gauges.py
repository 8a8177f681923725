"""Counts for monitoring: few statements, each over an index, none with a repository's name."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from registry.db.models import HubEventRow, OperationRow, ProofRow, RecordRow

# How far back the time from an event to its handling is looked at.
_EVENTS = 1000


def count_records(connection: sa.Connection) -> list[tuple[str, int]]:
    """Listed records by the status that lists show."""
    rows = connection.execute(
        sa.select(RecordRow.shown_status, sa.func.count())
        .where(RecordRow.listed)
        .group_by(RecordRow.shown_status)
    )
    return [(status, count) for status, count in rows]


def count_proofs(connection: sa.Connection) -> list[tuple[str, str, int]]:
    """(outcome, device, how many), since ever."""
    rows = connection.execute(
        sa.select(ProofRow.outcome, ProofRow.device, sa.func.count()).group_by(
            ProofRow.outcome, ProofRow.device
        )
    )
    return [(outcome, device, count) for outcome, device, count in rows]


def count_over(connection: sa.Connection) -> list[tuple[str, str, int]]:
    """(kind, state, how many) of operations that are over and still kept."""
    rows = connection.execute(
        sa.select(OperationRow.kind, OperationRow.state, sa.func.count())
        .where(OperationRow.finished_at.is_not(None))
        .group_by(OperationRow.kind, OperationRow.state)
    )
    return [(kind, state, count) for kind, state, count in rows]


def count_taken_over(connection: sa.Connection) -> int:
    """Operations that a second worker took up, because the first one died or was lost."""
    statement = sa.select(sa.func.count()).where(OperationRow.attempts > 1)
    return int(connection.execute(statement).scalar_one())


def list_event_times(connection: sa.Connection) -> list[tuple[datetime, datetime]]:
    """When each of the last handled events of the Hub was received, and when its scan was over."""
    rows = connection.execute(
        sa.select(HubEventRow.received_at, OperationRow.finished_at)
        .join(OperationRow, OperationRow.id == HubEventRow.operation_id)
        .where(OperationRow.finished_at.is_not(None))
        .order_by(HubEventRow.id.desc())
        .limit(_EVENTS)
    )
    return [(received, finished) for received, finished in rows if finished is not None]
