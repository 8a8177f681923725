"""Heartbeats: one row per executor, on the database's clock, so that machines need not agree."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.base import Base
from registry.db.models import WorkerRow
from registry.db.upsert import insert

# Seconds: who was seen in them is shown as alive.
SEEN_LATELY = 60.0

_TABLE = Base.metadata.tables[WorkerRow.__tablename__]


@dataclass(frozen=True)
class HubQuota:
    """Requests that the Hub leaves in one of its buckets, of `limit` (None: not told), until the
    window ends."""

    bucket: str
    remaining: int
    limit: int | None
    resets_at: datetime


@dataclass(frozen=True)
class Worker:
    """A process that does jobs. `hub_quota` is what it was told last; empty is unknown."""

    executor_id: str
    host: str
    queues: Sequence[str]
    device: str
    versions: Mapping[str, str]
    hub_quota: Sequence[HubQuota] = ()
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
        "current_work": _document(worker),
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
            hub_quota=_read_quota(row.current_work),
            started_at=row.started_at,
            last_seen_at=row.last_seen_at,
        )
        for row in rows
    ]


def find_quota(workers: Iterable[Worker], now: datetime) -> list[HubQuota]:
    """The smallest figure for each bucket whose window is not over, by bucket: workers with one
    token use up one quota, and who has asked last knows best how little is left."""
    found: dict[str, HubQuota] = {}
    for quota in (each for worker in workers for each in worker.hub_quota):
        known = found.get(quota.bucket)
        if quota.resets_at > now and (known is None or quota.remaining < known.remaining):
            found[quota.bucket] = quota
    return [found[bucket] for bucket in sorted(found)]


def delete_gone(session: Session, *, seconds: float) -> None:
    """Forget workers that were not seen for so long."""
    since = _now(session.connection()) - timedelta(seconds=seconds)
    session.execute(sa.delete(_TABLE).where(_TABLE.c.last_seen_at < since))


def _document(worker: Worker) -> dict[str, Any] | None:
    if not worker.hub_quota:
        return None
    return {
        "hub_quota": {
            each.bucket: {
                "remaining": each.remaining,
                "limit": each.limit,
                "resets_at": each.resets_at.isoformat(),
            }
            for each in worker.hub_quota
        }
    }


def _read_quota(document: Any) -> tuple[HubQuota, ...]:
    """What another release wrote otherwise is unknown."""
    found = []
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        for bucket, each in document["hub_quota"].items():
            resets_at = datetime.fromisoformat(each["resets_at"]).astimezone(UTC)
            limit = None if each["limit"] is None else int(each["limit"])
            found.append(HubQuota(bucket, int(each["remaining"]), limit, resets_at))
    return tuple(found)


def _now(connection: sa.Connection) -> datetime:
    if connection.dialect.name == "postgresql":
        now: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
        return now.astimezone(UTC)
    # Every process of an SQLite file is on the machine of the file.
    return datetime.now(UTC)
