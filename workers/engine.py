"""The executor: DBOS in this process, the queues it listens to, and what their jobs do.

The engine's workflows hold no state of their own. What was done is in the registry's tables under
the attempt that did it, so a workflow that is run again begins at its start and repeats nothing
that counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import structlog
from dbos import DBOS, DBOSConfig

from registry.collecting import relax_collection
from registry.config import Settings
from registry.db.checkpoints import StoredTokenizers
from registry.db.session import Database
from registry.db.workers import HubQuota, Worker, list_living
from registry.errors import LoadplanError
from registry.hub import Quota, Reader, open_reader
from registry.hub.patterns import match_modules
from registry.jobs import APPLICATION, APPLICATION_VERSION, PORTABLE, SCHEMA, Job, Jobs, Queue
from registry.sandbox import Isolation, choose_isolation, find_isolation
from registry.watching import parse_scope
from workers.liveness import Liveness, Pulse
from workers.performing import Body, Performer
from workers.proofs import ProveBody
from workers.prove import Prover
from workers.rehearsals import RehearseBody
from workers.rehearse import Rehearser
from workers.scan import ScanBody
from workers.watch import Hub, Watch

log = structlog.get_logger("workers")

# Starts of jobs over all workers, towards the Hub: its quotas are counted in windows of five
# minutes, and the reader heeds them per request. A job of a crawl counts as one.
_SCANS_PER_WINDOW, _WINDOW_SECONDS = 3000, 300.0
_SCANS_AT_ONCE = 8
_POLL_SECONDS = 0.25
_DEVICE_POLL_SECONDS = 1.0
_POOL = 5
_VERSIONS = ("loadplan", "torch", "transformers", "peft")


class Engine:
    """Does the jobs of `queues` until it is stopped. One in a process."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        queues: Sequence[Queue],
        *,
        device: str = "cpu",
        pulse: Pulse = Pulse(),
    ) -> None:
        self._settings = settings
        self._database = database
        self._queues = tuple(dict.fromkeys(queues))
        self.executor_id = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        self._jobs = Jobs(database.writer)
        worker = Worker(
            executor_id=self.executor_id,
            host=socket.gethostname(),
            queues=[queue.value for queue in self._queues],
            device=device,
            versions=_versions(),
        )
        self._pulse = pulse
        self._device = device
        self._active: set[str] = set()
        self._quota = Quota()
        self.liveness = Liveness(
            database,
            self._jobs,
            worker,
            pulse,
            active=lambda: tuple(self._active),
            hub_quota=self._list_quota,
        )
        self._performer = Performer(database, self._jobs, self.executor_id, self.liveness.living)
        self._bodies: dict[Queue, Body] = {}
        self._reader: asyncio.Future[Reader] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._rehearser: Rehearser | None = None
        self._watch = self._make_watch() if Queue.SCAN in self._queues else None

    def start(self) -> None:
        """Raises DatabaseNotMigrated, DatabaseUnavailable, SandboxMissing, RunnerMissing."""
        global _engine
        for queue in self._queues:
            self._bodies[queue] = self._body(queue)
        # The heartbeat is there before the first job is claimed.
        self.liveness.start()
        _engine = self
        DBOS(config=self._config())
        _use_our_log()
        relax_collection()
        DBOS.listen_queues([queue.value for queue in self._queues])
        DBOS.launch()
        _register_queues()
        if self._watch is not None:
            self._watch.start()
        log.info("worker-started", executor_id=self.executor_id, queues=list(self._queues))

    def stop(self, *, seconds: int = 20) -> None:
        """Claim nothing more, give running jobs so long to end, and leave the rest to others."""
        global _engine
        if self._watch is not None:
            self._watch.stop()
        DBOS.destroy(workflow_completion_timeout_sec=seconds)
        if self._rehearser is not None:
            self._rehearser.close()
        self.liveness.stop()
        _engine = None
        log.info("worker-stopped", executor_id=self.executor_id)

    async def perform(self, queue: Queue, operation_id: str, spent: int, tries: int) -> None:
        job_id = DBOS.workflow_id
        assert job_id is not None
        self._active.add(job_id)
        try:
            job = Job(queue, operation_id, 0, spent=spent, tries=tries)
            await self._performer.perform(job, self._bodies[queue])
        finally:
            self._active.discard(job_id)

    def _list_quota(self) -> list[HubQuota]:
        """What the Hub leaves this worker, for the heartbeat."""
        now = datetime.now(UTC)
        return [
            HubQuota(bucket, left.remaining, left.limit, now + timedelta(seconds=left.seconds))
            for bucket, left in self._quota.left().items()
        ]

    def _config(self) -> DBOSConfig:
        postgres = self._database.dialect == "postgresql"
        return DBOSConfig(
            name=APPLICATION,
            application_version=APPLICATION_VERSION,
            executor_id=self.executor_id,
            system_database_url=self._settings.database_url,
            dbos_system_schema=SCHEMA,
            sys_db_pool_size=_POOL,
            log_level="WARNING",
            # PostgreSQL is migrated by `loadplan migrate` alone, by a role that may.
            run_migrations=not postgres,
        )

    def _make_watch(self) -> Watch:
        """Raises SettingInvalid."""
        token = self._settings.hf_token
        hub = Hub(
            self._settings.hf_endpoint,
            token.get_secret_value() if token else None,
            tuple(parse_scope(scope) for scope in self._settings.swept),
            self._quota,
        )
        return Watch(
            self._database, self._jobs, hub, self.executor_id, dead_seconds=self._pulse.dead
        )

    def _body(self, queue: Queue) -> Body:
        isolation = self._isolation()
        if queue is Queue.SCAN:
            match = partial(match_modules, isolation=isolation)
            return ScanBody(self._open_reader, self._is_rehearsed, match)
        if queue is Queue.PROVE:
            return ProveBody(self._prover(), self._database, self._settings.proof_devices)
        self._rehearser = Rehearser(isolation)
        # Its imports take seconds, which the first one who asks need not wait for.
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()
        return RehearseBody(self._rehearser)

    def _prover(self) -> Prover:
        """Proofs need bubblewrap, or the operator's word that the container is the sandbox."""
        token = self._settings.hf_token
        return Prover(
            find_isolation(self._settings.sandbox),
            self._settings.hf_home / "hub",
            device=self._device,
            token=token.get_secret_value() if token else None,
            endpoint=self._settings.hf_endpoint,
        )

    def _warm_up(self) -> None:
        assert self._rehearser is not None
        try:
            self._rehearser.start()
        except LoadplanError as error:
            log.warning("rehearser-not-warm", reason=error.message)

    def _isolation(self) -> Isolation:
        if self._settings.sandbox == "process":
            return Isolation.PROCESS
        return choose_isolation()

    async def _is_rehearsed(self) -> bool:
        return await asyncio.to_thread(self._look_for_rehearsers)

    def _look_for_rehearsers(self) -> bool:
        if Queue.REHEARSE in self._queues:
            return True
        with self._database.reading() as connection:
            living = list_living(connection, seconds=self._pulse.dead)
        return any(Queue.REHEARSE.value in worker.queues for worker in living)

    async def _open_reader(self) -> Reader:
        """The process's one reader, opened in the loop that the jobs run in."""
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_future()
            self._keeper = asyncio.create_task(self._keep_reader(self._reader))
        return await asyncio.shield(self._reader)

    async def _keep_reader(self, opened: asyncio.Future[Reader]) -> None:
        """Hold the reader open until the engine's loop ends, which cancels this."""
        token = self._settings.hf_token
        async with open_reader(
            self._settings.hf_endpoint,
            token.get_secret_value() if token else None,
            tokenizers=StoredTokenizers(self._database),
            quota=self._quota,
        ) as reader:
            opened.set_result(reader)
            await asyncio.Event().wait()


