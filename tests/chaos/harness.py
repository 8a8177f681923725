"""Ask for work through an API that is killed, done by workers that are killed, and count."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy as sa

from registry.db import operations
from registry.db.session import Database, open_database
from registry.errors import DatabaseUnavailable, LoadplanError
from registry.jobs import Jobs
from tests.chaos.worker import Harm, Spec, serve, work
from tests.engine.publishing import name_of
from workers.performing import MOST_ATTEMPTS

# Processes are forked from one that has imported everything and started nothing.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.chaos.worker", "api.app", "uvicorn"])


# How often what was killed is asked for anew, and a crew that was killed too seldom is given more.
MOST_TURNS = 6
# What a worker that was stopped may still do, before the next harm gets its place.
_AFTERLIFE = 5.0


class Crew:
    """Keeps so many workers alive, gives each new one the next harm, wakes the stopped ones and
    lets them work for a while."""

    def __init__(
        self, spec: Spec, harms: Iterable[Harm], *, size: int = 2, sleep: float = 4.0
    ) -> None:
        self._spec = spec
        self._harms = list(harms)
        self._held: dict[int | None, Harm] = {}
        self._size = size
        self._sleep = sleep
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._asleep: dict[int, float] = {}
        self._woken: dict[int, float] = {}
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
    def asleep(self) -> int:
        return len(self._asleep)

    @property
    def unmet(self) -> list[Harm]:
        """Harms that no worker has come to yet."""
        return [*self._held.values(), *self._harms]

    def _keep(self) -> None:
        while not self._ended.wait(0.1):
            self._bury()
            self._wake()
            self._dismiss()
            awake = len(self._processes) - len(self._asleep)
            for _ in range(self._size - awake):
                harm = self._harms.pop(0) if self._harms else None
                process = CONTEXT.Process(target=work, args=(replace(self._spec, harm=harm),))
                process.start()
                if harm is not None:
                    self._held[process.pid] = harm
                self._processes.append(process)

    def _bury(self) -> None:
        for process in [each for each in self._processes if not each.is_alive()]:
            self._processes.remove(process)
            self._asleep.pop(process.pid, None)
            self._held.pop(process.pid, None)
            # One that was stopped goes when it is told to, and was not killed.
            self.killed += self._woken.pop(process.pid, None) is None

    def _wake(self) -> None:
        now = time.monotonic()
        for process in self._processes:
            if process.pid not in self._asleep and _is_stopped(process.pid):
                self._asleep[process.pid] = now
        for pid, since in list(self._asleep.items()):
            if now - since > self._sleep:
                os.kill(pid, signal.SIGCONT)
                del self._asleep[pid]
                self._held.pop(pid, None)
                self._woken[pid] = now
                self.continued += 1

    def _dismiss(self) -> None:
        if not self._harms:
            return
        for process in self._processes:
            if time.monotonic() - self._woken.get(process.pid, math.inf) > _AFTERLIFE:
                process.terminate()


class Api:
    """Keeps the API alive on one port."""

    def __init__(self, spec: Spec, harms: Iterable[Harm]) -> None:
        self._spec = replace(spec, port=free_port())
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


def ask_scans(
    url: str, token: str, numbers: Iterable[int], asked: Asked, *, pause: float = 0.0, turn: int = 0
) -> None:
    """Each `turn` asks anew for the same adapters, whose earlier scans are over: content that is
    known is not rehearsed again."""
    for number in numbers:
        time.sleep(pause)
        body = {"repo_id": name_of(number)}
        key = f"scan-{turn}-{number}"
        asked.scans[key] = ask(url, token, "/v1/scans", body, key)


def ask_proofs(
    url: str, token: str, numbers: Iterable[int], asked: Asked, *, pause: float = 0.0, turn: int = 0
) -> None:
    """Each `turn` proves anew."""
    for number in numbers:
        time.sleep(pause)
        body = {"repo_id": name_of(number)}
        key = f"prove-{turn}-{number}"
        asked.proofs[key] = ask(url, token, "/v1/proofs", body, key)


Ask = Callable[..., None]


def insist(
    database: Database, url: str, token: str, ask: Ask, numbers: Iterable[int], asked: Asked
) -> None:
    """Ask, and ask anew for what was killed so often that it has failed, until all are done."""
    left = list(numbers)
    for turn in range(MOST_TURNS):
        before = set(asked.ids)
        ask(url, token, left, asked, turn=turn)
        ids = [each for each in asked.ids if each not in before]
        ended = zip(left, await_over(database, ids, 60), strict=True)
        left = [number for number, each in ended if each.state is not operations.State.SUCCEEDED]
        if not left:
            return
    raise AssertionError(f"{left} did not come to their end in {MOST_TURNS} turns")


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

        def query(text: str) -> list[Any]:
            return [tuple(row) for row in connection.execute(sa.text(text))]

        known = {
            row[0]: row[1:] for row in query("SELECT id, state, attempts, kind FROM operations")
        }
        _check_ends(known, query, asked)
        _check_records(query)
        _check_proofs(known, query, asked)
    return Counter(known[each][0] for each in asked.ids)


Known = dict[str, tuple[str, int, str]]
Query = Callable[[str], list[Any]]


def _check_ends(known: Known, query: Query, asked: Asked) -> None:
    """Each operation has ended, once, and no request made two of them."""
    assert [row for row in known.values() if row[0] in ("queued", "running")] == []
    done = query("SELECT operation_id FROM operation_events WHERE name = 'done'")
    ends = Counter(row[0] for row in done)
    assert set(ends) == set(known)
    assert set(ends.values()) == {1}
    kinds = Counter(kind for _, _, kind in known.values())
    assert kinds["scan"] == len(set(asked.scans.values())) == len(asked.scans)
    assert kinds["prove"] == len(set(asked.proofs.values())) == len(asked.proofs)
    tries = [attempts for state, attempts, _ in known.values() if state == "failed"]
    assert all(count > MOST_ATTEMPTS for count in tries), "only what was killed often may fail"


def _check_records(query: Query) -> None:
    """Each adapter has one current record, and no content was recorded twice."""
    current = query("SELECT adapter_repository_id FROM records WHERE current")
    assert len(current) == len(set(current))
    written = query("SELECT adapter_repository_id, content_digest FROM records")
    assert len(written) == len(set(written))


def _check_proofs(known: Known, query: Query, asked: Asked) -> None:
    """One proof for each operation that proved, and none of anything else."""
    proven = [row[0] for row in query("SELECT id FROM proofs")]
    succeeded = {each for each in asked.proofs.values() if known[each][0] == "succeeded"}
    assert len(proven) == len(set(proven))
    assert succeeded <= set(proven) <= set(asked.proofs.values())


@contextlib.contextmanager
def opened(url: str) -> Iterator[tuple[Database, Jobs]]:
    database = open_database(url)
    jobs = Jobs(database.writer)
    try:
        yield database, jobs
    finally:
        jobs.close()
        database.close()


def await_true(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.05)


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


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
