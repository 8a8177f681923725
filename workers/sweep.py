"""The scheduled sweep: each scope in turn, as often as it is due, and failures tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from registry.db.session import Database
from registry.db.sweeps import load_sweep
from registry.errors import HubError
from registry.hub import Reader
from registry.jobs import Jobs
from registry.watching import Scope, retry_failed, sweep

log = structlog.get_logger("sweep")

EVERY = timedelta(minutes=15)


async def run_sweep(
    database: Database,
    jobs: Jobs,
    reader: Reader,
    scopes: Sequence[Scope],
    *,
    every: timedelta = EVERY,
    now: datetime | None = None,
) -> int:
    """Sweep the scopes whose time has come; how many were swept to their end.

    A scope that the Hub does not list keeps its place and goes on the next time.
    """
    now = now or datetime.now(UTC)
    done = 0
    for scope in scopes:
        if not await asyncio.to_thread(_is_due, database, scope, now, every):
            continue
        try:
            swept = await sweep(database, jobs, reader, scope, now=now)
        except HubError as error:
            log.warning("sweep-broken-off", reason=error.code)
            continue
        done += 1
        log.info("swept", listed=swept.listed, new=swept.new)
    if done:
        await asyncio.to_thread(retry_failed, database, jobs)
    return done


def _is_due(database: Database, scope: Scope, now: datetime, every: timedelta) -> bool:
    with database.reading() as connection:
        last = load_sweep(connection, scope.name)
    if last is None or last.finished_at is None:
        return True
    return now - last.finished_at >= every
