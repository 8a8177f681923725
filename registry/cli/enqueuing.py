"""Work on PostgreSQL: this command writes down what is to be done, and workers do it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from registry.cli.progress import counted, waiting
from registry.cli.terminal import print_message
from registry.domain.refs import Reference, Source

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from registry.db.operations import Operation
    from registry.db.session import Database
    from registry.domain.record import Record
    from registry.jobs import Jobs

_POLL_SECONDS = 0.25


def is_shared(database: Database, references: Iterable[Reference | None]) -> bool:
    """Whether workers elsewhere do this: they do not reach a folder of this machine."""
    if database.dialect == "sqlite":
        return False
    return all(each is None or each.source is Source.HUB for each in references)


@contextmanager
def opened_jobs(database: Database) -> Iterator[Jobs]:
    from registry.jobs import Jobs

    jobs = Jobs(database.writer)
    try:
        yield jobs
    finally:
        jobs.close()


def enqueue_scans(
    database: Database, references: Sequence[Reference], base: Reference | None, wait: float
) -> list[Record]:
    """Ask for each, wait, and give what is recorded then."""
    from registry.asking import ask_scan
    from registry.db.records import find_record
    from registry.jobs import Priority

    def ask(session: Session, reference: Reference) -> Operation:
        return ask_scan(session, jobs, reference, base, priority=Priority.PERSON)

    with opened_jobs(database) as jobs:
        asked = [database.write(partial(ask, reference=each)) for each in references]
    await_all(database, [operation.id for operation in asked], wait)
    records = []
    with database.reading() as connection:
        for each in references:
            stored = find_record(
                connection,
                repo_id=each.repo_id,
                revision=each.revision,
                subfolder=each.subfolder,
                base_repo_id=base.repo_id if base else None,
                base_revision=base.revision if base else None,
            )
            records += [] if stored is None else [stored.record]
    return records


async def enqueue_batches(
    database: Database, references: AsyncIterator[Reference]
) -> tuple[int, int]:
    """Batches for workers to scan, as the Hub lists them; how many adapters and operations."""
    from registry.asking import BATCH, ask_batch
    from registry.jobs import Priority

    def ask(session: Session, batch: Sequence[Reference]) -> Operation:
        return ask_batch(session, jobs, batch, priority=Priority.CRAWL)

    adapters = batches = 0
    batch: list[Reference] = []
    with opened_jobs(database) as jobs, counted("listing", None) as count:
        async for reference in references:
            batch.append(reference)
            adapters += 1
            count()
            if len(batch) == BATCH:
                database.write(partial(ask, batch=tuple(batch)))
                batches += 1
                batch.clear()
        if batch:
            database.write(partial(ask, batch=tuple(batch)))
            batches += 1
    return adapters, batches


def ask_once(database: Database, ask: Callable[[Session, Jobs], Operation]) -> Operation:
    """One operation, with its job."""
    with opened_jobs(database) as jobs:
        return database.write(lambda session: ask(session, jobs))


def await_all(database: Database, operation_ids: Sequence[str], seconds: float) -> list[Operation]:
    """The operations once all are over, or as they are after `seconds`; stderr says of each that
    is not over, or that failed."""
    from registry.db.operations import State, load_operation

    deadline = time.monotonic() + seconds
    with waiting("waiting for workers"):
        while True:
            with database.reading() as connection:
                found = [load_operation(connection, each) for each in operation_ids]
            known = [each for each in found if each is not None]
            if all(each.state.is_over for each in known) or time.monotonic() >= deadline:
                break
            time.sleep(_POLL_SECONDS)
    for operation in known:
        problem = operation.problem or {}
        if operation.state is State.FAILED:
            print_message("warning", str(problem.get("detail")), str(problem.get("fix")))
        elif not operation.state.is_over:
            print_message("note", f"Operation {operation.id} is {operation.state.value}.")
    return known
