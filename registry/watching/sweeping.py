"""The sweep: what the Hub lists as new or changed since the last one, scanned where no event of the
webhook told of it. A listing goes on where it stopped; what was noted before costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from registry.asking import BATCH, ask_batch
from registry.db import hub_events, sweeps, visibility, watched
from registry.db.session import Database
from registry.db.sweeps import Sweep
from registry.domain.hub_events import MAIN_REF, Change
from registry.domain.refs import Reference, is_repo_id, shown
from registry.errors import HubError, SettingInvalid
from registry.hub import ListedRepository, Reader
from registry.jobs import Jobs, Priority
from registry.watching.receiving import note_owed

_MAIN = "main"
_NOTED_AT_ONCE = 200
# The first sweep looks back so far; what is older is for `loadplan crawl`.
_FIRST_LOOK = timedelta(days=1)
# A listing lags behind the pushes that it lists.
_OVERLAP = timedelta(hours=1)
_RETRIED = 500


@dataclass(frozen=True)
class Scope:
    """Which adapters a sweep lists: all, an author's, or those of a base."""

    author: str | None = None
    base: str | None = None

    @property
    def name(self) -> str:
        if self.author is not None:
            return f"author:{self.author}"
        return "all" if self.base is None else f"base:{self.base}"


@dataclass(frozen=True)
class Swept:
    """How many repositories were listed, and how many of them nobody had told of."""

    listed: int
    new: int


def parse_scope(text: str) -> Scope:
    """`all`, `author:NAME` or `base:REPO`. Raises SettingInvalid."""
    kind, _, name = text.partition(":")
    if text == "all":
        return Scope()
    if kind == "author" and is_repo_id(name) and "/" not in name:
        return Scope(author=name)
    if kind == "base" and is_repo_id(name):
        return Scope(base=name)
    raise SettingInvalid(f"{shown(text)} is no sweep: all, author:NAME and base:REPO are.")


async def sweep(
    database: Database, jobs: Jobs, reader: Reader, scope: Scope, *, now: datetime | None = None
) -> Swept:
    """One listing to its end, or on from where an earlier run broke off.

    Raises HubError when the Hub does not list; what was seen until then is kept.
    """
    now = now or datetime.now(UTC)
    state = await asyncio.to_thread(_begin, database, scope, now)
    listed = new = 0
    async for rows in _batches(reader, scope, state):
        found = await asyncio.to_thread(
            database.write, lambda session, rows=rows: _note(session, jobs, rows, now)
        )
        listed, new = listed + len(rows), new + found
        state = _further(state, rows, new, now)
        await asyncio.to_thread(_save, database, state)
    await asyncio.to_thread(_save, database, _ended(state, listed, new, now))
    return Swept(listed, new)


def retry_failed(database: Database, jobs: Jobs) -> int:
    """Queue adapters again that nothing is known of because we or the Hub failed; how many."""
    with database.reading() as connection:
        failed = watched.list_failed(connection, limit=_RETRIED)
    references = [Reference(each.repo_id, each.revision, each.subfolder) for each in failed]

    def work(session: Session) -> None:
        for first in range(0, len(references), BATCH):
            ask_batch(session, jobs, references[first : first + BATCH], priority=Priority.SWEEP)

    if references:
        database.write(work)
    return len(references)


async def _batches(
    reader: Reader, scope: Scope, state: Sweep
) -> AsyncIterator[list[ListedRepository]]:
    """Rows of one page each; those before a failure are given before it is raised."""
    rows: list[ListedRepository] = []
    failure: HubError | None = None
    try:
        async for row in reader.list_repositories(
            author=scope.author, base=scope.base, since=state.progress["since"], page=state.cursor
        ):
            if rows and (len(rows) == _NOTED_AT_ONCE or row.page != rows[0].page):
                yield rows
                rows = []
            rows.append(row)
    except HubError as error:
        failure = error
    if rows:
        yield rows
    if failure is not None:
        raise failure


def _begin(database: Database, scope: Scope, now: datetime) -> Sweep:
    """The listing that was broken off, else a new one from a little before the last one's start."""
    with database.reading() as connection:
        last = sweeps.load_sweep(connection, scope.name)
    if last is not None and last.finished_at is None:
        return last
    since = now - _FIRST_LOOK
    if last is not None and last.started_at is not None:
        since = last.started_at - _OVERLAP
    progress = {"since": since.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "listed": 0, "new": 0}
    state = Sweep(scope.name, None, progress, now, None, now)
    _save(database, state)
    return state


def _further(state: Sweep, rows: Sequence[ListedRepository], new: int, now: datetime) -> Sweep:
    """From the last row's page: its other rows come again and are known by then."""
    progress = {**state.progress, "listed": state.progress["listed"] + len(rows), "new": new}
    return Sweep(state.name, rows[-1].page, progress, state.started_at, None, now)


def _ended(state: Sweep, listed: int, new: int, now: datetime) -> Sweep:
    progress = {**state.progress, "listed": listed, "new": new}
    return Sweep(state.name, None, progress, state.started_at, now, now)


def _save(database: Database, state: Sweep) -> None:
    database.write(lambda session: sweeps.save_sweep(session, state))


def _note(session: Session, jobs: Jobs, rows: Sequence[ListedRepository], now: datetime) -> int:
    """Events for the commits that nobody told of, and their scans in batches."""
    new: dict[int, Reference] = {}
    for row in rows:
        event_id = _note_row(session, row, now)
        if event_id is not None:
            new[event_id] = Reference(row.repo_id, _MAIN)
    waiting = list(new.items())
    for first in range(0, len(waiting), BATCH):
        batch = waiting[first : first + BATCH]
        references = [reference for _, reference in batch]
        operation = ask_batch(session, jobs, references, priority=Priority.SWEEP)
        for event_id, _ in batch:
            hub_events.save_handling(session, event_id, document={}, operation_id=operation.id)
    return len(new)


def _note_row(session: Session, row: ListedRepository, now: datetime) -> int | None:
    connection = session.connection()
    if row.private:
        visibility.hide(session, row.repo_id, access="unknown", checked_at=now)
    # A listing without commits is told from the next by its time.
    sha = row.commit_sha or row.last_modified or ""
    if watched.has_adapter_at(connection, row.repo_id, sha):
        return None
    event_id = hub_events.save_hub_event(
        session,
        repo_id=row.repo_id,
        action=Change.UPDATED.value,
        ref=MAIN_REF,
        new_sha=sha,
        received_at=now,
    )
    if event_id is not None:
        own = watched.list_own(connection, row.repo_id, _MAIN)
        note_owed(session, row.repo_id, MAIN_REF, sha, own, now)
    return event_id
