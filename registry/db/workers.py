"""Heartbeats: one row per executor, on the database's clock, so that machines need not agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.base import Base
from registry.db.models import WorkerRow
from registry.db.upsert import insert

_TABLE = Base.metadata.tables[WorkerRow.__tablename__]


@dataclass(frozen=True)
class Worker:
    """A process that does jobs."""

    executor_id: str
    host: str
    queues: Sequence[str]
    device: str
    versions: Mapping[str, str]
    current_work: Any | None = None
    started_at: datetime | None = None
    last_seen_at: datetime | None = None

    @property
    def age(self) -> timedelta:
        """How long it has been seen; nothing for one that was never."""
        if self.started_at is None or self.last_seen_at is None:
            return timedelta(0)
        return self.last_seen_at - self.started_at


def beat(session: Session, worker: Worker) -> None:
    """Say that this worker lives; its row is made where it is missing."""
    connection = session.connection()
    now = _now(connection)
    values: dict[str, Any] = {
        "host": worker.host,
        "queues": list(worker.queues),
        "device": worker.device,
        "versions": dict(worker.versions),
        "current_work": worker.current_work,
        "last_seen_at": now,
        "stopped_at": None,
    }
    statement = insert(connection, WorkerRow)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["executor_id"], set_=values),
        {"executor_id": worker.executor_id, "started_at": now, **values},
    )


def leave(session: Session, executor_id: str) -> None:
    """Say that this worker has stopped: what it may have left is taken over at once."""
    session.execute(
        sa.update(_TABLE)
        .where(_TABLE.c.executor_id == executor_id)
        .values(stopped_at=_now(session.connection()))
    )


def list_living(connection: sa.Connection, *, seconds: float) -> list[Worker]:
    """Workers that were seen in the last `seconds` and have not left, by executor id."""
    since = _now(connection) - timedelta(seconds=seconds)
    rows = connection.execute(
        sa.select(_TABLE)
        .where(_TABLE.c.stopped_at.is_(None), _TABLE.c.last_seen_at >= since)
        .order_by(_TABLE.c.executor_id)
    )
    return [
        Worker(
            executor_id=row.executor_id,
            host=row.host,
            queues=tuple(row.queues),
            device=row.device,
            versions=row.versions,
            current_work=row.current_work,
            started_at=row.started_at,
            last_seen_at=row.last_seen_at,
        )
        for row in rows
    ]


def delete_gone(session: Session, *, seconds: float) -> None:
    """Forget workers that were not seen for so long."""
    since = _now(session.connection()) - timedelta(seconds=seconds)
    session.execute(sa.delete(_TABLE).where(_TABLE.c.last_seen_at < since))


def _now(connection: sa.Connection) -> datetime:
    if connection.dialect.name == "postgresql":
        now: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)
    # Every process of an SQLite file is on the machine of the file.
    return datetime.now(UTC)
