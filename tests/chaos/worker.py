"""A worker, or an API, that comes to harm at a named point. Nothing of it is in the product.

The points are put around the product's own functions: `taken` (the attempt is committed),
`saving` and `saved` (around a write of results), `mid-save` (in that transaction, before its
commit), `storing` (the end is written, not committed) and `stored` (committed, and the engine not
told). They are named after their queue: `scan.taken`.
"""

from __future__ import annotations

import contextvars
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from registry import logs
from registry.config import Settings
from registry.db.session import open_database
from registry.domain.record import Proof
from registry.jobs import Queue
from workers import engine, performing
from workers.liveness import Pulse
from workers.rehearse import Rehearsal, RehearsalRun

FAST = Pulse(beat=0.4, dead=2.0, stranded=5.0)
# Labels at which the process holds no lock: a stopped one must not keep an SQLite file locked.
OUTSIDE = ("taken", "saving", "saved", "stored")
INSIDE = ("mid-save", "storing")

_queue: contextvars.ContextVar[str] = contextvars.ContextVar("queue", default="none")


@dataclass(frozen=True)
class Harm:
    """What happens at the `visit`-th pass of a label: SIGKILL or SIGSTOP."""

    label: str
    signal: int = signal.SIGKILL
    visit: int = 1


@dataclass(frozen=True)
class Spec:
    """What a worker is started with. Each operation whose key holds `poison` kills its worker."""

    url: str
    hub: str
    folder: str
    queues: tuple[str, ...] = ("scan", "rehearse", "prove")
    harm: Harm | None = None
    pulse: Pulse = FAST
    poison: str = ""
    proof_seconds: float = 0.02
    port: int = 0


class Points:
    """Counts passes of the one label that does harm."""

    def __init__(self, harm: Harm | None) -> None:
        self._harm = harm
        self._seen = 0
        self._lock = threading.Lock()

    def reach(self, label: str) -> None:
        if self._harm is None or label != self._harm.label:
            return
        with self._lock:
            self._seen += 1
            due = self._seen == self._harm.visit
        if due:
            os.kill(os.getpid(), self._harm.signal)
            # A stopped process goes on here, after it was continued.
            time.sleep(0.01)


def lay(points: Points, poison: str) -> None:
    """Put the points around the functions that do the work."""
    perform, run, store = (
        performing.Performer.perform,
        performing.Performer._run,
        performing.Performer._store,
    )
    write = performing.FencedDatabase.write

    def reach(name: str) -> None:
        points.reach(f"{_queue.get()}.{name}")

    async def performed(self, job, body):
        _queue.set(job.queue.value)
        await perform(self, job, body)
        reach("stored")

    async def ran(self, work, body):
        reach("taken")
        if poison and poison in work.operation.dedupe_key:
            os.kill(os.getpid(), signal.SIGKILL)
        return await run(self, work, body)

    def stored(self, job, operation, attempt, outcome, session):
        store(self, job, operation, attempt, outcome, session)
        reach("storing")

    def written(self, work):
        reach("saving")

        def inside(session):
            found = work(session)
            reach("mid-save")
            return found

        found = write(self, inside)
        reach("saved")
        return found

    performing.Performer.perform = performed
    performing.Performer._run = ran
    performing.Performer._store = stored
    performing.FencedDatabase.write = written


class InstantRehearser:
    """Every plan lands. The real one has tests of its own; here jobs die, not rehearsals."""

    def __init__(self, isolation) -> None: ...

    def start(self) -> None: ...

    def close(self) -> None: ...

    def rehearse(self, adapter, base, plan):
        landed = RehearsalRun("landed")
        return Rehearsal(landed, landed, None, "AutoModelForCausalLM", {"peft": "0"})


@dataclass(frozen=True)
class InstantProver:
    """Every proof passes, on what it calls cuda."""

    seconds: float

    def prove(self, plans):
        now = datetime.now(UTC).isoformat()
        time.sleep(self.seconds)
        proof = Proof("none", "passed", "cuda", {"torch": "0"}, "bubblewrap", None, {}, now, now)
        return [replace(proof) for _ in plans]


def work(spec: Spec) -> None:
    """A worker, until SIGTERM."""
    _log_to(spec, "worker")
    lay(Points(spec.harm), spec.poison)
    engine.Rehearser = InstantRehearser
    engine.Engine._prover = lambda self: InstantProver(spec.proof_seconds)
    database = open_database(spec.url)
    settings = Settings(database_url=spec.url, hf_endpoint=spec.hub)
    running = engine.Engine(
        settings, database, [Queue(name) for name in spec.queues], pulse=spec.pulse
    )
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    running.start()
    asked.wait()
    running.stop(seconds=5)


def serve(spec: Spec) -> None:
    """The API, without workers. Its points: `api.asked` inside the transaction that asks, and
    `api.committed` behind it, before the answer."""
    _log_to(spec, "api")
    import uvicorn

    from api import asking as api_asking
    from api.app import create_app
    from registry import asking

    points = Points(spec.harm)
    ask, load = asking._ask, api_asking.Asking._load

    def asked(*arguments):
        operation = ask(*arguments)
        points.reach("api.asked")
        return operation

    def loaded(self, operation_id):
        points.reach("api.committed")
        return load(self, operation_id)

    asking._ask = asked
    api_asking.Asking._load = loaded
    settings = Settings(database_url=spec.url, hf_endpoint=spec.hub)
    uvicorn.run(create_app(settings), port=spec.port, log_config=None, access_log=False)


def _log_to(spec: Spec, name: str) -> None:
    """Each process writes a file: what a worker said before it died is what one wants to read."""
    file = open(f"{spec.folder}/{name}-{os.getpid()}.log", "w", buffering=1)  # noqa: SIM115
    os.dup2(file.fileno(), sys.stdout.fileno())
    os.dup2(file.fileno(), sys.stderr.fileno())
    logs.configure()
