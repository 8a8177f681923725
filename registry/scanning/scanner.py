"""One run over one database: many references are read at once and saved in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from registry.db.session import Database
from registry.domain.facts import BaseFacts
from registry.domain.record import Record
from registry.domain.refs import Reference
from registry.hub import Reader, Snapshot
from registry.hub.patterns import match_modules
from registry.scanning.reading import MAX_SUBFOLDERS, Bases, Match, Reading, read_pair
from registry.scanning.saving import Scanned, recall_base, settle

_CONCURRENCY = 64
_BATCH = 64

References = Iterable[Reference] | AsyncIterator[Reference]


class Scanner:
    """Each base is read once in the scanner's life, however many adapters it has."""

    def __init__(
        self,
        reader: Reader,
        database: Database,
        *,
        match: Match = match_modules,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._reader = reader
        self._database = database
        self._match = match
        self._clock = clock
        self._bases = Bases(reader, self._recall)

    async def scan(self, reference: Reference, *, base: Reference | None = None) -> Scanned:
        """One reference. The answer is the record, or an earlier one and what failed."""
        reading = await self._read(reference, base)
        (scanned,) = await self._settle([reading])
        return scanned

    async def scan_many(
        self, references: References, *, base: Reference | None = None
    ) -> AsyncIterator[Scanned]:
        """Answers as they come, one for each adapter: sub-folders of a repository that holds none
        at its root are scanned each. What was read while a batch was saved is the next batch.
        """
        readings: asyncio.Queue[Reading | None] = asyncio.Queue(maxsize=_BATCH)
        feeding = asyncio.create_task(self._feed(references, base, readings))
        try:
            more = True
            while more:
                batch, more = await _next_batch(readings)
                for scanned in await self._settle(batch) if batch else []:
                    yield scanned
            await feeding
        finally:
            feeding.cancel()
            await asyncio.wait({feeding})

    async def _feed(
        self,
        references: References,
        base: Reference | None,
        readings: asyncio.Queue[Reading | None],
    ) -> None:
        free = asyncio.Semaphore(_CONCURRENCY)

        async def read(reference: Reference) -> None:
            try:
                for reading in await self._read_each(reference, base):
                    await readings.put(reading)
            finally:
                free.release()

        try:
            async with asyncio.TaskGroup() as group:
                async for reference in _each(references):
                    await free.acquire()
                    group.create_task(read(reference))
        finally:
            task = asyncio.current_task()
            # Cancelled means that nobody takes readings any more: the queue may be full for ever.
            if task is not None and not task.cancelling():
                await readings.put(None)

    async def _read_each(self, reference: Reference, base: Reference | None) -> list[Reading]:
        reading = await self._read(reference, base)
        folders = reading.other_adapters[:MAX_SUBFOLDERS]
        if reading.adapter is not None or not folders:
            return [reading]
        return [await self._read(replace(reference, subfolder=each), base) for each in folders]

    async def _read(self, reference: Reference, base: Reference | None) -> Reading:
        return await read_pair(self._reader, self._bases, self._match, reference, base)

    async def _settle(self, batch: list[Reading]) -> list[Scanned]:
        return await asyncio.to_thread(settle, self._database, batch, self._clock())

    async def _recall(self, snapshot: Snapshot) -> BaseFacts | None:
        return await asyncio.to_thread(recall_base, self._database, snapshot)


async def scan(
    reader: Reader,
    database: Database,
    reference: Reference,
    *,
    base: Reference | None = None,
    match: Match = match_modules,
) -> Record:
    """Scan one reference. Where the Hub fails and an earlier record exists, that is the answer;
    `Scanner.scan` also says what failed."""
    return (await Scanner(reader, database, match=match).scan(reference, base=base)).record


async def scan_many(
    reader: Reader,
    database: Database,
    references: References,
    *,
    base: Reference | None = None,
    match: Match = match_modules,
) -> AsyncIterator[Scanned]:
    """Scan many, in batches of one transaction each."""
    async for scanned in Scanner(reader, database, match=match).scan_many(references, base=base):
        yield scanned


async def _next_batch(readings: asyncio.Queue[Reading | None]) -> tuple[list[Reading], bool]:
    """What is there, at least one; and whether more is to come."""
    batch: list[Reading] = []
    following = await readings.get()
    while following is not None:
        batch.append(following)
        if readings.empty() or len(batch) == _BATCH:
            return batch, True
        following = readings.get_nowait()
    return batch, False


async def _each(references: References) -> AsyncIterator[Reference]:
    if isinstance(references, AsyncIterator):
        async for reference in references:
            yield reference
    else:
        for reference in references:
            yield reference
