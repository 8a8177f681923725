"""The body of a scan: one adapter that someone asked for, or a batch of a crawl."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from registry.asking import pair_members, read_request
from registry.db.proofs import Pair
from registry.db.session import Database
from registry.domain.issues import Severity
from registry.domain.record import Evidence, Record, Status
from registry.domain.refs import Reference
from registry.errors import (
    DatabaseUnavailable,
    HubError,
    HubMirrorLimited,
    HubRateLimited,
    HubUnreachable,
    LoadplanError,
)
from registry.hub import Reader
from registry.hub.patterns import match_modules
from registry.jobs import Queue
from registry.scanning import Match, Scanned, Scanner
from workers.performing import Done, Handed, Work

_FAILURES: dict[str, type[HubError]] = {
    kind.code: kind for kind in (HubUnreachable, HubRateLimited, HubMirrorLimited, HubError)
}
# Progress of a batch is said so often, not after each adapter.
_NOTE_SECONDS = 1.0


@dataclass(frozen=True)
class ScanBody:
    """`reader` gives the process's one reader; `is_rehearsed` says whether a worker rehearses."""

    reader: Callable[[], Awaitable[Reader]]
    is_rehearsed: Callable[[], Awaitable[bool]]
    match: Match = match_modules

    async def __call__(self, work: Work) -> Done | Handed:
        """Read, record, and hand what was planned to whoever rehearses."""
        request = work.operation.request
        batch = work.operation.kind == "crawl"
        if batch:
            references = [read_request(each)[0] for each in request["references"]]
            base = None
        else:
            reference, base = read_request(request)
            references = [reference]
        await work.note("reading", done=0, total=len(references))
        found = await self._scan(work, references, base)
        result = {"statuses": Counter(each.record.status.value for each in found)}
        problem = None if batch else _problem_of(found)
        pairs = _to_rehearse(found)
        if problem is not None or not pairs or not await self.is_rehearsed():
            return Done(result, problem)
        if batch:
            return Done(result, rehearse=pairs)
        handed = {**result, "pairs": [pair_members(pair) for pair in pairs]}
        return Handed(Queue.REHEARSE, "planned", handed)

    async def _scan(
        self, work: Work, references: Sequence[Reference], base: Reference | None
    ) -> list[Scanned]:
        # A scanner remembers the bases that it has read: one job may rely on that, two may not.
        scanner = self._scanner(await self.reader(), work.database)
        found: list[Scanned] = []
        noted = time.monotonic()
        async for scanned in scanner.scan_many(references, base=base):
            if isinstance(scanned.failure, DatabaseUnavailable):
                raise scanned.failure
            found.append(scanned)
            if len(references) > 1 and time.monotonic() - noted > _NOTE_SECONDS:
                noted = time.monotonic()
                await work.note("reading", done=len(found), total=len(references))
        return found

    def _scanner(self, reader: Reader, database: Database) -> Scanner:
        return Scanner(reader, database, match=self.match)


def _problem_of(found: Sequence[Scanned]) -> LoadplanError | None:
    """What kept us from an answer, of one adapter or of all its folders."""
    for scanned in found:
        problem = scanned.failure or _recorded_failure(scanned.record)
        if problem is not None:
            return problem
    return None


def _recorded_failure(record: Record) -> LoadplanError | None:
    if record.status is not Status.FAILED:
        return None
    errors = [issue for issue in record.issues if issue.severity is Severity.ERROR]
    kinds = [(_FAILURES[issue.code], issue) for issue in errors if issue.code in _FAILURES]
    return kinds[0][0](kinds[0][1].message) if kinds else HubError()


def _to_rehearse(found: Sequence[Scanned]) -> tuple[Pair, ...]:
    """Pairs that have a plan which nobody has tried yet."""
    pairs = []
    for scanned in found:
        record = scanned.record
        if record.plan is None or record.evidence is not Evidence.STATIC or record.base is None:
            continue
        if record.adapter.digest is not None and record.base.digest is not None:
            pair = Pair(record.adapter.digest, record.adapter.subfolder, record.base.digest)
            pairs.append(pair)
    return tuple(dict.fromkeys(pairs))
