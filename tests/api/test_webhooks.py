"""`POST /v1/webhooks/hub`: there with a secret alone, opened by the secret alone, 202 at once."""

# ruff: noqa: F811 (fixtures are imported, and named again as arguments)

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from api.app import create_app
from api.routes.webhooks import MAX_BYTES
from registry.config import Settings
from registry.db import hub_events
from registry.db.checkpoints import save_adapter, save_base
from registry.db.records import save_record
from tests.api.test_reading import assert_problem
from tests.db.examples import adapter_facts, at, base_facts, commit, record
from tests.engine.conftest import (  # noqa: F401
    database,
    engine_url,
    prepared_postgres,
    prepared_sqlite,
)
from tests.watching.conftest import event, logged, push  # noqa: F401

SECRET = "correct horse battery staple"
PATH = "/v1/webhooks/hub"
HEADERS = {"X-Webhook-Secret": SECRET}


def client_of(database, url, **settings):
    app = create_app(Settings(database_url=url, **settings), database=database)
    return TestClient(app, raise_server_exceptions=False, base_url="http://127.0.0.1")


@pytest.fixture
def client(database, engine_url):
    with client_of(database, engine_url, hub_webhook_secret=SECRET) as client:
        yield client


def count(database, table):
    with database.reading() as connection:
        return connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar()


def test_without_a_secret_the_endpoint_does_not_exist(database, engine_url):
    with client_of(database, engine_url) as client:
        for method in ("POST", "GET", "DELETE"):
            answer = client.request(method, PATH, json=push("acme/x", commit(1)), headers=HEADERS)
            assert_problem(answer, 404, "route-not-found")
        assert PATH not in client.get("/openapi.json").json()["paths"]


def test_an_event_is_accepted_noted_and_queued(client, database):
    answer = client.post(PATH, json=push("acme/x", commit(1)), headers=HEADERS)
    assert (answer.status_code, answer.json()) == (202, {"noted": 1, "repeated": 0})
    again = client.post(PATH, json=push("acme/x", commit(1)), headers=HEADERS)
    assert (again.status_code, again.json()) == (202, {"noted": 0, "repeated": 1})
    assert (count(database, "hub_events"), count(database, "operations")) == (1, 1)
    assert PATH in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Webhook-Secret": ""},
        {"X-Webhook-Secret": SECRET.upper()},
        {"X-Webhook-Secret": SECRET + " x"},
        {"X-Webhook-Secret": SECRET[:-1]},
        {"X-Webhook-Secret": "ü" * 28},
        {"Authorization": f"Bearer {SECRET}"},
    ],
    ids=["missing", "empty", "case", "longer", "shorter", "other bytes", "elsewhere"],
)
def test_a_missing_or_wrong_secret_is_refused_and_leaves_no_trace(client, database, headers):
    sent = {name: value.encode() for name, value in headers.items()}
    answer = client.post(PATH, json=push("acme/x", commit(1)), headers=sent)
    assert_problem(answer, 401, "webhook-secret-wrong")
    assert SECRET not in answer.text
    assert count(database, "hub_events") == 0


def test_a_secret_in_the_url_is_refused_even_beside_the_right_header(client, database):
    answer = client.post(f"{PATH}?secret={SECRET}", json=push("acme/x", commit(1)), headers=HEADERS)
    assert_problem(answer, 401, "webhook-secret-wrong")
    assert count(database, "hub_events") == 0


def test_the_secret_is_compared_in_constant_time(client, monkeypatch):
    import hmac

    compared = []

    def compare(one, other):
        compared.append((one, other))
        return real(one, other)

    real = hmac.compare_digest
    monkeypatch.setattr("api.routes.webhooks.hmac.compare_digest", compare)
    client.post(PATH, json={}, headers={"X-Webhook-Secret": "guess"})
    assert compared == [(b"guess", SECRET.encode())]


def test_a_wrong_secret_is_refused_before_the_body_is_read(client):
    big = b"x" * (MAX_BYTES + 1)
    assert_problem(client.post(PATH, content=big), 401, "webhook-secret-wrong")
    answer = client.post(PATH, content=big, headers=HEADERS)
    assert_problem(answer, 413, "body-too-large")


def test_a_body_just_within_the_limit_is_read(client):
    body = push("acme/x", commit(1))
    body["padding"] = ""
    body["padding"] = "x" * (MAX_BYTES - len(json.dumps(body)))
    text = json.dumps(body)
    assert len(text) == MAX_BYTES
    assert client.post(PATH, content=text, headers=HEADERS).status_code == 202
    assert_problem(client.post(PATH, content=text + " ", headers=HEADERS), 413, "body-too-large")


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"{}", b"\xff", b'"x"', b"[" * 100_000, b'{"event": {}}']
)
def test_what_is_no_event_is_refused(client, database, body):
    assert_problem(client.post(PATH, content=body, headers=HEADERS), 422, "invalid-request")
    assert count(database, "hub_events") == 0


def test_events_of_no_interest_are_accepted_so_that_the_hub_goes_on_sending(client, database):
    for body in (
        push("acme/x", commit(1), scope="discussion.comment"),
        push("acme/x", commit(1), scope="something.new"),
        event("acme/x", ("refs/pr/1", commit(1))),
    ):
        assert client.post(PATH, json=body, headers=HEADERS).status_code == 202
    assert (count(database, "hub_events"), count(database, "operations")) == (0, 0)


def test_a_burst_of_a_thousand_events_loses_none(client, database):
    """From eight senders at once, every fourth of them twice."""
    bodies = [push(f"burst/lora-{n % 250}", commit(n)) for n in range(1000)]
    sent = bodies + bodies[::4]

    def post(body):
        return client.post(PATH, json=body, headers=HEADERS).status_code

    with ThreadPoolExecutor(8) as senders:
        assert set(senders.map(post, sent)) == {202}
    assert count(database, "hub_events") == 1000
    assert count(database, "operations") == 250
    with database.reading() as connection:
        told = hub_events.list_waiting(connection, action="update", limit=2000)
    # Each is at work: the scan of its repository is open.
    assert told == []


def test_made_private_is_forgotten_at_once_also_by_memory(client, database):
    one = record()
    with database.transaction() as session:
        save_base(session, base_facts(one.base))
        save_adapter(session, adapter_facts(one.adapter))
        save_record(session, one, scanned_at=at(0))
    place = f"/v1/adapters/{one.adapter.repo_id}"
    badge = f"/badges/{one.adapter.repo_id}.json"
    absent = client.get("/badges/acme/never-heard-of.json").json()
    # Fresh in memory, so that the next look would not ask the database.
    assert client.get(place).status_code == 200
    assert client.get(badge).json()["message"] == "planned"
    told = event(one.adapter.repo_id, scope="repo.config", updatedConfig={"private": True})
    assert client.post(PATH, json=told, headers=HEADERS).status_code == 202
    assert_problem(client.get(place), 404, "adapter-not-recorded")
    assert client.get("/v1/adapters").json() == []
    assert client.get(badge).json() == absent
    assert client.post("/v1/plans", json=[{"repo_id": one.adapter.repo_id}]).json()[0]["problem"]


def test_no_secret_and_no_name_reaches_the_log(logged, client):
    client.post(PATH, json=push("acme/quiet-name", commit(1)), headers=HEADERS)
    client.post(f"{PATH}?secret={SECRET}", json={}, headers={})
    lines = logged.getvalue()
    assert "/v1/webhooks/hub" in lines
    assert SECRET not in lines
    assert "quiet-name" not in lines
