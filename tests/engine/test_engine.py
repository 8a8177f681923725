"""The engine as it is run: `loadplan serve` alone, and several workers on one database."""

import os
import re
import signal
import subprocess
import sys

import httpx2
import pytest
import sqlalchemy as sa

from registry.asking import ask_batch
from registry.client import Client
from registry.domain.refs import Reference
from registry.jobs import Priority
from tests.chaos import harness
from tests.chaos.harness import Crew
from tests.chaos.worker import Spec
from tests.cli.publishing import publish_adapter, publish_base
from tests.engine.publishing import name_of, publish_60
from tests.hub.process import HubProcess

MANY = 60
IN_A_BATCH = 6


@pytest.fixture(scope="module")
def many_hub():
    with HubProcess(f"{publish_60.__module__}:{publish_60.__name__}") as hub:
        yield hub


def test_several_workers_on_one_database_record_everything_once(engine_url, many_hub, tmp_path):
    workers = 2 if engine_url.startswith("sqlite") else 5
    spec = Spec(engine_url, many_hub.url, str(tmp_path), queues=("scan",))
    references = [Reference(name_of(number), "main") for number in range(MANY)]
    batches = [references[at : at + IN_A_BATCH] for at in range(0, MANY, IN_A_BATCH)]
    with harness.opened(engine_url) as (database, jobs), Crew(spec, [], size=workers) as crew:
        ids = [
            database.write(
                lambda session, batch=batch: ask_batch(
                    session, jobs, batch, priority=Priority.CRAWL
                )
            ).id
            for batch in batches
        ]
        found = harness.await_over(database, ids, 60)
        with database.reading() as connection:
            recorded = connection.execute(
                sa.text("SELECT count(*), count(DISTINCT adapter_content) FROM records")
            ).one()
    assert {each.state.value for each in found} == {"succeeded"}
    assert {each.attempts for each in found} == {1}
    assert tuple(recorded) == (MANY, MANY)
    assert crew.killed == 0
    said = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert '"level": "error"' not in said
    assert "locked" not in said


@pytest.mark.parametrize("engine_url", ["sqlite"], indirect=True)
def test_one_command_is_a_service_that_scans_and_rehearses(hub, engine_url, tmp_path):
    publish_base(hub)
    publish_adapter(hub, "acme/lora")
    port = harness.free_port()
    environment = {**os.environ, "LOADPLAN_DATABASE_URL": engine_url, "HF_ENDPOINT": hub.url}
    command = [sys.executable, "-c", "from registry.cli.main import main; main()"]
    made = subprocess.run(
        [*command, "token", "create", "--name", "n", "--scope", "scan"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    with (tmp_path / "serve.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "serve", "--port", str(port)], env=environment, stderr=log
        )
    try:
        with Client(f"http://127.0.0.1:{port}", made.stdout.strip()) as client:
            harness.await_true(lambda: is_up(client), 60)
            asked = client.request_scan({"repo_id": "acme/lora"})
            done = client.wait(asked["id"], seconds=120)
            record = client.record("acme/lora")
        # What the Hub's answers said of the quota comes with the next heartbeat.
        harness.await_true(lambda: 0 < quota_left(port) < 1_000_000, 30)
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(timeout=40)
    assert done["state"] == "succeeded", done
    assert record["status"] == "rehearsed"
    assert code == 0
    # Stopped in order: nobody has to wait until this worker is missed.
    assert '"event": "worker-stopped"' in (tmp_path / "serve.log").read_text()


def quota_left(port):
    said = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    found = re.search(r'^loadplan_hub_quota_remaining\{bucket="api"\} (\S+)$', said, re.MULTILINE)
    return float(found[1]) if found else 0.0


def is_up(client):
    try:
        return list(client.adapters()) == []
    except Exception:
        return False
