"""Events of operations, followed by many readers and read from the database by one.

There is one poller per process, and only while somebody follows an operation. What happened before
a reader came is read for that reader alone, so that `Last-Event-ID` resumes without a gap.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

import structlog
from starlette.concurrency import run_in_threadpool

from registry.db.operations import DONE, Event, last_event_id, list_events
from registry.db.session import Database
from registry.errors import DatabaseUnavailable

log = structlog.get_logger("api")

_POLL_SECONDS = 0.25
_AWAY_SECONDS = 2.0


class EventFeed:
    """Follow operations. Lives in one event loop."""

    def __init__(self, database: Database, *, poll_seconds: float = _POLL_SECONDS) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._followers: defaultdict[str, set[asyncio.Queue[Event]]] = defaultdict(set)
        self._poller: asyncio.Task[None] | None = None
        self._last = 0
        self._starting = asyncio.Lock()

    async def follow(self, operation_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """Events with a greater id than `after`, as they happen, until `done`.

        Raises DatabaseUnavailable when what happened before cannot be read.
        """
        arriving: asyncio.Queue[Event] = asyncio.Queue()
        await self._ensure_poller()
        self._followers[operation_id].add(arriving)
        try:
            last = after
            for event in await run_in_threadpool(self._read, after, operation_id):
                last = event.id
                yield event
                if event.name == DONE:
                    return
            while True:
                event = await arriving.get()
                if event.id > last:
                    yield event
                    if event.name == DONE:
                        return
        finally:
            self._followers[operation_id].discard(arriving)
            if not self._followers[operation_id]:
                del self._followers[operation_id]

    async def wait(self, operation_id: str, seconds: float) -> bool:
        """True once the operation is over, False when it is not after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                async for event in self.follow(operation_id):
                    if event.name == DONE:
                        return True
        except TimeoutError:
            return False
        return True

    async def _ensure_poller(self) -> None:
        async with self._starting:
            if self._poller is None or self._poller.done():
                self._last = await run_in_threadpool(self._read_last)
                self._poller = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        pause = self._poll_seconds
        # The first look comes before the follower that started this is noted.
        while await asyncio.sleep(pause, self._followers):
            try:
                events = await run_in_threadpool(self._read, self._last, None)
                pause = self._poll_seconds
            except DatabaseUnavailable as error:
                log.warning("events-away", reason=error.message)
                pause = _AWAY_SECONDS
                continue
            for event in events:
                self._last = event.id
                for follower in self._followers.get(event.operation_id, ()):
                    follower.put_nowait(event)

    def _read(self, after: int, operation_id: str | None) -> list[Event]:
        with self._database.reading() as connection:
            return list_events(connection, after=after, operation_id=operation_id)

    def _read_last(self) -> int:
        with self._database.reading() as connection:
            return last_event_id(connection)
