"""Fixtures for every test: a local Hub, databases of both kinds, the corpus."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy.engine import URL, make_url

from tests.data.bases import CORPUS
from tests.hub import LocalHub

# The developer's own Hub and product settings must not reach a test. This runs before
# huggingface_hub is imported, which reads its variables once.
for name in list(os.environ):
    if name.startswith(("HF_", "LOADPLAN_")) and not name.startswith("LOADPLAN_TEST_"):
        del os.environ[name]
_HF_HOME = tempfile.TemporaryDirectory(prefix="loadplan-hf-")
os.environ.update(
    HF_HOME=_HF_HOME.name,
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    # Otherwise transformers asks the Hub, in a thread, to convert every pickle it meets.
    DISABLE_SAFETENSORS_CONVERSION="1",
)

# A busy machine makes no test fail: time is measured by the bench alone.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

DEFAULT_POSTGRES = "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    """An empty local Hub of the test's own."""
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="module")
def shared_hub() -> Iterator[LocalHub]:
    """A local Hub for the tests of one file that only read from it."""
    with LocalHub() as running:
        yield running


@pytest.fixture(scope="session")
def postgres_server() -> URL:
    """The PostgreSQL server to make databases on. No server skips the test, or fails it where
    LOADPLAN_TEST_REQUIRE names postgres."""
    url = make_url(os.environ.get("TEST_POSTGRES_URL", DEFAULT_POSTGRES))
    try:
        with _connect(url):
            return url
    except psycopg.OperationalError as error:
        reason = f"no PostgreSQL server at {url.host}:{url.port} (TEST_POSTGRES_URL): {error}"
        if "postgres" in os.environ.get("LOADPLAN_TEST_REQUIRE", ""):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """A new, empty PostgreSQL database, dropped after the test."""
    name = f"loadplan_test_{uuid.uuid4().hex[:16]}"
    with _connect(postgres_server) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield postgres_server.set(database=name).render_as_string(hide_password=False)
    with _connect(postgres_server) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'loadplan.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real adapters and bases beside the checkout."""
    if not CORPUS.is_dir():
        pytest.skip(f"the corpus of real adapters is not at {CORPUS}")
    return CORPUS


def _connect(url: URL) -> psycopg.Connection:
    return psycopg.connect(
        host=url.host,
        port=url.port,
        user=url.username,
        password=url.password,
        dbname=url.database,
        autocommit=True,
        connect_timeout=5,
    )
