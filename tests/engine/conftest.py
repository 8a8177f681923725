"""Databases that hold the registry's tables and the engine's, each copied from one made once."""

import shutil
import uuid

import pytest
import sqlalchemy as sa

from migrations.upgrade import upgrade
from registry.db.session import open_database
from registry.jobs import Jobs, prepare


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("prepared") / "loadplan.db"
    upgrade(f"sqlite:///{path}")
    prepare(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def prepared_postgres(postgres_server):
    """The name of a database to copy: the engine's migrations alone take seconds."""
    name = f"loadplan_test_{uuid.uuid4().hex[:16]}"
    server = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}"'))
    url = postgres_server.set(database=name).render_as_string(hide_password=False)
    upgrade(url)
    prepare(url)
    yield name
    with server.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    server.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine_url(request, tmp_path):
    if request.param == "sqlite":
        template = request.getfixturevalue("prepared_sqlite")
        yield f"sqlite:///{shutil.copy(template, tmp_path / 'loadplan.db')}"
        return
    server_url = request.getfixturevalue("postgres_server")
    template = request.getfixturevalue("prepared_postgres")
    name = f"loadplan_test_{uuid.uuid4().hex[:16]}"
    server = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    yield server_url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    server.dispose()


@pytest.fixture
def database(engine_url):
    opened = open_database(engine_url)
    yield opened
    opened.close()


@pytest.fixture
def jobs(database):
    opened = Jobs(database.writer)
    yield opened
    opened.close()
