"""SQLite is migrated when opened, PostgreSQL only when asked; and a rehearsal for real."""

import os
import uuid

import psycopg
import pytest

from tests.cli.publishing import publish_adapter, publish_base

SERVER = os.environ.get(
    "TEST_POSTGRES_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
)


@pytest.fixture(scope="module", autouse=True)
def published(hub):
    publish_base(hub)
    publish_adapter(hub, "acme/plain")


@pytest.fixture
def postgres_url():
    """An empty database of its own on the PostgreSQL server."""
    address = SERVER.replace("postgresql+psycopg://", "postgresql://")
    try:
        server = psycopg.connect(address, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        if "postgres" in os.environ.get("LOADPLAN_TEST_REQUIRE", ""):
            raise
        pytest.skip(f"no PostgreSQL server: {error}")
    name = f"loadplan_test_{uuid.uuid4().hex[:12]}"
    with server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield SERVER.rpartition("/")[0] + f"/{name}"
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.postgres
def test_an_unmigrated_postgresql_is_refused_until_it_is_migrated(loadplan, postgres_url):
    arguments = ("check", "acme/plain", "--require", "planned", "--json")
    before = loadplan(*arguments, LOADPLAN_DATABASE_URL=postgres_url)
    assert (before.exit_code, before.document["code"]) == (5, "database-not-migrated")
    assert "loadplan migrate" in before.err
    assert loadplan("migrate", LOADPLAN_DATABASE_URL=postgres_url).exit_code == 0
    after = loadplan(*arguments, LOADPLAN_DATABASE_URL=postgres_url)
    assert (after.exit_code, after.record["status"]) == (0, "planned"), after.err
    listed = loadplan("list", "--json", LOADPLAN_DATABASE_URL=postgres_url).document
    assert [row["adapter"]["repo_id"] for row in listed] == ["acme/plain"]


def test_sqlite_is_migrated_when_opened(loadplan, tmp_path):
    assert not (tmp_path / "registry.db").exists()
    assert loadplan("list", "--json").document == []
    assert (tmp_path / "registry.db").exists()


def test_a_file_that_is_no_database_is_our_failure(loadplan, tmp_path):
    (tmp_path / "registry.db").write_bytes(b"no database at all, but long enough" * 100)
    done = loadplan("list", "--json")
    assert (done.exit_code, done.document["code"]) == (5, "database-unavailable")
