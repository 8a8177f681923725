"""The application over a migrated database of its own, called as a client calls it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from registry.config import Settings
from registry.db.session import Database
from tests.db.conftest import (  # noqa: F401
    database,
    migrated_postgres,
    migrated_sqlite,
    migrated_url,
)


@pytest.fixture
def client(database: Database, migrated_url: str) -> Iterator[TestClient]:  # noqa: F811
    app = create_app(Settings(database_url=migrated_url), database=database)
    with TestClient(app, raise_server_exceptions=False, base_url="http://127.0.0.1") as client:
        yield client
