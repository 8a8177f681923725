"""Put messages to subscribers beside what they tell, in the transaction that made it true."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from registry.db.models import PrivateGrantRow, RecordRow, SubscriptionRow, TokenRow
from registry.db.subscriptions import Subscription, find_subscribers, save_delivery
from registry.db.visibility import find_hidden
from registry.domain.messages import (
    Before,
    MessageType,
    message_type,
    names_in,
    record_data,
    write_message,
)
from registry.domain.record import Record, Status


def announce_record(session: Session, record_id: int, record: Record) -> None:
    """Tell of a record that was just saved, where it is news and where anybody listens."""
    if not is_heard(session):
        return
    connection = session.connection()
    kind = message_type(record, _before(connection, record_id))
    if kind is not None:
        announce(session, kind, f"msg_{record_id}", record_data(record))


def announce(session: Session, kind: MessageType, message_id: str, data: Mapping[str, Any]) -> int:
    """A delivery for each subscriber that may know of both repositories; how many were made now.

    The same message is put up once for a subscriber, however often it is announced.
    """
    if not is_heard(session):
        return 0
    connection = session.connection()
    now = datetime.now(UTC)
    body = write_message(kind, now, data)
    adapter, base = data["adapter"], data.get("base")
    made = 0
    for subscription in find_subscribers(
        connection, adapter=adapter["repo_id"], base=base["repo_id"] if base else None
    ):
        if not may_know(connection, subscription, body, now=now):
            continue
        made += save_delivery(
            session,
            f"dlv_{uuid.uuid4().hex}",
            subscription_id=subscription.id,
            message_id=message_id,
            event=kind.value,
            body=body,
            created_at=now,
        )
    return made


def may_know(
    connection: sa.Connection, subscription: Subscription, body: str, *, now: datetime
) -> bool:
    """Whether no repository that the body names is hidden from the subscription's token."""
    visible = load_grants(connection, subscription.token_id, now=now)
    return not find_hidden(connection, names_in(body), visible)


def load_grants(
    connection: sa.Connection, token_id: int | None, *, now: datetime
) -> frozenset[str]:
    """What private repositories a token sees; none once it is revoked, expired or gone."""
    if token_id is None:
        return frozenset()
    patterns = connection.scalars(
        sa.select(PrivateGrantRow.pattern)
        .join(TokenRow, TokenRow.id == PrivateGrantRow.token_id)
        .where(
            TokenRow.id == token_id,
            TokenRow.revoked_at.is_(None),
            TokenRow.expires_at.is_(None) | (TokenRow.expires_at > now),
        )
    )
    return frozenset(patterns)


def is_heard(session: Session) -> bool:
    """Whether anybody listens. Asked once in a transaction: scans are many, subscribers few."""
    if "heard" not in session.info:
        found = session.execute(sa.select(SubscriptionRow.id).limit(1)).first()
        session.info["heard"] = found is not None
    return bool(session.info["heard"])


def _before(connection: sa.Connection, record_id: int) -> Before | None:
    """The newest other record of the adapter's folder on the declared base, or on this base."""
    new, other = aliased(RecordRow), aliased(RecordRow)
    same_base = (new.declared & other.declared) | (
        (other.base_source == new.base_source) & (other.base_repo_id == new.base_repo_id)
    )
    row = connection.execute(
        sa.select(other.status, other.plan_digest)
        .join(
            new,
            (other.adapter_repository_id == new.adapter_repository_id)
            & (other.subfolder == new.subfolder)
            & same_base,
        )
        .where(new.id == record_id, other.id < record_id)
        .order_by(other.id.desc())
        .limit(1)
    ).first()
    return None if row is None else Before(Status(row.status), row.plan_digest)
