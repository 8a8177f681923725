"""Tokens by hash, what private repositories they may see, quotas, repeated requests, the trail."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.models import (
    AuditRow,
    IdempotencyKeyRow,
    PrivateGrantRow,
    RateWindowRow,
    TokenRow,
)
from registry.db.upsert import insert
from registry.errors import InvalidRequest


@dataclass(frozen=True)
class StoredToken:
    """A token without itself. `visible` are the patterns of private repositories that it sees."""

    id: int
    name: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    visible: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Answered:
    """The answer that a request with this idempotency key was given; None while it is worked on."""

    request_digest: str
    status: int | None
    response: Any


_TOKEN = (
    TokenRow.id,
    TokenRow.name,
    TokenRow.scopes,
    TokenRow.created_at,
    TokenRow.expires_at,
    TokenRow.last_used_at,
    TokenRow.revoked_at,
)


def create_token(
    session: Session,
    *,
    name: str,
    token_hash: str,
    scopes: Iterable[str],
    created_at: datetime,
    expires_at: datetime | None,
    visible: Iterable[str] = (),
) -> int:
    """The token's id. Raises InvalidRequest where the name is taken."""
    connection = session.connection()
    token_id: int | None = connection.execute(
        insert(connection, TokenRow).on_conflict_do_nothing().returning(TokenRow.id),
        {
            "name": name,
            "hash": token_hash,
            "scopes": sorted(set(scopes)),
            "created_at": created_at,
            "expires_at": expires_at,
        },
    ).scalar()
    if token_id is None:
        raise InvalidRequest("There is a token of this name.", field="name")
    grants = [{"token_id": token_id, "pattern": pattern} for pattern in sorted(set(visible))]
    if grants:
        connection.execute(insert(connection, PrivateGrantRow), grants)
    return token_id


def find_token(connection: sa.Connection, token_hash: str, *, now: datetime) -> StoredToken | None:
    """The token, unless it is revoked or expired."""
    row = connection.execute(
        sa.select(*_TOKEN).where(
            TokenRow.hash == token_hash,
            TokenRow.revoked_at.is_(None),
            TokenRow.expires_at.is_(None) | (TokenRow.expires_at > now),
        )
    ).first()
    if row is None:
        return None
    patterns = connection.scalars(
        sa.select(PrivateGrantRow.pattern).where(PrivateGrantRow.token_id == row.id)
    )
    return _token(row, frozenset(patterns))


def list_tokens(connection: sa.Connection) -> list[StoredToken]:
    """Every token, revoked and expired ones too, the oldest first."""
    grants: dict[int, set[str]] = {}
    for token_id, pattern in connection.execute(
        sa.select(PrivateGrantRow.token_id, PrivateGrantRow.pattern)
    ):
        grants.setdefault(token_id, set()).add(pattern)
    rows = connection.execute(sa.select(*_TOKEN).order_by(TokenRow.id))
    return [_token(row, frozenset(grants.get(row.id, ()))) for row in rows]


def _token(row: sa.Row[Any], visible: frozenset[str]) -> StoredToken:
    values = {**row._mapping, "scopes": frozenset(row.scopes)}
    return StoredToken(**values, visible=visible)


def save_token_use(session: Session, token_id: int, *, used_at: datetime) -> None:
    session.execute(sa.update(TokenRow).where(TokenRow.id == token_id).values(last_used_at=used_at))


def revoke_token(session: Session, name: str, *, revoked_at: datetime) -> bool:
    """False where there is none of this name that still works."""
    revoked = session.execute(
        sa.update(TokenRow)
        .where(TokenRow.name == name, TokenRow.revoked_at.is_(None))
        .values(revoked_at=revoked_at)
        .returning(TokenRow.id)
    )
    return revoked.first() is not None


def take_quota(
    session: Session, *, caller: str, policy: str, window_start: datetime, cost: int = 1
) -> int:
    """How much of the window's quota is used once `cost` is added, by all processes together."""
    connection = session.connection()
    statement = insert(connection, RateWindowRow).values(
        caller=caller, policy=policy, started_at=window_start, used=cost
    )
    used: int = connection.execute(
        statement.on_conflict_do_update(
            index_elements=["caller", "policy", "started_at"],
            set_={"used": RateWindowRow.used + cost},
        ).returning(RateWindowRow.used)
    ).scalar_one()
    return used


def delete_rate_windows(session: Session, *, before: datetime) -> None:
    session.execute(sa.delete(RateWindowRow).where(RateWindowRow.started_at < before))


def claim_idempotency_key(
    session: Session, *, caller: str, key: str, request_digest: str, created_at: datetime
) -> Answered | None:
    """None for the first request with this key, which has to be answered; else what is known of
    the first. A different `request_digest` there means that the key was used for something else."""
    connection = session.connection()
    made = connection.execute(
        insert(connection, IdempotencyKeyRow)
        .on_conflict_do_nothing()
        .returning(IdempotencyKeyRow.key),
        {
            "caller": caller,
            "key": key,
            "request_digest": request_digest,
            "created_at": created_at,
        },
    ).first()
    if made is not None:
        return None
    row = connection.execute(
        sa.select(
            IdempotencyKeyRow.request_digest,
            IdempotencyKeyRow.status,
            IdempotencyKeyRow.response,
        ).where(IdempotencyKeyRow.caller == caller, IdempotencyKeyRow.key == key)
    ).one()
    return Answered(*row)


def save_idempotent_answer(
    session: Session, *, caller: str, key: str, status: int, response: Any
) -> None:
    session.execute(
        sa.update(IdempotencyKeyRow)
        .where(IdempotencyKeyRow.caller == caller, IdempotencyKeyRow.key == key)
        .values(status=status, response=response)
    )


def delete_idempotency_keys(session: Session, *, before: datetime) -> None:
    session.execute(sa.delete(IdempotencyKeyRow).where(IdempotencyKeyRow.created_at < before))


def save_audit(
    session: Session,
    *,
    at: datetime,
    action: str,
    subject: str,
    outcome: str,
    request_id: str,
    token_id: int | None = None,
    token_name: str = "",
) -> None:
    """Append to the trail: who asked for what, and what came of it."""
    session.execute(
        sa.insert(AuditRow),
        {
            "at": at,
            "token_id": token_id,
            "token_name": token_name,
            "action": action,
            "subject": subject,
            "outcome": outcome,
            "request_id": request_id,
        },
    )
