"""The body of a rehearsal: recorded pairs, one after the other in this worker's warm child."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import structlog

from registry import planning
from registry.asking import read_pair
from registry.db import checkpoints, records
from registry.db.proofs import Pair
from registry.db.session import Database
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.record import Evidence, Record
from registry.domain.steps import Plan
from registry.errors import ChildFailed
from workers.performing import Done, Work
from workers.rehearse import Rehearsal

log = structlog.get_logger("workers")


class Rehearses(Protocol):
    """What `workers.rehearse.Rehearser` does."""

    def rehearse(self, adapter: AdapterFacts, base: BaseFacts, plan: Plan | None) -> Rehearsal: ...


@dataclass(frozen=True)
class RehearseBody:
    rehearser: Rehearses

    async def __call__(self, work: Work) -> Done:
        """Rehearse each pair and put it on record. A rehearsal that fails on our side leaves its
        record as it was; the operation fails when none succeeded."""
        pairs = pairs_of(work)
        done, failure = 0, None
        for place, pair in enumerate(pairs):
            await work.note("rehearsing", done=place, total=len(pairs))
            failed = await asyncio.to_thread(self._rehearse, work.database, pair)
            if failed is None:
                done += 1
            else:
                failure = failed
                log.warning("rehearsal-failed", operation_id=work.operation.id, reason=failed)
        result = {**(work.operation.result or {}), "rehearsed": done}
        problem = ChildFailed(failure) if failure is not None and done == 0 else None
        return Done(result, problem)

    def _rehearse(self, database: Database, pair: Pair) -> str | None:
        """Why there is no rehearsal; None when there is one, or none is needed."""
        loaded = load_pair(database, pair)
        if loaded is None:
            return None
        record, adapter, base = loaded
        if record.plan is None or record.evidence is not Evidence.STATIC:
            return None
        rehearsal = self.rehearser.rehearse(adapter, base, record.plan)
        if rehearsal.failure is not None:
            return rehearsal.failure
        disagreement = planning.find_disagreement(record, rehearsal)
        if disagreement is not None:
            log.warning("rehearsal-disagrees", static=disagreement.static)
        rehearsed = planning.record_rehearsal(record, rehearsal)
        planning.save_rehearsed(
            database,
            rehearsed,
            base,
            rehearsal,
            plan=record.plan,
            recorded_at=datetime.now(UTC),
        )
        return None


def pairs_of(work: Work) -> Sequence[Pair]:
    """What was asked for, or what a scan has handed on."""
    given = work.operation.request.get("pairs") or (work.operation.result or {}).get("pairs", ())
    return [read_pair(members) for members in given]


def load_pair(database: Database, pair: Pair) -> tuple[Record, AdapterFacts, BaseFacts] | None:
    """The recorded facts of a pair with its current record; None where any of them is missing."""
    with database.reading() as connection:
        digests = pair.adapter_digest, pair.subfolder, pair.base_digest
        stored = records.find_pair(connection, *digests)
        adapter = checkpoints.load_adapter(connection, pair.adapter_digest, pair.subfolder)
        base = checkpoints.load_base(connection, pair.base_digest)
    if stored is None or adapter is None or base is None:
        return None
    return stored.record, adapter, base
