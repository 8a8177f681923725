"""The body of a proof: the pair that was asked for, and all others waiting for the same base.

Loading a base costs minutes, so the first job takes the waiting proofs of its base along. Each
stays its own operation with its own attempt; a job that has failed its worker before goes alone,
so that what kills a worker takes nothing else with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import structlog
from sqlalchemy.orm import Session

from registry.asking import proofs_of, read_pair
from registry.db import operations, proofs
from registry.db.operations import Attempt, Operation, State, Superseded
from registry.db.session import Database
from registry.domain.record import Proof, Record
from registry.domain.refs import Digest
from registry.domain.steps import Plan
from registry.errors import ChildFailed, InvalidRequest, LoadplanError
from registry.proving import save_proven
from workers.performing import Done, FencedDatabase, Work, problem_of
from workers.rehearsals import load_pair

log = structlog.get_logger("workers")

# How many proofs of one base one job takes along.
TAKEN_ALONG = 31


class Proves(Protocol):
    """What `workers.prove.Prover` does."""

    def prove(self, plans: Sequence[Plan]) -> list[Proof]: ...


@dataclass(frozen=True)
class _Member:
    """One operation of the job, with the record whose plan is run."""

    operation: Operation
    attempt: Attempt
    record: Record
    plan: Plan


@dataclass(frozen=True)
class ProveBody:
    """`accepted` are the devices whose passed proof makes a record compatible."""

    prover: Proves
    database: Database
    accepted: Collection[str]

    async def __call__(self, work: Work) -> Done:
        await work.note("proving")
        return await asyncio.to_thread(self._prove, work)

    def _prove(self, work: Work) -> Done:
        known = self._known(work.operation)
        if known is not None:
            # An earlier attempt stored the proof and died before it said so.
            return _done(known)
        own = self._member(work.operation, work.attempt)
        if own is None:
            return Done({}, InvalidRequest("The pair has no plan any more: nothing to prove."))
        members = [own, *(self._others(work) if work.attempt.number == 1 else ())]
        found = self.prover.prove([member.plan for member in members])
        # The operation's id is the proof's: however often the job runs, it leaves one.
        found = [
            replace(proof, id=member.operation.id)
            for proof, member in zip(found, members, strict=True)
        ]
        for proof, member in zip(found[1:], members[1:], strict=True):
            self._finish_other(member, proof)
        work.database.write(lambda session: self._save(session, own, found[0]))
        return _done(found[0])

    def _known(self, operation: Operation) -> Proof | None:
        pair = read_pair(operation.request["pair"])
        with self.database.reading() as connection:
            found = proofs.load_proofs(connection, pair)
        return next((proof for proof in found if proof.id == operation.id), None)

    def _member(self, operation: Operation, attempt: Attempt) -> _Member | None:
        loaded = load_pair(self.database, read_pair(operation.request["pair"]))
        if loaded is None or loaded[0].plan is None:
            return None
        return _Member(operation, attempt, loaded[0], loaded[0].plan)

    def _others(self, work: Work) -> list[_Member]:
        """Waiting proofs of the same base, taken along by this executor."""
        base = read_pair(work.operation.request["pair"]).base_digest
        taken = self.database.write(lambda session: self._take(session, work, base))
        members = []
        for operation, attempt in taken:
            member = self._member(operation, attempt)
            if member is None:
                problem = InvalidRequest("The pair has no plan any more: nothing to prove.")
                self._end(attempt, problem)
            else:
                members.append(member)
        return members

    def _take(self, session: Session, work: Work, base: Digest) -> list[tuple[Operation, Attempt]]:
        operations.hold(session, work.attempt)
        waiting = operations.list_queued(session, proofs_of(base), limit=TAKEN_ALONG)
        executor = work.attempt.executor_id
        found = [operations.take(session, each.id, executor) for each in waiting]
        taken = [each for each in found if each is not None]
        for _, attempt in taken:
            progress = {"stage": "proving", "with": work.operation.id}
            operations.note(session, attempt, progress)
        return taken

    def _finish_other(self, member: _Member, proof: Proof) -> None:
        done = _done(proof)
        state = State.SUCCEEDED if done.problem is None else State.FAILED

        def work(session: Session) -> None:
            self._save(session, member, proof)
            problem = None if done.problem is None else problem_of(done.problem)
            operations.finish(
                session,
                member.attempt,
                state,
                progress={"stage": "done"},
                result=done.result,
                problem=problem,
            )

        self._write(member.attempt, work)

    def _end(self, attempt: Attempt, problem: LoadplanError) -> None:
        def work(session: Session) -> None:
            failed = State.FAILED
            operations.finish(session, attempt, failed, problem=problem_of(problem))

        self._write(attempt, work)

    def _write(self, attempt: Attempt, work: Callable[[Session], None]) -> None:
        """For an operation that was taken along: if it was cancelled, that is its end."""
        try:
            FencedDatabase(self.database, attempt).write(work)
        except Superseded:
            log.warning("job-superseded", operation_id=attempt.operation_id)

    def _save(self, session: Session, member: _Member, proof: Proof) -> None:
        save_proven(
            session,
            member.record,
            proof,
            accepted=self.accepted,
            recorded_at=datetime.now(UTC),
        )


def _done(proof: Proof) -> Done:
    """A proof that failed is an answer; one that could not be run is a failure of ours."""
    result = {"proof": proof.id, "outcome": proof.outcome}
    if proof.outcome != "error":
        return Done(result)
    error = proof.checks.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return Done(result, ChildFailed(str(message) if message else None))
