"""Work that was asked for and who does it: operations, their events, workers, sweeps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from registry.db.base import Base, Document, RowId, one_of

OPERATION_KINDS = ("scan", "crawl", "rehearse", "prove", "sweep", "deliver")
OPEN_STATES = ("queued", "running")
OPERATION_STATES = (*OPEN_STATES, "succeeded", "failed", "cancelled")


class OperationRow(Base):
    """One piece of work. Its id is the job engine's workflow id."""

    __tablename__ = "operations"
    __table_args__ = (
        # Two identical requests in flight are one operation; a finished one may be asked for again.
        sa.Index(
            "uq_operations_open",
            "dedupe_key",
            unique=True,
            sqlite_where=sa.text("state IN ('queued', 'running')"),
            postgresql_where=sa.text("state IN ('queued', 'running')"),
        ),
        sa.Index(None, "state", "kind", "created_at"),
        sa.Index(None, "finished_at"),
        one_of("kind", OPERATION_KINDS),
        one_of("state", OPERATION_STATES),
        # A state can never say that something runs and is over.
        sa.CheckConstraint("(state IN ('queued', 'running')) = (finished_at IS NULL)", name="over"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    state: Mapped[str]
    dedupe_key: Mapped[str]
    # Smaller is sooner: a person waiting goes before a crawl.
    priority: Mapped[int] = mapped_column(sa.Integer)
    request: Mapped[Any] = mapped_column(Document)
    requester_token_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("tokens.id", ondelete="SET NULL"), index=True
    )
    # How many identical requests this one operation answers.
    requests: Mapped[int] = mapped_column(sa.Integer, default=1)
    attempts: Mapped[int] = mapped_column(sa.Integer, default=0)
    progress: Mapped[Any | None] = mapped_column(Document)
    result: Mapped[Any | None] = mapped_column(Document)
    problem: Mapped[Any | None] = mapped_column(Document)
    executor_id: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class OperationEventRow(Base):
    """What happened to an operation. Ids grow in the order of commits, for `Last-Event-ID`."""

    __tablename__ = "operation_events"
    __table_args__ = (sa.Index(None, "operation_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    operation_id: Mapped[str] = mapped_column(sa.ForeignKey("operations.id", ondelete="CASCADE"))
    name: Mapped[str]
    document: Mapped[Any] = mapped_column(Document)
    created_at: Mapped[datetime]


class WorkerRow(Base):
    """A heartbeat per executor. The row of a dead one stays until its work is taken over."""

    __tablename__ = "workers"
    __table_args__ = (sa.Index(None, "last_seen_at"),)

    executor_id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    queues: Mapped[Any] = mapped_column(Document)
    device: Mapped[str]
    versions: Mapped[Any] = mapped_column(Document)
    current_work: Mapped[Any | None] = mapped_column(Document)
    started_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    stopped_at: Mapped[datetime | None]


class SweepRow(Base):
    """How far a listing of the Hub has come, so that it goes on where it stopped."""

    __tablename__ = "sweeps"

    name: Mapped[str] = mapped_column(primary_key=True)
    cursor: Mapped[str | None]
    progress: Mapped[Any | None] = mapped_column(Document)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
