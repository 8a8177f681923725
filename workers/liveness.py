"""Heartbeats, and what is done about executors that have stopped: the engine does neither.

Every worker beats. Of those that have for a while, the one with the smallest id looks after all: it
puts jobs of executors that are gone back on their queues, starts again what no job is left for,
ends what nobody can do, and forgets what is old. Two that both believe to be that one do no harm: a
job that is taken from a living worker is fenced off and runs again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog

from registry.db import operations, workers
from registry.db.operations import Operation, State
from registry.db.session import Database, translated_errors
from registry.db.workers import HubQuota, Worker
from registry.errors import DatabaseUnavailable
from registry.jobs import Job, Jobs, Queue, operations_of

log = structlog.get_logger("workers")

_QUEUES = {"rehearse": Queue.REHEARSE, "prove": Queue.PROVE}
_LOOKED_AT = 100
_SECONDS_OF_A_DAY = 86_400.0


@dataclass(frozen=True)
class Pulse:
    """Seconds. An executor is gone when it was not seen for `dead`: its jobs are running again
    within `dead` + `beat` + the queue's polling, well under a minute."""

    beat: float = 5.0
    dead: float = 25.0
    # An operation without any job is started again after so long.
    stranded: float = 60.0
    # How often what is old is forgotten, and what counts as old.
    forget: float = 300.0
    kept_days: float = 7.0


class Liveness:
    """A thread that beats for one worker and looks after the others when it is its turn."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        worker: Worker,
        pulse: Pulse = Pulse(),
        *,
        active: Callable[[], Collection[str]] = tuple,
        hub_quota: Callable[[], Sequence[HubQuota]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._worker = worker
        self._pulse = pulse
        self._active = active
        self._hub_quota = hub_quota
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)
        self._living: frozenset[str] = frozenset({worker.executor_id})
        self._elders: list[str] = []
        self._sound_since = clock()
        self._last_beat = clock()
        self._next_forget = clock() + pulse.forget
        self._stranded: dict[str, float] = {}
        self._lost: dict[str, float] = {}
        self.recovered = 0

    def start(self) -> None:
        """Beat once now, so that the row is there before any job is claimed, then go on.

        Raises DatabaseUnavailable, DatabaseNotMigrated.
        """
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Say that this worker has left. Errors of the database are logged: it may be away."""
        self._stopped.set()
        self._thread.join(timeout=self._pulse.dead)
        try:
            self._database.write(lambda s: workers.leave(s, self._worker.executor_id))
        except DatabaseUnavailable as error:
            log.warning("leave-failed", reason=error.message)

    def living(self) -> set[str]:
        """Executors that were alive at the last beat."""
        return set(self._living)

    def _run(self) -> None:
        while not self._stopped.wait(self._pulse.beat):
            try:
                self._beat()
                with translated_errors():
                    self._find_lost()
                    if self._leads():
                        self._look_after()
            except DatabaseUnavailable as error:
                log.warning("beat-failed", reason=error.message)
            except Exception as error:
                # The heart goes on: whatever this was, the worker is alive.
                log.error("beat-failed", exc_info=error)

    def _beat(self) -> None:
        worker = replace(self._worker, hub_quota=self._hub_quota())
        self._database.write(lambda session: workers.beat(session, worker))
        now = self._clock()
        if now - self._last_beat > self._pulse.dead:
            # We, or the database, were away: nobody could be seen meanwhile, so nobody is missed.
            self._sound_since = now
        self._last_beat = now
        with self._database.reading() as connection:
            living = workers.list_living(connection, seconds=self._pulse.dead)
        self._living = frozenset(each.executor_id for each in living)
        settled = timedelta(seconds=self._pulse.dead)
        self._elders = [each.executor_id for each in living if each.age >= settled]

    def _leads(self) -> bool:
        """Who has just begun has not seen the others long enough to miss one."""
        sound = self._clock() - self._sound_since >= self._pulse.dead
        return sound and min(self._elders, default="") == self._worker.executor_id

    def _look_after(self) -> None:
        self._reap()
        self._find_stranded()
        if self._clock() >= self._next_forget:
            self._next_forget = self._clock() + self._pulse.forget
            self._forget()

    def _find_lost(self) -> None:
        """Jobs that the engine has claimed for this worker and never begun, because the database
        went away in between. Nobody else can tell these from jobs that run."""
        now = self._clock()
        me = self._worker.executor_id
        mine = [job for job in self._jobs.list_running() if job.executor_id == me]
        active = set(self._active())
        lost = {job.id: self._lost.get(job.id, now) for job in mine if job.id not in active}
        for job in mine:
            if now - lost.get(job.id, now) >= self._pulse.dead:
                log.warning("job-lost", job_id=job.id)
                self._jobs.resume(job)
                self.recovered += 1
                del lost[job.id]
        self._lost = lost

    def _reap(self) -> None:
        """Jobs are listed before the living are: a worker that began in between is not missed."""
        running = self._jobs.list_running()
        with self._database.reading() as connection:
            living = workers.list_living(connection, seconds=self._pulse.dead)
        alive = {worker.executor_id for worker in living}
        for job in running:
            if job.executor_id not in alive:
                log.warning("job-recovered", job_id=job.id, executor_id=job.executor_id)
                self._jobs.resume(job)
                self.recovered += 1

    def _find_stranded(self) -> None:
        """Open operations without a job, seen so for a while: the engine lost or refused it."""
        before = datetime.now(UTC) - timedelta(seconds=self._pulse.stranded)
        with self._database.reading() as connection:
            found = operations.list_open(connection, created_before=before, limit=_LOOKED_AT)
            queues = {
                queue
                for worker in workers.list_living(connection, seconds=self._pulse.dead)
                for queue in worker.queues
            }
        working = operations_of(self._jobs.list_open([each.id for each in found]))
        now = self._clock()
        suspects: dict[str, float] = {}
        for operation in found:
            waits = _awaits_rehearsal(operation) and Queue.REHEARSE.value not in queues
            if operation.id in working and not waits:
                continue
            since = suspects[operation.id] = self._stranded.get(operation.id, now)
            if now - since >= self._pulse.stranded:
                self._settle(operation, waits=waits)
        self._stranded = suspects

    def _settle(self, operation: Operation, *, waits: bool) -> None:
        if waits:
            # It is planned, and nobody is there to rehearse it: that is its answer for now.
            log.warning("rehearsal-given-up", operation_id=operation.id)
            self._database.write(
                lambda session: operations.close(session, operation.id, State.SUCCEEDED)
            )
            self._jobs.cancel(operation.id)
            return
        log.warning("job-started-again", operation_id=operation.id)
        queue = _QUEUES.get(operation.kind, Queue.SCAN)
        if _awaits_rehearsal(operation):
            queue = Queue.REHEARSE
        attempts = operation.attempts
        job = Job(queue, operation.id, operation.priority, f"again{attempts}", attempts)
        self._database.write(lambda session: self._jobs.enqueue(session, job))

    def _forget(self) -> None:
        before = datetime.now(UTC) - timedelta(days=self._pulse.kept_days)
        self._database.write(
            lambda session: operations.delete_finished(session, before=before, limit=1000)
        )
        self._jobs.delete_over(days=self._pulse.kept_days, limit=1000)
        gone = self._pulse.kept_days * _SECONDS_OF_A_DAY
        self._database.write(lambda session: workers.delete_gone(session, seconds=gone))


def _awaits_rehearsal(operation: Operation) -> bool:
    stage = (operation.progress or {}).get("stage")
    return operation.kind == "scan" and stage == "planned" and operation.executor_id is None
