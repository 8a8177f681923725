"""From an Authorization header to a caller, and how many requests that caller has left.

Quotas are fixed windows of five minutes in this process's memory, told in the headers that the Hub
uses too, so that its client's parser reads ours.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from api.callers import ANYONE, Caller
from api.problems import ApiProblem
from registry.db.session import Database
from registry.db.tokens import StoredToken, find_token, save_token_use
from registry.domain import bearer

WINDOW_SECONDS: Final = 300
ANONYMOUS_QUOTA: Final = 3_000
TOKEN_QUOTA: Final = 12_000
_KEPT = 1024
# A revoked token is refused everywhere within this time.
_FRESH_SECONDS = 5.0
_SCHEME = "bearer "
# A use is noted at most this often: a read must not cost a write each time.
_NOTED_EVERY = timedelta(minutes=1)


class Identities:
    """Looks callers up; safe to share between threads."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._known: OrderedDict[str, tuple[StoredToken, float]] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, authorization: str) -> Caller | None:
        """A caller that needs no look into the database, None where one is needed."""
        if not authorization:
            return ANYONE
        token = authorization[len(_SCHEME) :].strip()
        with self._lock:
            known = self._known.get(token)
        if known is None or self._monotonic() - known[1] > _FRESH_SECONDS:
            return None
        expires_at = known[0].expires_at
        return None if expires_at is not None and expires_at <= self._clock() else _caller(known[0])

    def find(self, authorization: str) -> Caller:
        """Raises ApiProblem token-missing for what is malformed, unknown, revoked or expired."""
        if not authorization.lower().startswith(_SCHEME):
            raise refused("The Authorization header is not of the form 'Bearer lp_…'.")
        text, now = authorization[len(_SCHEME) :].strip(), self._clock()
        token = None
        if bearer.is_well_formed(text):
            with self._database.reading() as connection:
                token = find_token(connection, bearer.hash_token(text), now=now)
        with self._lock:
            self._known.pop(text, None)
            if token is not None:
                self._known[text] = (token, self._monotonic())
                while len(self._known) > _KEPT:
                    self._known.popitem(last=False)
        if token is None:
            raise refused("The token is unknown, revoked or expired.")
        if token.last_used_at is None or now - token.last_used_at > _NOTED_EVERY:
            with self._database.transaction() as session:
                save_token_use(session, token.id, used_at=now)
        return _caller(token)


class Quotas:
    """Counts requests per caller. `headers` after each `spend`."""

    def __init__(self, anonymous: int = ANONYMOUS_QUOTA, token: int = TOKEN_QUOTA) -> None:
        self._anonymous = RateLimitItemPerSecond(anonymous, WINDOW_SECONDS, namespace="api")
        self._token = RateLimitItemPerSecond(token, WINDOW_SECONDS, namespace="api")
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def spend(self, caller: Caller, address: str) -> dict[str, str]:
        """One request; the headers that say what is left. Raises ApiProblem rate-limited."""
        known = caller.token_id is not None
        item = self._token if known else self._anonymous
        name = f"token:{caller.token_id}" if known else f"address:{address}"
        allowed = self._limiter.hit(item, name)
        stats = self._limiter.get_window_stats(item, name)
        left = max(0, int(stats.reset_time - time.time()) + 1)
        headers = {
            "RateLimit": f'"api";r={max(0, stats.remaining)};t={left}',
            "RateLimit-Policy": f'"fixed window";"api";q={item.amount};w={WINDOW_SECONDS}',
        }
        if not allowed:
            raise ApiProblem(
                "rate-limited",
                f"{item.amount} requests in {WINDOW_SECONDS} seconds are used up; "
                f"the next window begins in {left} seconds.",
                headers={**headers, "Retry-After": str(left)},
            )
        return headers


def refused(message: str) -> ApiProblem:
    return ApiProblem("token-missing", message, headers={"WWW-Authenticate": "Bearer"})


def _caller(token: StoredToken) -> Caller:
    return Caller(token.id, token.name, token.scopes, token.visible)
