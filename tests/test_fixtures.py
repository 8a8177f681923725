"""The root fixtures: databases come and go, and a missing server is never passed over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import URL, make_url

ROOT = Path(__file__).resolve().parents[1]
ASKED = {"sqlite": "sqlite", "postgres": "postgresql"}
NO_SERVER = "postgresql+psycopg://postgres@127.0.0.1:1/postgres"


def test_a_database_is_new_and_of_the_asked_kind(
    database_url: str, request: pytest.FixtureRequest
) -> None:
    engine = create_engine(database_url)
    assert engine.dialect.name == ASKED[request.node.callspec.params["database_url"]]
    assert inspect(engine).get_table_names() == []
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE marks (id INTEGER)"))
    engine.dispose()
    print(f"used {make_url(database_url).database}")


@pytest.mark.postgres
def test_databases_of_two_tests_are_dropped(postgres_server: URL) -> None:
    done = _run("test_a_database_is_new_and_of_the_asked_kind", {})
    assert "2 passed" in done.stdout
    (used,) = re.findall(r"used (loadplan_test_\w+)", done.stdout)
    assert used not in _databases(postgres_server)


def test_without_a_server_a_test_is_skipped_with_the_reason() -> None:
    done = _run(
        "test_a_database_is_new_and_of_the_asked_kind",
        {"TEST_POSTGRES_URL": NO_SERVER, "LOADPLAN_TEST_REQUIRE": ""},
    )
    assert done.returncode == 0
    assert "1 passed, 1 skipped" in done.stdout
    assert "no PostgreSQL server at 127.0.0.1:1" in done.stdout


def test_without_a_server_that_is_required_a_test_fails() -> None:
    environment = {"TEST_POSTGRES_URL": NO_SERVER, "LOADPLAN_TEST_REQUIRE": "postgres"}
    done = _run("test_a_database_is_new_and_of_the_asked_kind", environment)
    assert done.returncode == 1
    assert "1 error" in done.stdout


def test_the_developers_own_settings_do_not_reach_a_test() -> None:
    environment = {"HF_TOKEN": "hf_mine", "LOADPLAN_PORT": "1", "HF_ENDPOINT": "http://x.invalid"}
    done = _run("test_no_setting_of_the_developer_is_left", environment)
    assert done.returncode == 0, done.stdout


def test_no_setting_of_the_developer_is_left() -> None:
    left = [name for name in os.environ if name.startswith("LOADPLAN_")]
    assert [name for name in left if not name.startswith("LOADPLAN_TEST_")] == []
    assert "HF_TOKEN" not in os.environ
    assert "HF_ENDPOINT" not in os.environ
    assert "loadplan-hf-" in os.environ["HF_HOME"]


def _run(test: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """One test of this file in a pytest of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-s", "-k", test, __file__],
        env={**kept, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def _databases(server: URL) -> set[str]:
    url = make_url(server)
    with psycopg.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database
    ) as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    return {name for (name,) in rows}
