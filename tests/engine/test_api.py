"""Asking over HTTP: tokens and scopes, one operation per request, keys, waiting, events, cancel."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from api.app import create_app
from api.asking import parse_wait
from registry.config import Settings
from registry.db import operations
from registry.db.models import IdempotencyKeyRow
from registry.db.operations import State
from registry.db.records import save_record
from registry.db.repositories import save_access
from registry.domain.refs import Source
from registry.errors import HubUnreachable
from tests.data.bearers import make_bearer
from tests.db import examples
from workers.performing import problem_of


@pytest.fixture
def app(database, engine_url):
    return create_app(Settings(database_url=engine_url), database=database)


@pytest.fixture
def client(app):
    with TestClient(app, raise_server_exceptions=False, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def bearer(database):
    def make(*scopes, name="someone", visible=()):
        return {"Authorization": f"Bearer {make_bearer(database, name, scopes, visible=visible)}"}

    return make


PAIR = {"repo_id": "acme/lora"}


def end(database, operation_id, state=State.SUCCEEDED, **more):
    def work(session):
        _, attempt = operations.take(session, operation_id, "one")
        operations.note(session, attempt, {"stage": "reading", "done": 0, "total": 1})
        operations.finish(session, attempt, state, progress={"stage": "done"}, **more)

    database.write(work)


def count_operations(database):
    with database.reading() as connection:
        return connection.execute(sa.text("SELECT count(*) FROM operations")).scalar()


def test_asking_needs_a_token_with_the_scope(client, bearer):
    for path, scope, other in (("/v1/scans", "scan", "prove"), ("/v1/proofs", "prove", "scan")):
        nobody = client.post(path, json=PAIR)
        assert (nobody.status_code, nobody.json()["code"]) == (401, "token-missing")
        assert nobody.headers["WWW-Authenticate"] == "Bearer"
        wrong = client.post(path, json=PAIR, headers=bearer(other, name=f"no-{scope}"))
        assert (wrong.status_code, wrong.json()["code"]) == (403, "token-scope-missing")


def test_a_scan_is_accepted_with_where_to_look(client, bearer, jobs):
    answer = client.post("/v1/scans", json=PAIR, headers=bearer("scan"))
    document = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/operations/{document['id']}"
    assert answer.headers["Retry-After"] == "1"
    assert (document["kind"], document["state"]) == ("scan", "queued")
    assert jobs.list_open([document["id"]]) == [document["id"]]
    assert client.get(answer.headers["Location"]).json() == document


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"repo_id": "gpt2"}, "repo_id"),
        ({"repo_id": "./folder"}, "repo_id"),
        ({"repo_id": "a/b", "revision": "x y"}, "revision"),
        ({"repo_id": "a/b", "subfolder": "../up"}, "subfolder"),
        ({"repo_id": "a/b", "base": "c/d@"}, "base"),
        ({"repo_id": "a/b", "subfolder": "nul\0"}, "subfolder"),
    ],
)
def test_what_is_no_adapter_is_refused_and_nothing_is_asked(client, bearer, database, body, field):
    answer = client.post("/v1/scans", json=body, headers=bearer("scan"))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    assert answer.json()["field"] == field
    assert count_operations(database) == 0


def test_identical_requests_in_flight_are_one_operation_and_main_is_the_default(client, bearer):
    headers = bearer("scan")
    first = client.post("/v1/scans", json=PAIR, headers=headers).json()["id"]
    again = client.post("/v1/scans", json={**PAIR, "revision": "main"}, headers=headers).json()
    other = client.post("/v1/scans", json={**PAIR, "revision": "dev"}, headers=headers).json()
    assert again["id"] == first
    assert other["id"] != first


def test_an_idempotency_key_is_answered_with_its_operation_even_when_that_is_over(
    client, bearer, database
):
    headers = {**bearer("scan"), "Idempotency-Key": "k-1"}
    first = client.post("/v1/scans", json=PAIR, headers=headers).json()["id"]
    end(database, first)
    again = client.post("/v1/scans", json=PAIR, headers=headers)
    assert again.json()["id"] == first
    assert count_operations(database) == 1
    reused = client.post("/v1/scans", json={"repo_id": "acme/other"}, headers=headers)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency-key-reused")
    # The key is its caller's own: another caller's request is another request.
    other = {**bearer("scan", name="other"), "Idempotency-Key": "k-1"}
    assert client.post("/v1/scans", json=PAIR, headers=other).json()["id"] != first


def test_an_idempotency_key_is_forgotten_after_a_day(client, bearer, database):
    headers = {**bearer("scan"), "Idempotency-Key": "k-1"}
    first = client.post("/v1/scans", json=PAIR, headers=headers).json()["id"]
    end(database, first)
    with database.transaction() as session:
        session.execute(
            sa.update(IdempotencyKeyRow).values(created_at=datetime.now(UTC) - timedelta(hours=25))
        )
    assert client.post("/v1/scans", json=PAIR, headers=headers).json()["id"] != first


def test_a_key_whose_first_request_is_not_answered_yet_conflicts(client, bearer, database):
    headers = {**bearer("scan"), "Idempotency-Key": "k-1"}
    client.post("/v1/scans", json=PAIR, headers=headers)
    with database.transaction() as session:
        session.execute(sa.update(IdempotencyKeyRow).values(status=None))
    answer = client.post("/v1/scans", json=PAIR, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency-key-in-flight")


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "x" * 201])
def test_a_key_that_is_no_key_is_refused(client, bearer, key):
    headers = {**bearer("scan"), "Idempotency-Key": key.encode("latin-1")}
    answer = client.post("/v1/scans", json=PAIR, headers=headers)
    assert answer.status_code == 422


def test_prefer_wait_answers_with_the_end_or_after_the_time(client, bearer, database):
    headers = bearer("scan")
    started = time.monotonic()
    slow = client.post("/v1/scans", json=PAIR, headers={**headers, "Prefer": "wait=1"})
    assert slow.status_code == 202
    assert slow.headers["Preference-Applied"] == "wait=1"
    assert time.monotonic() - started >= 0.9
    ending = threading.Timer(0.5, end, (database, slow.json()["id"]))
    ending.start()
    quick = client.post("/v1/scans", json=PAIR, headers={**headers, "Prefer": "wait=20"})
    ending.join()
    assert (quick.status_code, quick.json()["state"]) == (200, "succeeded")
    assert quick.json()["result_url"] == "/v1/adapters/acme/lora"


def test_reading_with_a_scan_token_and_a_preferred_wait_scans_first(client, bearer, database):
    path, prefer = "/v1/adapters/acme/lora/plan", {"Prefer": "wait=20"}
    assert client.get(path, headers=prefer).json()["code"] == "adapter-not-recorded"
    assert count_operations(database) == 0
    record = examples.record(examples.ref("acme/lora", 1), examples.ref("acme/base", 2))

    def scan():
        with database.reading() as connection:
            (asked,) = operations.list_open(connection, created_before=datetime.now(UTC), limit=2)
        with database.transaction() as session:
            save_record(session, record, scanned_at=examples.at(0))
        end(database, asked.id)

    scanning = threading.Timer(0.7, scan)
    scanning.start()
    answer = client.get(path, headers={**bearer("scan"), **prefer})
    scanning.join()
    assert (answer.status_code, answer.json()["status"]) == (200, record.status.value)
    client.get(path, headers={**bearer("scan", name="again"), **prefer})
    assert count_operations(database) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, 0), ("wait=5", 5), ('respond-async, wait="7"', 7), ("wait=9999", 60), ("wait=x", 0)],
)
def test_the_preferred_wait_is_read_and_capped(text, seconds):
    assert parse_wait(text) == seconds


def test_a_failed_operation_says_what_failed_as_a_problem(client, bearer, database):
    asked = client.post("/v1/scans", json=PAIR, headers=bearer("scan")).json()["id"]
    end(database, asked, State.FAILED, problem=problem_of(HubUnreachable()))
    document = client.get(f"/v1/operations/{asked}").json()
    assert (document["state"], document["result_url"]) == ("failed", None)
    assert document["problem"]["code"] == "hub-unreachable"
    assert document["problem"]["type"] == "/problems/hub-unreachable"


def test_an_operation_is_cancelled_once(client, bearer, jobs):
    headers = bearer("scan")
    location = client.post("/v1/scans", json=PAIR, headers=headers).headers["Location"]
    assert client.delete(location).status_code == 401
    assert client.delete(location, headers=bearer("prove", name="p")).status_code == 403
    answer = client.delete(location, headers=headers)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert jobs.list_open([answer.json()["id"]]) == []
    again = client.delete(location, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "operation-finished")


@pytest.mark.parametrize("path", ["/v1/operations/none", "/v1/operations/none/events"])
def test_an_operation_that_never_was_is_not_found(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "operation-not-found")


def read_stream(client, path, **headers):
    """The events of a stream that ends, as (id, name, data)."""
    with client.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = "".join(answer.iter_text()).strip().split("\n\n")
    found = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "id" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def test_events_are_streamed_to_the_end_and_resumed_where_they_broke_off(client, bearer, database):
    location = client.post("/v1/scans", json=PAIR, headers=bearer("scan")).headers["Location"]
    ending = threading.Timer(0.6, end, (database, location.rpartition("/")[2]))
    ending.start()
    events = read_stream(client, f"{location}/events")
    ending.join()
    assert [name for _, name, _ in events] == ["queued", "progress", "done"]
    assert events[-1][2] == {"state": "succeeded", "problem": None}
    ids = [event_id for event_id, _, _ in events]
    assert ids == sorted(ids)
    resumed = read_stream(client, f"{location}/events", **{"Last-Event-ID": str(ids[0])})
    assert resumed == events[1:]
    garbage = read_stream(client, f"{location}/events", **{"Last-Event-ID": "x1"})
    assert garbage == events


def test_a_proof_is_of_a_recorded_plan(client, bearer, database, jobs):
    headers = bearer("prove")
    absent = client.post("/v1/proofs", json=PAIR, headers=headers)
    assert (absent.status_code, absent.json()["code"]) == (404, "adapter-not-recorded")
    adapter, base = examples.ref("acme/lora", 1), examples.ref("acme/base", 2)
    with database.transaction() as session:
        save_record(session, examples.record(adapter, base), scanned_at=examples.at(0))
    answer = client.post("/v1/proofs", json=PAIR, headers=headers)
    assert (answer.status_code, answer.json()["kind"]) == (202, "prove")
    assert len(jobs.list_open([answer.json()["id"]])) == 1
    with database.transaction() as session:
        blocked = examples.blocked(examples.ref("acme/gated", None))
        save_record(session, blocked, scanned_at=examples.at(1))
    planless = client.post("/v1/proofs", json={"repo_id": "acme/gated"}, headers=headers)
    assert (planless.status_code, planless.json()["code"]) == (422, "invalid-request")


def test_who_may_not_see_a_private_adapter_learns_nothing_from_its_operation(
    client, bearer, database
):
    """The same request, document and events as for a repository that does not exist."""
    hidden = examples.record(examples.ref("acme/hidden", 1), examples.ref("acme/base", 2))
    with database.transaction() as session:
        save_record(session, hidden, scanned_at=examples.at(0))
        save_access(
            session,
            Source.HUB,
            "acme/hidden",
            access="readable",
            private=True,
            gated=False,
            checked_at=examples.at(0),
        )
    outsider = bearer("scan", "prove", name="outsider")
    insider = bearer("scan", "prove", name="insider", visible=["acme/*"])
    proof = client.post("/v1/proofs", json={"repo_id": "acme/hidden"}, headers=outsider)
    assert proof.json()["code"] == "adapter-not-recorded"
    asked = client.post("/v1/scans", json={"repo_id": "acme/hidden"}, headers=outsider)
    location = asked.headers["Location"]

    def work(session):
        operation_id = location.rpartition("/")[2]
        _, attempt = operations.take(session, operation_id, "one")
        operations.note(session, attempt, {"stage": "rehearsing", "done": 0, "total": 1})

    database.write(work)
    assert client.get(location, headers=outsider).json()["progress"] == {"stage": "reading"}
    seen = client.get(location, headers=insider).json()["progress"]
    assert seen["stage"] == "rehearsing"
    end(database, location.rpartition("/")[2])
    names = [name for _, name, _ in read_stream(client, f"{location}/events", **outsider)]
    stages = [
        data["progress"]["stage"]
        for _, name, data in read_stream(client, f"{location}/events", **outsider)
        if name == "progress"
    ]
    assert names == ["queued", "progress", "done"]
    assert stages == ["reading"]
