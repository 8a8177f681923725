"""What comes from the Hub and what goes out to subscribers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from registry.db.base import Base, Document, RowId, one_of

EVENT_STATES = ("received", "done", "ignored")
SUBSCRIPTION_SUBJECTS = ("everything", "adapter", "base")
DELIVERY_STATES = ("pending", "delivered", "failed")


class HubEventRow(Base):
    """An event of the Hub's webhook or of the sweep: once per repository, ref and new commit."""

    __tablename__ = "hub_events"
    __table_args__ = (
        sa.UniqueConstraint("repo_id", "action", "ref", "new_sha"),
        sa.Index(None, "state", "received_at"),
        one_of("state", EVENT_STATES),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    repo_id: Mapped[str]
    # create, update, move, delete, visibility: of the Hub, so not ours to enumerate.
    action: Mapped[str]
    # '' for events that concern no ref; for these new_sha tells one event from the next.
    ref: Mapped[str]
    new_sha: Mapped[str]
    old_sha: Mapped[str]
    document: Mapped[Any] = mapped_column(Document)
    state: Mapped[str]
    operation_id: Mapped[str | None]
    received_at: Mapped[datetime]
    handled_at: Mapped[datetime | None]


class SubscriptionRow(Base):
    """Who is told of which records."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        sa.UniqueConstraint("subject", "repo_id", "target_url"),
        one_of("subject", SUBSCRIPTION_SUBJECTS),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str]
    # '' for everything.
    repo_id: Mapped[str]
    target_url: Mapped[str]
    # Signing needs the secret itself; it leaves this table for the signature alone.
    secret: Mapped[str]
    token_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("tokens.id", ondelete="SET NULL"), index=True
    )
    created_at: Mapped[datetime]
    paused_at: Mapped[datetime | None]


class DeliveryRow(Base):
    """One message to one subscriber, with its attempts."""

    __tablename__ = "deliveries"
    __table_args__ = (
        # The same change of the same record is told once, however often the job runs.
        sa.UniqueConstraint("subscription_id", "message_id"),
        sa.Index(None, "state", "next_attempt_at"),
        one_of("state", DELIVERY_STATES),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    subscription_id: Mapped[str] = mapped_column(
        sa.ForeignKey("subscriptions.id", ondelete="CASCADE")
    )
    message_id: Mapped[str]
    event: Mapped[str]
    body: Mapped[str]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(sa.Integer, default=0)
    # [{at, status, error, milliseconds}], newest last.
    log: Mapped[Any] = mapped_column(Document)
    created_at: Mapped[datetime]
    next_attempt_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
