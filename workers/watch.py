"""The watch: a thread of one scanning worker that looks events up, sweeps and delivers.

Of the living workers that scan, the one with the smallest id keeps the watch. Two that both believe
to be that one do no harm: every step may be repeated, and a message that is sent twice has one id.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from registry.db import hub_events, subscriptions
from registry.db.checkpoints import StoredTokenizers
from registry.db.session import Database, translated_errors
from registry.db.workers import list_living
from registry.errors import DatabaseUnavailable
from registry.hub import Quota, Reader, open_reader
from registry.jobs import Jobs, Queue
from registry.watching import Scope, announce_failures, pay_proofs, settle_events
from workers.notify import Courier, deliver_due
from workers.sweep import run_sweep

log = structlog.get_logger("watch")

_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.1
# Handled events and ended deliveries are kept so long.
_KEPT = timedelta(days=30)


@dataclass(frozen=True)
class Rounds:
    """Seconds between two rounds of each kind."""

    settle: float = 0.5
    deliver: float = 1.0
    pay: float = 10.0
    tell: float = 10.0
    sweep: float = 30.0
    forget: float = 3600.0


@dataclass(frozen=True)
class Hub:
    """Where the watch reads, what it sweeps, and the quota that it shares with the jobs."""

    endpoint: str
    token: str | None = field(default=None, repr=False)
    scopes: tuple[Scope, ...] = ()
    quota: Quota = field(default_factory=Quota)


class Watch:
    """Started and stopped by the worker whose thread it is."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        hub: Hub,
        executor_id: str,
        *,
        dead_seconds: float,
        rounds: Rounds = Rounds(),
        courier: Callable[[], Courier] = Courier,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._hub = hub
        self._executor_id = executor_id
        self._dead_seconds = dead_seconds
        self._rounds = rounds
        self._courier = courier
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no further round, and wait for the one at work."""
        self._stopping.set()
        self._thread.join(timeout=_STOP_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            reader = await stack.enter_async_context(
                open_reader(
                    self._hub.endpoint,
                    self._hub.token,
                    tokenizers=StoredTokenizers(self._database),
                    quota=self._hub.quota,
                )
            )
            courier = await stack.enter_async_context(self._courier())
            tasks = [
                asyncio.create_task(self._repeat(*each)) for each in self._steps(reader, courier)
            ]
            while not self._stopping.is_set():
                await asyncio.sleep(_LOOK_SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _steps(
        self, reader: Reader, courier: Courier
    ) -> Sequence[tuple[str, float, Callable[[], Awaitable[object]]]]:
        database, jobs, rounds = self._database, self._jobs, self._rounds
        return (
            ("settle", rounds.settle, partial(settle_events, database, jobs, reader)),
            ("deliver", rounds.deliver, partial(deliver_due, database, courier)),
            ("pay", rounds.pay, partial(asyncio.to_thread, pay_proofs, database, jobs)),
            ("tell", rounds.tell, partial(asyncio.to_thread, announce_failures, database)),
            (
                "sweep",
                rounds.sweep,
                partial(run_sweep, database, jobs, reader, self._hub.scopes),
            ),
            ("forget", rounds.forget, partial(asyncio.to_thread, _forget, database)),
        )

    async def _repeat(
        self, name: str, seconds: float, step: Callable[[], Awaitable[object]]
    ) -> None:
        """A step that goes wrong is tried again in its next round; the others go on."""
        while True:
            try:
                if await asyncio.to_thread(self._is_ours):
                    with translated_errors():
                        await step()
            except DatabaseUnavailable as error:
                log.warning("round-failed", round=name, reason=error.code)
            except Exception as error:
                log.error("round-failed", round=name, exc_info=error)
            await asyncio.sleep(seconds)

    def _is_ours(self) -> bool:
        with self._database.reading() as connection:
            living = list_living(connection, seconds=self._dead_seconds)
        scanning = [each.executor_id for each in living if Queue.SCAN.value in each.queues]
        return min(scanning, default="") == self._executor_id


def _forget(database: Database) -> None:
    before = datetime.now(UTC) - _KEPT
    with database.transaction() as session:
        hub_events.delete_hub_events(session, before=before)
        subscriptions.delete_deliveries(session, before=before)
