"""`loadplan crawl`: record what the Hub lists, newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.answering import answering, finish, warn_of
from registry.cli.enqueuing import enqueue_batches, is_shared
from registry.cli.exits import Exit
from registry.cli.opening import (
    JSON_HELP,
    load_settings,
    opened_database,
    opened_reader,
    scanner_for,
)
from registry.cli.progress import counted
from registry.cli.terminal import print_json, print_message
from registry.collecting import relax_collection
from registry.domain.record import Status
from registry.domain.refs import Reference

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.db.session import Database
    from registry.hub import Reader

_WARNINGS = 10


def crawl(
    author: Annotated[str | None, typer.Option(help="Only this author's adapters.")] = None,
    base: Annotated[str | None, typer.Option(metavar="REPO", help="Only of this base.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most so many repositories.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Record the adapters that the Hub lists. Exit code 5 when some could not be read."""
    import asyncio

    with answering(as_json=as_json):
        settings = load_settings()
        with opened_database(settings) as database:
            if is_shared(database, ()):
                queued = asyncio.run(_enqueue(settings, database, author, base, limit))
                _say_enqueued(*queued, as_json=as_json)
                return
            counts = asyncio.run(_crawl(settings, database, author, base, limit))
        document = {status.value: counts[status] for status in Status if counts[status]}
        if as_json:
            print_json(document)
        else:
            words = ", ".join(f"{count} {status}" for status, count in document.items())
            typer.echo(words or "nothing listed")
    finish(Exit.FAILURE if counts[Status.FAILED] else Exit.MEETS)


def _say_enqueued(adapters: int, batches: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"queued": adapters, "operations": batches})
    else:
        typer.echo(f"{adapters} queued in {batches} operations")


async def _enqueue(
    settings: Settings, database: Database, author: str | None, base: str | None, limit: int | None
) -> tuple[int, int]:
    async with opened_reader(settings, database) as reader:
        return await enqueue_batches(database, _listed(reader, author, base, limit))


async def _crawl(
    settings: Settings, database: Database, author: str | None, base: str | None, limit: int | None
) -> Counter[Status]:
    counts: Counter[Status] = Counter()
    failures = 0
    async with opened_reader(settings, database) as reader:
        relax_collection()
        listed = _listed(reader, author, base, limit)
        scanner = scanner_for(settings, reader, database)
        with counted("crawling", limit) as count:
            async for scanned in scanner.scan_many(listed):
                count()
                # A repository whose earlier record stands was not read either.
                failed = scanned.failure is not None
                counts[Status.FAILED if failed else scanned.record.status] += 1
                if scanned.failure is not None and (failures := failures + 1) <= _WARNINGS:
                    warn_of(scanned.failure)
    if failures > _WARNINGS:
        print_message("warning", f"{failures - _WARNINGS} more could not be read.")
    return counts


async def _listed(
    reader: Reader, author: str | None, base: str | None, limit: int | None
) -> AsyncIterator[Reference]:
    async for repository in reader.list_repositories(author=author, base=base, limit=limit):
        yield Reference(repository.repo_id, "main")
