"""From the Hub's webhook to recorded shapes, and to a rehearsed plan, in `loadplan serve`."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from registry.db.records import find_record
from registry.db.session import Database
from registry.domain.record import Evidence
from tests.bench.figures import Figure
from tests.cli.publishing import adapter_files, publish_base
from tests.data.adapters import Lora
from tests.hub import LocalHub
from tests.watching.conftest import push
from tests.watching.service import opened, send, served

COUNT = 40
# Pushes come one after the other, as they do: an organisation does not publish forty at once.
_EVERY = 1.0
_PATIENCE = 120.0
_LOOK = 0.02
RECORDED, REHEARSED = 5.0, 15.0


@dataclass
class Told:
    """An event that was accepted, and when what it led to was first seen. Seconds."""

    name: str
    sha: str
    at: float
    recorded: float | None = None
    rehearsed: float | None = None


def run() -> list[Figure]:
    with LocalHub() as hub, tempfile.TemporaryDirectory() as folder:
        publish_base(hub)
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        with served(url, hub, Path(folder)) as address, opened(url) as database:
            # The first rehearsal waits for imports, which is not what is measured.
            _await([_tell(hub, address, "warm/up", 1)], database)
            told = []
            for number in range(COUNT):
                told.append(_tell(hub, address, f"acme/lora-{number}", number + 2))
                _look(told, database, until=time.monotonic() + _EVERY)
            _await(told, database)
    recorded = [each.recorded for each in told if each.recorded is not None]
    rehearsed = [each.rehearsed for each in told if each.rehearsed is not None]
    return [
        Figure("events, one a second, all recorded", f"{len(recorded)} of {COUNT}"),
        _p95("webhook to recorded shapes, 95th percentile", recorded, RECORDED),
        Figure("… median", f"{statistics.median(recorded):.2f} s"),
        _p95("webhook to rehearsed, 95th percentile", rehearsed, REHEARSED),
        Figure("… median", f"{statistics.median(rehearsed):.2f} s"),
    ]


def _p95(name: str, seconds: list[float], wanted: float) -> Figure:
    found = statistics.quantiles(seconds, n=20, method="inclusive")[-1]
    met = found < wanted and len(seconds) == COUNT
    return Figure(name, f"{found:.2f} s", f"under {wanted:g} s", met)


def _tell(hub: LocalHub, address: str, name: str, alpha: int) -> Told:
    sha = hub.add_commit(name, adapter_files(Lora(alpha=alpha)))
    at = time.monotonic()
    assert send(address, push(name, sha)).status_code == 202
    return Told(name, sha, at)


def _await(told: list[Told], database: Database) -> None:
    deadline = time.monotonic() + _PATIENCE
    while any(each.rehearsed is None for each in told) and time.monotonic() < deadline:
        _look(told, database, until=time.monotonic() + 1)


def _look(told: list[Told], database: Database, *, until: float) -> None:
    while time.monotonic() < until:
        for each in told:
            if each.rehearsed is None:
                _note(each, database)
        time.sleep(_LOOK)


def _note(told: Told, database: Database) -> None:
    with database.reading() as connection:
        found = find_record(connection, repo_id=told.name)
    if found is None or found.record.adapter.commit_sha != told.sha:
        return
    seconds = time.monotonic() - told.at
    told.recorded = told.recorded or seconds
    if found.record.evidence is Evidence.REHEARSED:
        told.rehearsed = seconds
