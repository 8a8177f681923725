"""Who may do what, how often, and who did: tokens, grants, rate windows, idempotency, audit."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from registry.db.base import Base, Document, RowId


class TokenRow(Base):
    """A bearer token by its hash; the token itself was shown once and is not kept."""

    __tablename__ = "tokens"
    __table_args__ = (sa.UniqueConstraint("hash"), sa.UniqueConstraint("name"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    name: Mapped[str]
    hash: Mapped[str]
    # A sorted list of scan, prove, admin.
    scopes: Mapped[Any] = mapped_column(Document)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class PrivateGrantRow(Base):
    """The operator's word that a token may see a private repository's records."""

    __tablename__ = "private_grants"

    token_id: Mapped[int] = mapped_column(
        sa.ForeignKey("tokens.id", ondelete="CASCADE"), primary_key=True
    )
    # A repository id, a namespace followed by `/*`, or `*`.
    pattern: Mapped[str] = mapped_column(primary_key=True)


class RateWindowRow(Base):
    """How much of its quota a caller has used in a window; shared by all processes."""

    __tablename__ = "rate_windows"
    __table_args__ = (sa.Index(None, "started_at"),)

    caller: Mapped[str] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(primary_key=True)
    started_at: Mapped[datetime] = mapped_column(primary_key=True)
    used: Mapped[int]


class IdempotencyKeyRow(Base):
    """The answer given to a request with an `Idempotency-Key`, and what the request was."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (sa.Index(None, "created_at"),)

    # Whose key it is: '' is not a caller, keys are honoured for token holders only.
    caller: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_digest: Mapped[str]
    status: Mapped[int | None] = mapped_column(sa.Integer)
    response: Mapped[Any | None] = mapped_column(Document)
    created_at: Mapped[datetime]


class AuditRow(Base):
    """Who asked for what. Append-only; no secret, no body."""

    __tablename__ = "audit"
    __table_args__ = (sa.Index(None, "at"), sa.Index(None, "token_id", "at"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    at: Mapped[datetime]
    # No foreign key: the trail outlives the token.
    token_id: Mapped[int | None]
    token_name: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    request_id: Mapped[str]
    outcome: Mapped[str]