_engine: Engine | None = None


def _running() -> Engine:
    assert _engine is not None, "A job runs while an engine does."
    return _engine


@DBOS.workflow(name=Queue.SCAN.value, serialization_type=PORTABLE)
async def _scan(operation_id: str, spent: int, tries: int) -> None:
    await _running().perform(Queue.SCAN, operation_id, spent, tries)


@DBOS.workflow(name=Queue.REHEARSE.value, serialization_type=PORTABLE)
async def _rehearse(operation_id: str, spent: int, tries: int) -> None:
    await _running().perform(Queue.REHEARSE, operation_id, spent, tries)


@DBOS.workflow(name=Queue.PROVE.value, serialization_type=PORTABLE)
async def _prove(operation_id: str, spent: int, tries: int) -> None:
    await _running().perform(Queue.PROVE, operation_id, spent, tries)


def _register_queues() -> None:
    """Every worker writes the same rows: how a queue behaves is not one worker's to say."""
    DBOS.register_queue(
        Queue.SCAN.value,
        worker_concurrency=_SCANS_AT_ONCE,
        limiter={"limit": _SCANS_PER_WINDOW, "period": _WINDOW_SECONDS},
        polling_interval_sec=_POLL_SECONDS,
    )
    for queue, seconds in ((Queue.REHEARSE, _POLL_SECONDS), (Queue.PROVE, _DEVICE_POLL_SECONDS)):
        DBOS.register_queue(queue.value, worker_concurrency=1, polling_interval_sec=seconds)


def _use_our_log() -> None:
    """The engine's lines go where ours go, redacted and as JSON."""
    engine_log = logging.getLogger("dbos")
    engine_log.handlers.clear()
    engine_log.propagate = True


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
