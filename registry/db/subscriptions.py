"""Subscriptions to what becomes known, and the deliveries made to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.models import DeliveryRow, SubscriptionRow
from registry.db.upsert import insert
from registry.domain.messages import MessageType


@dataclass(frozen=True)
class Subscription:
    """Who is told of what: `subject` is everything (then `repo_id` is ''), adapter or base."""

    id: str
    subject: str
    repo_id: str
    target_url: str
    secret: str = field(repr=False)
    token_id: int | None
    created_at: datetime
    paused_at: datetime | None = None


@dataclass(frozen=True)
class Delivery:
    """One message. `body` is what is signed and sent; `log` one entry for each attempt."""

    id: str
    subscription_id: str
    message_id: str
    event: str
    body: str
    state: str
    attempts: int
    log: list[Mapping[str, Any]]
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None


_SUBSCRIPTION = tuple(SubscriptionRow.__table__.c[name] for name in Subscription.__annotations__)
_DELIVERY = tuple(DeliveryRow.__table__.c[name] for name in Delivery.__annotations__)


def save_subscription(session: Session, subscription: Subscription) -> str:
    """The id; that of the earlier one where the same target is told of the same subject."""
    connection = session.connection()
    made: str | None = connection.execute(
        insert(connection, SubscriptionRow).on_conflict_do_nothing().returning(SubscriptionRow.id),
        dict(vars(subscription)),
    ).scalar()
    if made is not None:
        return made
    return connection.execute(
        sa.select(SubscriptionRow.id).where(
            SubscriptionRow.subject == subscription.subject,
            SubscriptionRow.repo_id == subscription.repo_id,
            SubscriptionRow.target_url == subscription.target_url,
        )
    ).scalar_one()


def find_subscription(connection: sa.Connection, subscription_id: str) -> Subscription | None:
    row = connection.execute(
        sa.select(*_SUBSCRIPTION).where(SubscriptionRow.id == subscription_id)
    ).first()
    return None if row is None else Subscription(*row)


def list_subscriptions(connection: sa.Connection) -> list[Subscription]:
    rows = connection.execute(
        sa.select(*_SUBSCRIPTION).order_by(SubscriptionRow.created_at, SubscriptionRow.id)
    )
    return [Subscription(*row) for row in rows]


def find_subscribers(
    connection: sa.Connection, *, adapter: str, base: str | None
) -> list[Subscription]:
    """Who is told of a record of this adapter and base; paused ones are not."""
    wanted = (
        (SubscriptionRow.subject == "everything")
        | ((SubscriptionRow.subject == "adapter") & (SubscriptionRow.repo_id == adapter))
        | ((SubscriptionRow.subject == "base") & (SubscriptionRow.repo_id == (base or "")))
    )
    rows = connection.execute(
        sa.select(*_SUBSCRIPTION)
        .where(wanted, SubscriptionRow.paused_at.is_(None))
        .order_by(SubscriptionRow.id)
    )
    return [Subscription(*row) for row in rows]


def delete_subscription(session: Session, subscription_id: str) -> bool:
    """False where there is none. Its deliveries go with it."""
    deleted = session.execute(
        sa.delete(SubscriptionRow)
        .where(SubscriptionRow.id == subscription_id)
        .returning(SubscriptionRow.id)
    )
    return deleted.first() is not None


def save_delivery(
    session: Session,
    delivery_id: str,
    *,
    subscription_id: str,
    message_id: str,
    event: str,
    body: str,
    created_at: datetime,
) -> bool:
    """A message to be sent; False where the subscription has this message already."""
    connection = session.connection()
    made = connection.execute(
        insert(connection, DeliveryRow).on_conflict_do_nothing().returning(DeliveryRow.id),
        {
            "id": delivery_id,
            "subscription_id": subscription_id,
            "message_id": message_id,
            "event": event,
            "body": body,
            "state": "pending",
            "attempts": 0,
            "log": [],
            "created_at": created_at,
            "next_attempt_at": created_at,
        },
    )
    return made.first() is not None


def save_attempt(
    session: Session,
    delivery: Delivery,
    entry: Mapping[str, Any],
    *,
    delivered_at: datetime | None,
    next_attempt_at: datetime | None,
) -> None:
    """What came of an attempt: delivered, to be tried again at a time, or given up."""
    state = "pending" if next_attempt_at is not None else "failed"
    session.execute(
        sa.update(DeliveryRow)
        .where(DeliveryRow.id == delivery.id)
        .values(
            state="delivered" if delivered_at is not None else state,
            attempts=DeliveryRow.attempts + 1,
            log=[*delivery.log, dict(entry)],
            delivered_at=delivered_at,
            next_attempt_at=next_attempt_at,
        )
    )


def find_due(
    connection: sa.Connection, *, now: datetime, limit: int = 100, most_each: int = 10
) -> list[Delivery]:
    """Deliveries whose time has come, the longest waiting first; at most `most_each` of one
    subscription, so that a target that does not answer keeps nobody else waiting. A paused one is
    sent tests alone."""
    place = (
        sa.func.row_number()
        .over(
            partition_by=DeliveryRow.subscription_id,
            order_by=(DeliveryRow.next_attempt_at, DeliveryRow.id),
        )
        .label("place")
    )
    due = (
        sa.select(DeliveryRow.id, place)
        .join(SubscriptionRow, SubscriptionRow.id == DeliveryRow.subscription_id)
        .where(
            DeliveryRow.state == "pending",
            DeliveryRow.next_attempt_at <= now,
            SubscriptionRow.paused_at.is_(None) | (DeliveryRow.event == MessageType.TEST.value),
        )
        .subquery()
    )
    rows = connection.execute(
        sa.select(*_DELIVERY)
        .join(due, due.c.id == DeliveryRow.id)
        .where(due.c.place <= most_each)
        .order_by(DeliveryRow.next_attempt_at, DeliveryRow.id)
        .limit(limit)
    )
    return [Delivery(*row) for row in rows]


def find_delivery(
    connection: sa.Connection, subscription_id: str, delivery_id: str
) -> Delivery | None:
    row = connection.execute(
        sa.select(*_DELIVERY).where(
            DeliveryRow.id == delivery_id, DeliveryRow.subscription_id == subscription_id
        )
    ).first()
    return None if row is None else Delivery(*row)


def save_pause(session: Session, subscription_id: str, *, paused_at: datetime | None) -> None:
    """Tell the target nothing more; None ends the pause."""
    session.execute(
        sa.update(SubscriptionRow)
        .where(SubscriptionRow.id == subscription_id)
        .values(paused_at=paused_at)
    )


def delete_deliveries(session: Session, *, before: datetime) -> None:
    """Forget deliveries that ended, made before."""
    session.execute(
        sa.delete(DeliveryRow).where(
            DeliveryRow.created_at < before, DeliveryRow.state != "pending"
        )
    )


def list_deliveries(
    connection: sa.Connection, subscription_id: str, *, limit: int = 100
) -> list[Delivery]:
    """The newest first."""
    rows = connection.execute(
        sa.select(*_DELIVERY)
        .where(DeliveryRow.subscription_id == subscription_id)
        .order_by(DeliveryRow.created_at.desc(), DeliveryRow.id)
        .limit(limit)
    )
    return [Delivery(*row) for row in rows]


def replay_delivery(session: Session, delivery_id: str, *, now: datetime) -> bool:
    """Send it again as it was; False where there is none."""
    updated = session.execute(
        sa.update(DeliveryRow)
        .where(DeliveryRow.id == delivery_id)
        .values(state="pending", next_attempt_at=now)
        .returning(DeliveryRow.id)
    )
    return updated.first() is not None
