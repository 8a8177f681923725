"""Ask for work through an API that is killed, done by workers that are killed, and count."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import sqlalchemy as sa

from registry.asking import ask_proof
from registry.db import operations
from registry.db.proofs import Pair
from registry.db.records import find_record
from registry.db.session import Database, open_database
from registry.db.tokens import create_token
from registry.domain.bearer import hash_token, make_token
from registry.errors import DatabaseUnavailable, LoadplanError
from registry.jobs import Jobs, Priority
from tests.chaos.worker import Harm, Spec, serve, work
from tests.engine.publishing import name_of

# Processes are forked from one that has imported everything and started nothing.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.chaos.worker", "api.app", "uvicorn"])


class Crew:
    """Keeps so many workers alive, gives each new one the next harm, wakes the stopped ones."""

    def __init__(
        self, spec: Spec, harms: Iterable[Harm], *, size: int = 2, sleep: float = 4.0
    ) -> None:
        self._spec = spec
        self._harms = list(harms)
        self._size = size
        self._sleep = sleep
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._asleep: dict[int, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self.killed = self.continued = 0

    def __enter__(self) -> Crew:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.terminate()
        for process in self._processes:
            process.join(timeout=15)
            if process.is_alive():
                process.kill()

    @property
    def harms_left(self) -> int:
        return len(self._harms)

    def is_quiet(self) -> bool:
        """No harm is left to do, and nobody is asleep."""
        return not self._harms and not self._asleep

    def _keep(self) -> None:
        while not self._ended.wait(0.1):
            self._bury()
            self._wake()
            awake = len(self._processes) - len(self._asleep)
            for _ in range(self._size - awake):
                harm = self._harms.pop(0) if self._harms else None
                process = CONTEXT.Process(target=work, args=(replace(self._spec, harm=harm),))
                process.start()
                self._processes.append(process)

    def _bury(self) -> None:
        for process in [each for each in self._processes if not each.is_alive()]:
            self._processes.remove(process)
            self._asleep.pop(process.pid, None)
            self.killed += 1

    def _wake(self) -> None:
        now = time.monotonic()
        for process in self._processes:
            if process.pid not in self._asleep and _is_stopped(process.pid):
                self._asleep[process.pid] = now
        for pid, since in list(self._asleep.items()):
            if now - since > self._sleep:
                os.kill(pid, signal.SIGCONT)
                del self._asleep[pid]
                self.continued += 1


class Api:
    """Keeps the API alive on one port."""

    def __init__(self, spec: Spec, harms: Iterable[Harm]) -> None:
        self._spec = replace(spec, port=_free_port())
        self._harms = list(harms)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self.url = f"http://127.0.0.1:{self._spec.port}"
        self.killed = 0

    def __enter__(self) -> Api:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _keep(self) -> None:
        while not self._ended.wait(0.05):
            if self._process is not None and self._process.is_alive():
                continue
            self.killed += self._process is not None
            harm = self._harms.pop(0) if self._harms else None
            self._process = CONTEXT.Process(target=serve, args=(replace(self._spec, harm=harm),))
            self._process.start()


@dataclass
class Asked:
    """What was acknowledged: the key of each request, and the operation it was told."""

    scans: dict[str, str] = field(default_factory=dict)
    proofs: dict[str, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        return [*self.scans.values(), *self.proofs.values()]


def make_bearer(database: Database) -> str:
    token = make_token(random.SystemRandom().choice)
    with database.transaction() as session:
        create_token(
            session,
            name="chaos",
            token_hash=hash_token(token),
            scopes=["scan", "prove"],
            created_at=datetime.now(UTC),
            expires_at=None,
        )
    return token


def ask(url: str, token: str, path: str, body: dict[str, str], key: str) -> str:
    """Insist, with the same key, until the request is acknowledged."""
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            answer = httpx2.post(url + path, json=body, headers=headers, timeout=20)
        except httpx2.HTTPError:
            time.sleep(0.1)
            continue
        if answer.status_code in (200, 202):
            return answer.json()["id"]
        assert answer.status_code == 503, answer.text
        time.sleep(0.2)
    raise AssertionError(f"{path} was not acknowledged")


def ask_scans(url: str, token: str, count: int, asked: Asked) -> None:
    for number in range(count):
        body = {"repo_id": name_of(number)}
        asked.scans[name_of(number)] = ask(url, token, "/v1/scans", body, f"scan-{number}")


def ask_proofs(url: str, token: str, count: int, asked: Asked) -> None:
    for number in range(count):
        body = {"repo_id": name_of(number)}
        asked.proofs[name_of(number)] = ask(url, token, "/v1/proofs", body, f"prove-{number}")


def await_over(database: Database, ids: list[str], seconds: float) -> list[operations.Operation]:
    """The operations once all are over. A database that is away is waited for."""
    deadline = time.monotonic() + seconds
    found: list[operations.Operation | None] = []
    while time.monotonic() < deadline:
        with contextlib.suppress(DatabaseUnavailable, LoadplanError):
            with database.reading() as connection:
                found = [operations.load_operation(connection, each) for each in ids]
            if all(each is not None and each.state.is_over for each in found):
                return [each for each in found if each is not None]
        time.sleep(0.2)
    left = [
        (each.id, each.state, each.progress) for each in found if each and not each.state.is_over
    ]
    raise AssertionError(f"{len(left)} operations are not over after {seconds} s: {left[:5]}")


def check_once(database: Database, asked: Asked) -> Counter[str]:
    """What must be true whatever was killed; the states of what was acknowledged."""
    with database.reading() as connection:
        query = lambda text: connection.execute(sa.text(text)).all()  # noqa: E731
        ends = Counter(
            row[0] for row in query("SELECT operation_id FROM operation_events WHERE name = 'done'")
        )
        known = {
            row[0]: (row[1], row[2], row[3])
            for row in query("SELECT id, state, attempts, kind FROM operations")
        }
        assert [row for row in known.values() if row[0] in ("queued", "running")] == []
        for operation_id in asked.ids:
            assert ends[operation_id] == 1, f"{operation_id} ended {ends[operation_id]} times"
        assert set(ends.values()) == {1}
        # No request made two operations, whatever became of the first answer to it.
        kinds = Counter(kind for _, _, kind in known.values())
        assert kinds["scan"] == len(set(asked.scans.values())) == len(asked.scans)
        assert kinds["prove"] == len(set(asked.proofs.values())) == len(asked.proofs)
        # Each adapter has one current record, and no content was written twice.
        currents = Counter(
            row[0] for row in query("SELECT adapter_repository_id FROM records WHERE current")
        )
        assert set(currents.values()) <= {1}
        twice = query(
            "SELECT adapter_repository_id FROM records "
            "GROUP BY adapter_repository_id, content_digest HAVING count(*) > 1"
        )
        assert twice == []
        proven = Counter(row[0] for row in query("SELECT id FROM proofs"))
        succeeded = [each for each in asked.proofs.values() if known[each][0] == "succeeded"]
        assert set(succeeded) <= set(proven)
        assert set(proven.values()) <= {1}
        assert set(proven) <= set(asked.proofs.values())
        capped = [row for row in known.values() if row[0] == "failed"]
        assert all(attempts > 3 for _, attempts, _ in capped), "only what was killed often failed"
        states = Counter(known[each][0] for each in asked.ids)
        states["retaken"] = sum(
            attempts > 1 for _, attempts, kind in known.values() if kind == "prove"
        )
    return states


@contextlib.contextmanager
def opened(url: str) -> Iterator[tuple[Database, Jobs]]:
    database = open_database(url)
    jobs = Jobs(database.writer)
    try:
        yield database, jobs
    finally:
        jobs.close()
        database.close()


def pair_of(database: Database, repo_id: str) -> Pair:
    with database.reading() as connection:
        stored = find_record(connection, repo_id=repo_id)
    assert stored is not None
    assert stored.record.base is not None
    record = stored.record
    return Pair(record.adapter.digest, record.adapter.subfolder, record.base.digest)


def prove_directly(database: Database, jobs: Jobs, reference, pair: Pair) -> str:
    ask_one = lambda session: ask_proof(  # noqa: E731
        session, jobs, reference, None, pair, priority=Priority.PERSON
    )
    return database.write(ask_one).id


def log_lines(folder: Path, event: str) -> int:
    """How often an event was logged by all processes together."""
    needle = f'"event": "{event}"'
    return sum(path.read_text("utf-8", "replace").count(needle) for path in folder.glob("*.log"))


def _is_stopped(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] == "T"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
