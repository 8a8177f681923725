"""Do a job of an operation: take it, run its body, store what came of it under the attempt.

The body gets a database whose every write is refused once the attempt is superseded. A database
that is away is waited for; everything else that goes wrong ends the operation with a problem, so
that whoever asked is answered.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from registry.asking import ask_rehearsals
from registry.db import operations
from registry.db.operations import Attempt, Operation, State, Superseded
from registry.db.proofs import Pair
from registry.db.session import Database
from registry.errors import (
    DatabaseUnavailable,
    HubRateLimited,
    LoadplanError,
    TransientHubError,
)
from registry.jobs import Job, Jobs, Queue

log = structlog.get_logger("workers")
T = TypeVar("T")

# A job that ended its workers so often is not given to another one.
MOST_ATTEMPTS = 3
# How often, and after how many seconds, a scan is tried again that the Hub did not answer.
HUB_TRIES = 3
_HUB_PAUSE, _LONGEST_HUB_PAUSE = 5.0, 120.0
# While the database is away.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0
# How long a job waits for the one that has taken its operation along.
_HELD_PAUSE = 15.0
_OVER = {"stage": "done"}
# Any number that nobody else takes an advisory lock on.
_SAVING_LOCK = 7_203_461_157


class FencedDatabase(Database):
    """The same database for one attempt: writes begin by holding the operation.

    With `turns`, writes also take turns, in this process and between processes. Scans share base,
    layouts and configs, and would otherwise wait for each other in circles, each for a row that
    another is adding. Raises Superseded from every write once another attempt was taken.
    """

    def __init__(
        self, database: Database, attempt: Attempt, turns: threading.Lock | None = None
    ) -> None:
        super().__init__(database.writer, database.reader)
        self._attempt = attempt
        self._turns = turns

    def write(self, work: Callable[[Session], T]) -> T:
        with self._turns or nullcontext():
            return super().write(lambda session: self._fenced(session, work))

    def _fenced(self, session: Session, work: Callable[[Session], T]) -> T:
        if self._turns is not None and self.dialect == "postgresql":
            session.execute(sa.select(sa.func.pg_advisory_xact_lock(_SAVING_LOCK)))
        operations.hold(session, self._attempt)
        return work(session)


@dataclass(frozen=True)
class Work:
    """What the body of a job is given."""

    operation: Operation
    attempt: Attempt
    database: Database

    async def note(self, stage: str, **facts: object) -> None:
        """Say how far the work is. Raises Superseded."""
        progress = {"stage": stage, **facts}
        noting = FencedDatabase(self.database, self.attempt)
        await asyncio.to_thread(
            noting.write, lambda session: operations.note(session, self.attempt, progress)
        )


@dataclass(frozen=True)
class Done:
    """The operation is over, with a `problem` as failed. `rehearse` is asked for on its own."""

    result: Mapping[str, Any]
    problem: LoadplanError | None = None
    rehearse: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Handed:
    """The operation goes on as a job of another queue."""

    queue: Queue
    stage: str
    result: Mapping[str, Any]


Body = Callable[[Work], Awaitable[Done | Handed]]


@dataclass(frozen=True)
class Performer:
    """One executor's way of doing jobs. `living` names the executors that are at work."""

    database: Database
    jobs: Jobs
    executor_id: str
    living: Callable[[], set[str]]
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    turns: threading.Lock = field(default_factory=threading.Lock)
    suspects: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def perform(self, job: Job, body: Body) -> None:
        """Do one job to its end. What goes wrong in it ends its operation and is not raised."""
        suspect = await self._insist(partial(self._is_suspect, job))
        try:
            # A job whose worker died before may have killed it. One at a time, these take nobody
            # with them, and whoever was only beside one gets through.
            async with self.suspects if suspect else nullcontext():
                await self._perform(job, body)
        except Superseded:
            log.warning("job-superseded", operation_id=job.operation_id)

    async def _perform(self, job: Job, body: Body) -> None:
        taken = await self._insist(partial(self._take, job))
        if taken is None:
            return
        operation, attempt = taken
        log.info(
            "job-taken", operation_id=operation.id, kind=operation.kind, attempt=attempt.number
        )
        turns = self.turns if job.queue is Queue.SCAN else None
        fenced = FencedDatabase(self.database, attempt, turns)
        outcome = await self._run(Work(operation, attempt, fenced), body)
        await self._insist(partial(self._store, job, operation, attempt, outcome))

    async def _run(self, work: Work, body: Body) -> Done | Handed:
        while True:
            try:
                return await body(work)
            except Exception as error:
                cause = _cause(error)
                if isinstance(cause, Superseded):
                    raise cause from error
                if isinstance(cause, LoadplanError) and not isinstance(cause, DatabaseUnavailable):
                    return Done({}, cause)
                if not isinstance(cause, DatabaseUnavailable):
                    log.error("job-failed", operation_id=work.operation.id, exc_info=error)
                    return Done({}, LoadplanError("The job ended with a fault of ours."))
            # The attempt is still ours when the database is back: it begins again.
            await self.pause(_LONGEST_PAUSE)

    async def _insist(self, work: Callable[[Session], T]) -> T:
        """One transaction, again and again while the database is away."""
        delay = _FIRST_PAUSE
        while True:
            try:
                return await asyncio.to_thread(self.database.write, work)
            except DatabaseUnavailable:
                await self.pause(delay)
                delay = min(delay * 2, _LONGEST_PAUSE)

    def _is_suspect(self, job: Job, session: Session) -> bool:
        operation = operations.load_operation(session.connection(), job.operation_id)
        return operation is not None and operation.attempts > job.spent

    def _take(self, job: Job, session: Session) -> tuple[Operation, Attempt] | None:
        operation = operations.load_operation(session.connection(), job.operation_id)
        if operation is None or operation.state.is_over:
            return None
        if self._is_held(session, operation):
            self._again(session, job, operation.priority, "w", spent=job.spent, delay=_HELD_PAUSE)
            return None
        taken = operations.take(session, job.operation_id, self.executor_id)
        if taken is None:
            return None
        operation, attempt = taken
        if attempt.number - job.spent > MOST_ATTEMPTS:
            message = f"The job ended its worker {MOST_ATTEMPTS} times, so it is given to no other."
            problem = problem_of(LoadplanError(message))
            operations.finish(session, attempt, State.FAILED, progress=_OVER, problem=problem)
            return None
        return taken

    def _is_held(self, session: Session, operation: Operation) -> bool:
        """Another job has taken this operation along, and its executor lives."""
        holder = (operation.progress or {}).get("with")
        if operation.state is not State.RUNNING or holder in (None, operation.id):
            return False
        other = operations.load_operation(session.connection(), str(holder))
        if other is None or other.state.is_over:
            return False
        return operation.executor_id in self.living()

    def _store(
        self,
        job: Job,
        operation: Operation,
        attempt: Attempt,
        outcome: Done | Handed,
        session: Session,
    ) -> None:
        if isinstance(outcome, Handed):
            progress = {"stage": outcome.stage}
            operations.release(
                session, attempt, State.RUNNING, progress=progress, result=outcome.result
            )
            following = Job(
                outcome.queue, operation.id, operation.priority, outcome.queue.value, attempt.number
            )
            self.jobs.enqueue(session, following)
            return
        if _is_worth_another(operation, job, outcome):
            waiting = {"stage": "waiting", "reason": getattr(outcome.problem, "code", None)}
            operations.release(session, attempt, State.QUEUED, progress=waiting)
            delay = _hub_pause(outcome.problem, job.tries)
            self._again(session, job, operation.priority, "t", spent=attempt.number, delay=delay)
            return
        state = State.SUCCEEDED if outcome.problem is None else State.FAILED
        problem = None if outcome.problem is None else problem_of(outcome.problem)
        operations.finish(
            session, attempt, state, progress=_OVER, result=outcome.result, problem=problem
        )
        if outcome.rehearse:
            ask_rehearsals(session, self.jobs, outcome.rehearse, priority=operation.priority)

    def _again(
        self, session: Session, job: Job, priority: int, mark: str, *, spent: int, delay: float
    ) -> None:
        """The same stage as a further job: an id that was run is never run again."""
        tries = job.tries + 1
        suffix = f"{job.queue.value}-{mark}{tries}"
        self.jobs.enqueue(
            session, Job(job.queue, job.operation_id, priority, suffix, spent, tries, delay)
        )


def problem_of(error: LoadplanError) -> dict[str, str]:
    """What an operation keeps of an error: stable code and words, nothing of our inside."""
    return {"code": error.code, "detail": error.message, "fix": error.fix}


def _is_worth_another(operation: Operation, job: Job, outcome: Done) -> bool:
    return (
        operation.kind == "scan"
        and isinstance(outcome.problem, TransientHubError)
        and job.tries + 1 < HUB_TRIES
    )


def _hub_pause(problem: LoadplanError | None, tries: int) -> float:
    asked = problem.retry_after if isinstance(problem, HubRateLimited) else None
    pause = asked if asked is not None else _HUB_PAUSE * 4.0**tries
    return min(pause, _LONGEST_HUB_PAUSE)


def _cause(error: Exception) -> Exception:
    """What a task group wrapped; of several errors the one that decides what is done."""
    if not isinstance(error, ExceptionGroup):
        return error
    for kind in (Superseded, DatabaseUnavailable, LoadplanError):
        found = error.subgroup(kind)
        if found is not None:
            return _cause(found.exceptions[0])
    return error
