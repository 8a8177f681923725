"""Pages over 100,000 records and 2,000 layouts, on SQLite and PostgreSQL; plans as records grow.

Each figure is a median over requests that differ: nothing is answered from what an earlier one
left in memory. TEST_POSTGRES_URL names a PostgreSQL server; without one its figures are left out.
LOADPLAN_TEST_RECORDS makes the registry smaller.
"""

from __future__ import annotations

import logging
import os
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import sqlalchemy as sa
from starlette.testclient import TestClient

from api.app import create_app
from api.reading import RecordReader
from registry import logs
from registry.config import Settings
from tests.bench.figures import Figure
from tests.bench.many import BASES, WORDS, generate, name_of

RECORDS = int(os.environ.get("LOADPLAN_TEST_RECORDS", "100000"))
LAYOUTS = 2_000
FEW, FEW_LAYOUTS = 1_000, 200
WANTED_MS, WANTED_RATIO = 150.0, 1.2
ROUNDS, PLANS = 40, 500
_HTML = {"Accept": "text/html", "X-Forwarded-For": "bench"}
_DEFAULT_POSTGRES = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"


def run() -> list[Figure]:
    figures: list[Figure] = []
    for dialect, databases in (("SQLite", _sqlite), ("PostgreSQL", new_postgres)):
        with databases() as urls:
            if urls is None:
                figures.append(Figure(f"{dialect}: no server", "not measured"))
                continue
            few, many = urls
            generate(few, FEW, FEW_LAYOUTS)
            generate(many, RECORDS, LAYOUTS)
            figures += _measure(dialect, few, many)
    return figures


def _measure(dialect: str, few: str, many: str) -> list[Figure]:
    chance = random.Random(1)
    with _client(many) as client:
        figures = [
            _page(dialect, client, "browse with facets", lambda: _browse(chance)),
            _page(dialect, client, "browse, filtered", lambda: _filtered(chance)),
            _page(dialect, client, "search", lambda: _search(chance)),
            _page(dialect, client, "adapter page", lambda: f"/adapters/{_any(chance, RECORDS)}"),
            _page(dialect, client, "base page", lambda: f"/bases/{chance.choice(BASES)}"),
        ]
    return [*figures, _plan_ratio(dialect, few, many)]


def _page(dialect: str, client: TestClient, name: str, path: Callable[[], str]) -> Figure:
    median = _median(client, path)
    value = f"{median:.0f} ms"
    return Figure(f"{dialect}: {name}", value, f"≤ {WANTED_MS:.0f} ms", median <= WANTED_MS)


def _median(client: TestClient, path: Callable[[], str], rounds: int = ROUNDS) -> float:
    taken = []
    for place in range(rounds + 3):
        asked = path()
        started = time.perf_counter()
        answer = client.get(asked, headers=_HTML)
        seconds = time.perf_counter() - started
        assert answer.status_code == 200, (asked, answer.status_code)
        # The first ones compile templates and statements.
        if place >= 3:
            taken.append(seconds * 1000)
    return statistics.median(taken)


def _plan_ratio(dialect: str, few: str, many: str) -> Figure:
    """One of the few, one of the many, in turn, so that whatever else runs slows both."""
    chance = random.Random(2)
    taken: dict[int, list[float]] = {FEW: [], RECORDS: []}
    with _client(few) as small, _client(many) as large:
        for place in range(PLANS):
            for client, count in ((small, FEW), (large, RECORDS)):
                asked = f"/v1/adapters/{_any(chance, count)}/plan"
                started = time.perf_counter()
                assert client.get(asked).status_code == 200
                if place >= PLANS // 10:
                    taken[count].append((time.perf_counter() - started) * 1000)
    before, after = (statistics.median(values) for values in taken.values())
    value = f"{after / before:.2f} times ({before:.2f} → {after:.2f} ms)"
    return Figure(
        f"{dialect}: a plan at {RECORDS:,} records against {FEW:,}",
        value,
        f"≤ {WANTED_RATIO} times",
        after / before <= WANTED_RATIO,
    )


def _any(chance: random.Random, count: int) -> str:
    return name_of(chance.randrange(count))


def _browse(chance: random.Random) -> str:
    return f"/?sort={chance.choice(('newest', 'oldest', 'name'))}"


def _filtered(chance: random.Random) -> str:
    status = chance.choice(("planned", "incompatible"))
    return f"/?status={status}&base={quote(chance.choice(BASES), safe='')}"


def _search(chance: random.Random) -> str:
    return f"/?q={chance.choice(WORDS)}-lora-{chance.randrange(RECORDS // 1000):03d}"


@contextmanager
def _client(url: str) -> Iterator[TestClient]:
    app = create_app(Settings(database_url=url))
    # A line for each request would hide the figures.
    logs.configure(logging.WARNING)
    # A reader's quota is not what is measured.
    app.state.quotas.spend = lambda caller, address: {}
    with TestClient(app) as client:
        # Few records would often be answered from memory, of many hardly one.
        app.state.records = RecordReader(app.state.database, fresh_seconds=-1.0)
        yield client


@contextmanager
def _sqlite() -> Iterator[tuple[str, str] | None]:
    with tempfile.TemporaryDirectory(prefix="loadplan-bench-") as folder:
        yield f"sqlite:///{Path(folder) / 'few.db'}", f"sqlite:///{Path(folder) / 'many.db'}"


@contextmanager
def new_postgres() -> Iterator[tuple[str, str] | None]:
    server = sa.make_url(os.environ.get("TEST_POSTGRES_URL", _DEFAULT_POSTGRES))
    names = [f"loadplan_bench_{uuid.uuid4().hex[:12]}" for _ in range(2)]
    try:
        for name in names:
            _execute(server, f'CREATE DATABASE "{name}"')
    except psycopg.OperationalError:
        yield None
        return
    try:
        few, many = (
            server.set(database=name).render_as_string(hide_password=False) for name in names
        )
        yield few, many
    finally:
        for name in names:
            with suppress(psycopg.OperationalError):
                _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(server: sa.URL, statement: str) -> None:
    with psycopg.connect(
        host=server.host,
        port=server.port,
        user=server.username,
        password=server.password,
        dbname=server.database,
        autocommit=True,
        connect_timeout=5,
    ) as connection:
        connection.execute(statement)
