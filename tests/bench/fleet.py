"""2,000 adapters scanned in batches by several worker processes that share one database.

The workers are `loadplan work --queue scan`, the batches those of `loadplan crawl`; the local Hub
answers without latency and has one of the machine's cores to itself at most.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa

from migrations.upgrade import upgrade
from registry.asking import BATCH, ask_batch
from registry.db.models import RecordRow
from registry.db.operations import State, load_operation
from registry.db.session import Database, open_database
from registry.db.workers import list_living
from registry.domain.refs import Reference
from registry.jobs import Jobs, Priority, prepare
from tests.bench.browse import new_postgres
from tests.bench.figures import Figure
from tests.bench.repositories import BASE, LAYOUTS, TARGETS
from tests.data.adapters import Lora, lora_adapter
from tests.data.bases import load_base
from tests.data.corpus import base_files
from tests.hub import LocalHub
from tests.hub.process import ROOT, HubProcess

COUNT = 2_000
WANTED = 140.0
_PATIENCE = 300.0
_LOCK_WORDS = ("database is locked", "deadlock detected", "DatabaseUnavailable")
LOADPLAN = Path(sys.executable).parent / "loadplan"


def name_of(number: int) -> str:
    return f"fleet/lora-{number:04}"


def populate(hub: LocalHub) -> None:
    base = load_base(BASE, None)
    hub.add_commit(BASE, base_files(BASE, None), title="Upload model")
    for number in range(COUNT):
        lora = Lora(rank=4 * (number % LAYOUTS + 1), targets=TARGETS, dtype="BF16")
        # Equal headers, and another content each: the alpha is its own.
        hub.add_commit(name_of(number), lora_adapter(base, lora, config={"lora_alpha": number}))


def run() -> list[Figure]:
    with HubProcess("tests.bench.fleet:populate") as hub:
        sqlite = [_measure(hub, "SQLite", workers) for workers in (1, 2)]
        postgres = [_measure(hub, "PostgreSQL", workers) for workers in (1, 2, 5)]
    figures = []
    for name, rates in (("SQLite", sqlite), ("PostgreSQL", postgres)):
        alone = rates[0][1]
        for workers, rate in rates:
            words = "1 process" if workers == 1 else f"{workers} processes"
            times = "" if workers == 1 else f" ({rate / alone:.2f} times one)"
            figures.append(
                Figure(f"{name}, {words}: recorded adapters a second", f"{rate:.0f}{times}")
            )
    best = max(rate for _, rate in (*sqlite, *postgres))
    return [
        *figures,
        Figure("the best of them", f"{best:.0f}", f"at least {WANTED:.0f}", best >= WANTED),
        Figure(f"{COUNT:,} adapters recorded each time, no lock error", "yes", "yes", True),
    ]


def _measure(hub: HubProcess, kind: str, workers: int) -> tuple[int, float]:
    """Adapters a second, from the first batch's enqueueing until all operations are over."""
    with tempfile.TemporaryDirectory() as folder, _database_url(kind, Path(folder)) as url:
        upgrade(url)
        prepare(url)
        database = open_database(url)
        logs = [Path(folder, f"worker-{number}.log") for number in range(workers)]
        try:
            with ExitStack() as crew:
                for log in logs:
                    crew.enter_context(_worker(url, hub.url, Path(folder), log))
                _await_living(database, workers)
                seconds = _scan_all(database)
            with database.reading() as connection:
                current = sa.select(sa.func.count()).where(RecordRow.current)
                recorded = connection.scalar(current)
        finally:
            database.close()
        said = "".join(log.read_text() for log in logs)
    if recorded != COUNT or any(words in said for words in _LOCK_WORDS):
        raise SystemExit(
            f"{kind}: {recorded} of {COUNT} recorded; the workers say:\n{said[-4000:]}"
        )
    return workers, COUNT / seconds


def _scan_all(database: Database) -> float:
    jobs = Jobs(database.writer)
    started = time.monotonic()
    open_ones = {_ask(database, jobs, first) for first in range(0, COUNT, BATCH)}
    jobs.close()
    while open_ones and time.monotonic() - started < _PATIENCE:
        time.sleep(0.1)
        with database.reading() as connection:
            for operation_id in tuple(open_ones):
                found = load_operation(connection, operation_id)
                assert found is not None
                if found.state is State.SUCCEEDED:
                    open_ones.discard(operation_id)
                elif found.state not in (State.QUEUED, State.RUNNING):
                    raise SystemExit(f"A batch of scans ended as {found.state}.")
    if open_ones:
        raise SystemExit(f"{len(open_ones)} batches are not over after {_PATIENCE:.0f} s.")
    return time.monotonic() - started


def _ask(database: Database, jobs: Jobs, first: int) -> str:
    batch = [Reference(name_of(number), "main") for number in range(first, first + BATCH)]
    asked = database.write(lambda session: ask_batch(session, jobs, batch, priority=Priority.CRAWL))
    return asked.id


@contextmanager
def _database_url(kind: str, folder: Path) -> Iterator[str]:
    if kind == "SQLite":
        yield f"sqlite:///{folder / 'fleet.db'}"
        return
    with new_postgres() as urls:
        if urls is None:
            raise SystemExit("There is no PostgreSQL server to measure on.")
        yield urls[0]


@contextmanager
def _worker(url: str, endpoint: str, folder: Path, log: Path) -> Iterator[None]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    settings = {
        "LOADPLAN_DATABASE_URL": url,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    with log.open("w") as file:
        process = subprocess.Popen(
            [LOADPLAN, "work", "--queue", "scan"],
            cwd=ROOT,
            env=kept | settings,
            stdout=file,
            stderr=file,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(40)


def _await_living(database: Database, workers: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with database.reading() as connection:
            if len(list_living(connection, seconds=60)) >= workers:
                return
        time.sleep(0.1)
    raise SystemExit("The workers did not come up.")
