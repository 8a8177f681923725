"""Work that is open for one adapter, and what is known of the machinery: for people who look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from registry.db.base import Base
from registry.db.models import HubEventRow, OperationRow, SweepRow
from registry.db.models.operations import OPEN_STATES
from registry.db.operations import Operation, load_operation
from registry.db.sweeps import Sweep

_TABLE = Base.metadata.tables[OperationRow.__tablename__]
# The first character after every one that can follow a name in a key.
_BEYOND = "\U0010ffff"


def find_open_work(
    connection: sa.Connection,
    repo_id: str,
    *,
    adapter_digest: str | None = None,
    base_digest: str | None = None,
) -> list[Operation]:
    """Scans of this adapter and proofs of this pair that are not over, the newest first."""
    begins = [f"scan:{repo_id}@", f"scan:{repo_id}:"]
    if adapter_digest is not None and base_digest is not None:
        begins.append(f"prove:{base_digest}:{adapter_digest}:")
    keys = sa.or_(
        *(
            (_TABLE.c.dedupe_key >= begin) & (_TABLE.c.dedupe_key < begin + _BEYOND)
            for begin in begins
        )
    )
    ids: Sequence[str] = connection.scalars(
        sa.select(_TABLE.c.id)
        .where(keys, _TABLE.c.state.in_(OPEN_STATES))
        .order_by(_TABLE.c.created_at.desc())
        .limit(5)
    ).all()
    found = (load_operation(connection, each) for each in ids)
    return [operation for operation in found if operation is not None]


@dataclass(frozen=True)
class Running:
    """What an executor is at. No id: whoever has it may follow the operation."""

    executor_id: str
    kind: str
    stage: str | None
    started_at: datetime | None


def list_running(connection: sa.Connection) -> list[Running]:
    """Operations that an executor holds, the longest running first."""
    rows = connection.execute(
        sa.select(_TABLE.c.executor_id, _TABLE.c.kind, _TABLE.c.progress, _TABLE.c.started_at)
        .where(_TABLE.c.state == "running", _TABLE.c.executor_id.is_not(None))
        .order_by(_TABLE.c.started_at)
        .limit(500)
    )
    return [
        Running(executor_id, kind, (progress or {}).get("stage"), started_at)
        for executor_id, kind, progress, started_at in rows
    ]


def count_ended(connection: sa.Connection, *, since: datetime) -> dict[str, int]:
    """How many operations ended since, by how."""
    rows = connection.execute(
        sa.select(_TABLE.c.state, sa.func.count())
        .where(_TABLE.c.finished_at >= since)
        .group_by(_TABLE.c.state)
    )
    return {row.state: row[1] for row in rows}


def last_event_at(connection: sa.Connection) -> datetime | None:
    """When an event of the Hub was last noted."""
    return connection.execute(sa.select(sa.func.max(HubEventRow.received_at))).scalar()


def list_sweeps(connection: sa.Connection) -> list[Sweep]:
    rows = connection.execute(
        sa.select(*(SweepRow.__table__.c[name] for name in Sweep.__annotations__)).order_by(
            SweepRow.updated_at.desc()
        )
    )
    return [Sweep(*row) for row in rows]
