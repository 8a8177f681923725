"""Scans in this process, as every command that works alone needs them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from registry.cli.answering import warn_of
from registry.cli.opening import opened_reader, scanner_for
from registry.cli.progress import counted
from registry.domain.refs import Reference

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.db.session import Database
    from registry.scanning import Scanned


def scan_one(
    settings: Settings, database: Database, reference: Reference, base: Reference | None
) -> Scanned:
    """Scan, and say on stderr when an earlier record answers for a Hub that could not."""
    import asyncio

    scanned = asyncio.run(_scan_one(settings, database, reference, base))
    if scanned.failure is not None:
        warn_of(scanned.failure)
    return scanned


async def _scan_one(
    settings: Settings, database: Database, reference: Reference, base: Reference | None
) -> Scanned:
    async with opened_reader(settings, database) as reader:
        return await scanner_for(settings, reader, database).scan(reference, base=base)


def scan_all(
    settings: Settings,
    database: Database,
    references: Sequence[Reference],
    base: Reference | None,
) -> list[Scanned]:
    """Scan many, counted on a terminal, given back in the order of the references."""
    import asyncio

    found = asyncio.run(_scan_all(settings, database, references, base))
    order = {(each.source, each.repo_id): place for place, each in enumerate(references)}
    found.sort(
        key=lambda each: (
            order[each.reference.source, each.reference.repo_id],
            str(each.reference),
        )
    )
    for scanned in found:
        if scanned.failure is not None:
            warn_of(scanned.failure)
    return found


async def _scan_all(
    settings: Settings,
    database: Database,
    references: Sequence[Reference],
    base: Reference | None,
) -> list[Scanned]:
    async with opened_reader(settings, database) as reader:
        scanner = scanner_for(settings, reader, database)
        return await _collect(scanner.scan_many(references, base=base), len(references))


async def _collect(answers: AsyncIterator[Scanned], total: int) -> list[Scanned]:
    found = []
    with counted("scanning", total) as count:
        async for scanned in answers:
            found.append(scanned)
            count()
    return found
