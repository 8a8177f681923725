"""Deliver messages to subscribers: signed, to public https addresses alone, until they arrive.

The address that is connected to is the one that was checked: the check sits where the socket is
made, behind name resolution, so that neither a name that resolves anew nor an address written as a
host reaches a private place.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver
from standardwebhooks import Webhook

from registry.db import subscriptions
from registry.db.announcing import may_know
from registry.db.session import Database
from registry.db.subscriptions import Delivery, Subscription
from registry.domain.addresses import is_public, parse_target
from registry.domain.messages import MessageType
from registry.errors import TargetNotAllowed

log = structlog.get_logger("notify")

TIMEOUT_SECONDS: Final = 15.0
# Pauses before each attempt (Standard Webhooks): a target may be away for four days in all.
PAUSES: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
_JITTER: Final = 0.1
_AT_ONCE: Final = 16
# Whatever a target answers beyond its status is of no interest.
_MAX_ANSWER: Final = 4096
_GONE: Final = 410

Address = IPv4Address | IPv6Address
AddressInfo = tuple[Any, ...]


class AddressNotAllowed(OSError):
    """The address is not a public one; nothing was connected to it."""


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt: a status, or why there is none."""

    status: int | None
    error: str | None
    milliseconds: int

    @property
    def arrived(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class Courier:
    """Sends messages; an async context manager.

    `allows` says which addresses may be connected to, `resolver` finds them, `ssl_context` trusts
    the targets' certificates, `open_socket` makes the socket for an address that was allowed.
    """

    def __init__(
        self,
        *,
        allows: Callable[[Address], bool] = is_public,
        resolver: AbstractResolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        open_socket: Callable[[AddressInfo], socket.socket] | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._allows = allows
        self._resolver = resolver
        self._ssl = ssl_context
        self._open_socket = open_socket or _open_socket
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=self._resolver,
            ssl=self._ssl if self._ssl is not None else True,
            socket_factory=self._checked_socket,
            # Each message looks its target up anew, and no connection outlives its message.
            use_dns_cache=False,
            force_close=True,
            limit=_AT_ONCE,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            # A proxy of the environment would connect to what we must not.
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, url: str, headers: dict[str, str], body: str) -> Outcome:
        """One attempt. Whatever goes wrong is an outcome."""
        assert self._session is not None, "A courier sends while it is open."
        started = time.monotonic()
        status, error = None, None
        try:
            parse_target(url)
            async with self._session.post(
                url, data=body.encode(), headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
                await answer.content.read(_MAX_ANSWER)
        except TargetNotAllowed as refused:
            error = refused.message
        except TimeoutError:
            error = f"No answer within {self._seconds:g} seconds."
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            error = _words(failure)
        if status is not None:
            # What follows the status line cannot undo it.
            error = None
        return Outcome(status, error, round((time.monotonic() - started) * 1000))

    def _checked_socket(self, info: AddressInfo) -> socket.socket:
        """Called for each address that is about to be connected to."""
        address = ip_address(str(info[4][0]).partition("%")[0])
        scoped = len(info[4]) > 3 and info[4][3] != 0
        if scoped or not self._allows(address):
            raise AddressNotAllowed(f"{address} is not a public address.")
        return self._open_socket(info)


def _open_socket(info: AddressInfo) -> socket.socket:
    made = socket.socket(family=info[0], type=info[1], proto=info[2])
    made.setblocking(False)
    return made


async def deliver_due(
    database: Database,
    courier: Courier,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    jitter: Callable[[], float] = random.random,
) -> int:
    """Send what is due, each message once; how many attempts were made."""

    def load() -> list[Delivery]:
        with database.reading() as connection:
            return subscriptions.find_due(connection, now=now())

    due = await asyncio.to_thread(load)
    free = asyncio.Semaphore(_AT_ONCE)

    async def deliver(delivery: Delivery) -> None:
        async with free:
            await _deliver(database, courier, delivery, now, jitter)

    await asyncio.gather(*(deliver(delivery) for delivery in due))
    return len(due)


async def _deliver(
    database: Database,
    courier: Courier,
    delivery: Delivery,
    now: Callable[[], datetime],
    jitter: Callable[[], float],
) -> None:
    subscription, known = await asyncio.to_thread(_look, database, delivery, now())
    if subscription is None:
        return
    if known:
        headers = signed_headers(subscription.secret, delivery, now())
        outcome = await courier.send(subscription.target_url, headers, delivery.body)
    else:
        # It was public, or granted, when the message was put up.
        outcome = Outcome(None, "The subscription's token may no longer see what this tells.", 0)
    await asyncio.to_thread(
        _save, database, subscription, delivery, outcome, now(), jitter(), known=known
    )


def _look(
    database: Database, delivery: Delivery, now: datetime
) -> tuple[Subscription | None, bool]:
    with database.reading() as connection:
        found = subscriptions.find_subscription(connection, delivery.subscription_id)
        if found is None:
            return None, False
        is_test = delivery.event == MessageType.TEST.value
        return found, is_test or may_know(connection, found, delivery.body, now=now)


def _save(
    database: Database,
    subscription: Subscription,
    delivery: Delivery,
    outcome: Outcome,
    now: datetime,
    jitter: float,
    *,
    known: bool,
) -> None:
    entry = {
        "at": now.isoformat(),
        "status": outcome.status,
        "error": outcome.error,
        "milliseconds": outcome.milliseconds,
    }
    gone = outcome.status == _GONE
    again = None
    if known and not outcome.arrived and not gone:
        again = next_attempt(delivery.attempts + 1, now, jitter)
    with database.transaction() as session:
        subscriptions.save_attempt(
            session,
            delivery,
            entry,
            delivered_at=now if outcome.arrived else None,
            next_attempt_at=again,
        )
        if gone:
            subscriptions.save_pause(session, subscription.id, paused_at=now)
        elif outcome.arrived and subscription.paused_at is not None:
            subscriptions.save_pause(session, subscription.id, paused_at=None)
    log.info(
        "delivery-tried",
        delivery_id=delivery.id,
        attempt=delivery.attempts + 1,
        status=outcome.status,
        milliseconds=outcome.milliseconds,
    )


def next_attempt(made: int, now: datetime, jitter: float) -> datetime | None:
    """When to try again after so many attempts, None when it was tried often enough. `jitter` in
    [0, 1) spreads attempts, so that a target that comes back is not met by all at once."""
    if made >= len(PAUSES):
        return None
    return now + PAUSES[made] * (1 + _JITTER * jitter)


def signed_headers(secret: str, delivery: Delivery, now: datetime) -> dict[str, str]:
    """Standard Webhooks: the id stays the same over all attempts, the time does not."""
    signature = Webhook(secret).sign(delivery.message_id, now, delivery.body)
    return {
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
        "Content-Type": "application/json",
        "User-Agent": f"loadplan/{version('loadplan')}",
    }


def _words(failure: BaseException) -> str:
    """For the log of the subscriber: what failed, and no more of it than they could see."""
    causes: Sequence[BaseException] = _chain(failure)
    for cause in causes:
        if isinstance(cause, AddressNotAllowed):
            return str(cause)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "The certificate or the handshake was not accepted."
    if any(isinstance(cause, aiohttp.ClientConnectorDNSError) for cause in causes):
        return "The name does not resolve."
    if any(isinstance(cause, aiohttp.ClientConnectorError) for cause in causes):
        return "No connection could be made."
    return f"No answer: {type(failure).__name__}."


def _chain(failure: BaseException) -> list[BaseException]:
    """An error with its causes, those of groups included."""
    found: list[BaseException] = []
    open_: list[BaseException | None] = [failure]
    while open_ and len(found) < 50:
        error = open_.pop()
        if error is None or error in found:
            continue
        found.append(error)
        open_ += [error.__cause__, error.__context__]
        if isinstance(error, BaseExceptionGroup):
            open_ += list(error.exceptions)
        if isinstance(error, aiohttp.ClientConnectorError):
            open_.append(error.os_error)
    return found
