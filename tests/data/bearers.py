"""Tokens of the tests' own, as `loadplan token create` makes them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

from registry.db.session import Database
from registry.db.tokens import create_token
from registry.domain.bearer import hash_token, make_token


def make_bearer(
    database: Database, name: str, scopes: Sequence[str], *, visible: Sequence[str] = ()
) -> str:
    """The text of a token that does not expire."""
    token = make_token(random.SystemRandom().choice)
    with database.transaction() as session:
        create_token(
            session,
            name=name,
            token_hash=hash_token(token),
            scopes=tuple(scopes),
            created_at=datetime.now(UTC),
            expires_at=None,
            visible=tuple(visible),
        )
    return token
