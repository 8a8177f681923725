"""Migrated databases of both kinds, each copied from one that was migrated once."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrations.upgrade import upgrade
from registry.db.session import Database, open_database


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "loadplan.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def server(postgres_server: sa.URL) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def migrated_postgres(server: sa.Engine) -> Iterator[str]:
    with _new_database(server) as url:
        upgrade(url.render_as_string(hide_password=False))
        yield str(url.database)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new database at the newest migration, once of each kind."""
    if request.param == "sqlite":
        template = request.getfixturevalue("migrated_sqlite")
        yield f"sqlite:///{shutil.copy(template, tmp_path / 'loadplan.db')}"
        return
    template = request.getfixturevalue("migrated_postgres")
    with _new_database(request.getfixturevalue("server"), template) as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    opened = open_database(migrated_url)
    yield opened
    opened.close()


@contextmanager
def _new_database(server: sa.Engine, template: str = "template1") -> Iterator[sa.URL]:
    """A database under a name of its own, dropped at the end."""
    name = f"loadplan_test_{uuid.uuid4().hex[:16]}"
    with server.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    yield server.url.set(database=name)
    with server.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))
