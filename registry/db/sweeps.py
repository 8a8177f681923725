"""How far a listing of the Hub has come, so that the next run goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.models import SweepRow
from registry.db.upsert import save_row


@dataclass(frozen=True)
class Sweep:
    """A listing by name; it goes on at `cursor`, None: from the start."""

    name: str
    cursor: str | None
    progress: Any
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


_COLUMNS = tuple(SweepRow.__table__.c[name] for name in Sweep.__annotations__)


def save_sweep(session: Session, sweep: Sweep) -> None:
    values = {name: value for name, value in vars(sweep).items() if name != "name"}
    save_row(session, SweepRow, {"name": sweep.name}, values)


def load_sweep(connection: sa.Connection, name: str) -> Sweep | None:
    row = connection.execute(sa.select(*_COLUMNS).where(SweepRow.name == name)).first()
    return None if row is None else Sweep(*row)
