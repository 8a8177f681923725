"""Who was told that work is over reads what it found, and not what memory held meanwhile."""

# ruff: noqa: F811 (fixtures are imported, and named again as arguments)

from dataclasses import replace

import pytest

from registry.asking import ask_scan
from registry.db import operations
from registry.db.checkpoints import save_adapter, save_base
from registry.db.operations import State
from registry.db.records import save_record
from registry.domain.record import Evidence, Status
from registry.domain.refs import Reference
from registry.jobs import Priority
from tests.api.test_visibility import client  # noqa: F401
from tests.db.examples import adapter_facts, at, base_facts, record
from tests.engine.conftest import (  # noqa: F401
    database,
    engine_url,
    jobs,
    prepared_postgres,
    prepared_sqlite,
)

RECORD = "/v1/adapters/acme/chat-lora"


@pytest.fixture
def running(database, jobs):
    """A planned record, and the operation that rehearses it."""
    with database.transaction() as session:
        save_base(session, base_facts(record().base))
        save_adapter(session, adapter_facts(record().adapter))
        save_record(session, record(), scanned_at=at(0))
        asked = ask_scan(
            session, jobs, Reference("acme/chat-lora", "main"), priority=Priority.PERSON
        )
        _, attempt = operations.take(session, asked.id, "one")
    return attempt


def finish(database, attempt):
    rehearsed = replace(record(), status=Status.REHEARSED, evidence=Evidence.REHEARSED)
    with database.transaction() as session:
        save_record(session, rehearsed, scanned_at=at(1))
        operations.finish(session, attempt, State.SUCCEEDED, progress={"stage": "done"})


@pytest.mark.parametrize(
    "told",
    ["/v1/operations/{}", "/v1/operations/{}/events", "/operations/{}", "/operations/{}/live"],
)
def test_its_record_is_read_anew(client, database, running, told):
    client.app.state.records._fresh_seconds = 3600.0
    assert client.get(RECORD).json()["status"] == "planned"
    assert client.get(f"/v1/operations/{running.operation_id}").json()["state"] == "running"
    finish(database, running)
    assert client.get(RECORD).json()["status"] == "planned"
    assert client.get(told.format(running.operation_id)).status_code == 200
    assert client.get(RECORD).json()["status"] == "rehearsed"
    assert "rehearsed" in client.get("/adapters/acme/chat-lora").text
