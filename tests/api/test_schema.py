"""The service keeps what its OpenAPI document says: calls made up from the document, and each
refusal that a call can meet. `python -m tests.fuzz` makes thousands of calls more."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.identity import Quotas
from api.middleware import MAX_BODY_BYTES
from registry.config import Settings
from registry.db.base import Base
from registry.db.session import open_database
from tests.data.bearers import make_bearer
from tests.db.conftest import migrated_sqlite  # noqa: F401
from tests.fuzz.running import fuzz, judge, populated_service

# They meet records, work and subscriptions; the long form takes the other calls as well.
FUZZED = (
    "get_plan",
    "get_tensors",
    "list_adapters",
    "list_base_adapters",
    "post_plans",
    "post_scan",
    "post_subscription",
    "replay_delivery",
)
UNKNOWN = {"Authorization": "Bearer lp_" + "A" * 36}
HEALTH = ("livez", "readyz", "metrics")


class Types:
    """Whether the types of problems lead to pages, without a network."""

    def __init__(self, client):
        self.client = client

    def leads(self, kind):
        return self.client.get(kind, headers={"Accept": "text/html"}).status_code == 200


@pytest.fixture
def database(migrated_sqlite, tmp_path):  # noqa: F811
    copy = tmp_path / "loadplan.db"
    copy.write_bytes(migrated_sqlite.read_bytes())
    opened = open_database(f"sqlite:///{copy}")
    yield opened
    opened.close()


@pytest.fixture
def client(database):
    settings = Settings(database_url="sqlite:///unused.db", hub_webhook_secret="s")
    app = create_app(settings, database=database)
    with TestClient(app, raise_server_exceptions=False, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def useless(database):
    """A token that may nothing."""
    return {"Authorization": f"Bearer {make_bearer(database, 'useless', ())}"}


def calls(client):
    """Every call of the document: its method, a path that names nothing, what it says."""
    for path, item in client.get("/openapi.json").json()["paths"].items():
        for method, operation in item.items():
            yield method, path.replace("{", "").replace("}", "").replace("_", "-"), operation


def assert_refused(client, method, path, operation, status, **sent):
    """The call is refused with this status, as documented, and well."""
    answer = client.request(method, path, **sent)
    name = operation["operationId"]
    assert answer.status_code == status, (name, answer.text)
    assert list(judge(status, answer.headers, answer.content, Types(client))) == [], name
    documented = operation["responses"][str(status)]
    assert documented["content"].keys() == {"application/problem+json"}, name
    missing = {header.lower() for header in documented["headers"]} - answer.headers.keys()
    # Who is not known is counted nowhere, and neither is what ends before the route.
    assert not {each for each in missing if not each.startswith("ratelimit")}, name


def test_made_up_calls_are_answered_as_the_document_says():
    with populated_service() as service:
        outcome = fuzz(service, examples=3, seed=20261124, operations=FUZZED)
    assert outcome.failures == {}
    assert outcome.cases > 300
    statuses = outcome.statuses()
    assert {200, 202, 401, 404, 405, 422} <= statuses.keys()
    assert not [status for status in statuses if status >= 500]
    assert set(FUZZED) <= {name for name, _ in outcome.answers}


def test_a_token_that_is_not_known_is_refused_by_every_call_that_has_callers(client):
    for method, path, operation in calls(client):
        if operation["operationId"] not in HEALTH:
            assert_refused(client, method, path, operation, 401, headers=UNKNOWN)


def test_who_must_bring_a_token_is_said_by_the_document(client, useless):
    """The others are open: they answer without one."""
    for method, path, operation in calls(client):
        name = operation["operationId"]
        body = {"json": {"repo_id": "a/b", "target_url": "https://hooks.acme.dev"}}
        if name.startswith("post_s") or name == "post_proof":
            body["json"].pop("repo_id" if name == "post_subscription" else "target_url")
        if operation.get("security") == [{"token": []}] and name != "cancel_operation":
            assert_refused(client, method, path, operation, 401, **body)
            assert_refused(client, method, path, operation, 403, headers=useless, **body)
        elif name not in ("post_hub_webhook", "get_operation_events", "cancel_operation"):
            assert client.request(method, path, **body).status_code in (200, 404, 422), name


def test_a_quota_that_is_used_up_is_told_by_every_call_that_has_callers(client):
    client.app.state.quotas = Quotas(anonymous=0, token=0)
    for method, path, operation in calls(client):
        if "429" in operation["responses"]:
            assert_refused(client, method, path, operation, 429)
    assert client.get("/livez").status_code == 200


def test_a_body_that_is_too_large_is_refused_by_every_call_that_takes_one(client):
    met = []
    for method, path, operation in calls(client):
        if "requestBody" in operation:
            large = b" " * (MAX_BODY_BYTES + 1)
            assert_refused(client, method, path, operation, 413, content=large)
            met.append(operation["operationId"])
    assert "post_plans" in met


def test_a_database_that_is_not_migrated_is_told_by_every_call_that_reads_it(
    client, database, useless
):
    with database.transaction() as session:
        session.connection().exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        Base.metadata.drop_all(session.connection())
    manifest = {"json": [{"repo_id": "a/b"}]}
    for method, path, operation in calls(client):
        name = operation["operationId"]
        if name in HEALTH or name == "post_hub_webhook":
            continue
        headers = {} if operation["security"][0] == {} else useless
        body = manifest if name == "post_plans" else {}
        assert_refused(client, method, path, operation, 503, headers=headers, **body)


def test_every_status_of_the_api_has_its_headers_and_its_kind(client):
    for _, _, operation in calls(client):
        for status, answer in operation["responses"].items():
            assert "X-Request-Id" in answer["headers"], operation["operationId"]
            if int(status) >= 400 and operation["operationId"] != "readyz":
                assert answer["content"].keys() == {"application/problem+json"}


def test_the_headers_of_requests_stand_in_the_document(client):
    found = {
        operation["operationId"]: {
            each["name"] for each in operation.get("parameters", ()) if each["in"] == "header"
        }
        for _, _, operation in calls(client)
    }
    for name in ("post_scan", "post_proof"):
        assert found[name] == {"Idempotency-Key", "Prefer", "X-Request-Id"}
    for name in ("get_record", "get_plan", "get_proofs", "get_tensors"):
        assert found[name] == {"Prefer", "If-None-Match", "X-Request-Id"}
    assert found["get_operation_events"] == {"Last-Event-ID", "X-Request-Id"}
    assert found["post_hub_webhook"] == {"X-Webhook-Secret", "X-Request-Id"}


def test_the_document_is_completed_once(client):
    assert client.get("/openapi.json").json() == client.get("/openapi.json").json()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/subscriptions", "GET, POST"),
        ("PATCH", "/v1/subscriptions/x", "GET, DELETE"),
        ("OPTIONS", "/v1/operations/x", "GET, DELETE"),
        ("GET", "/v1/scans", "POST"),
        ("POST", "/static/app.css", "GET, HEAD"),
    ],
)
def test_allow_names_every_method_of_a_path(client, method, path, allowed):
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"code": "made-up"}, "no code of the catalogue"),
        ({"request_id": "other"}, "names another request"),
        ({"status": 500}, "says 500"),
        ({"type": "/problems/nowhere"}, "leads nowhere"),
    ],
)
def test_the_fuzzer_sees_what_is_wrong_with_a_problem(client, change, said):
    answer = client.get("/v1/adapters/a/b")
    body = json.dumps({**answer.json(), **change}).encode()
    failures = list(judge(404, answer.headers, body, Types(client)))
    assert (failures == []) if said is None else (said in failures[0])
    assert list(judge(404, {"X-Request-Id": "r", "Content-Type": "text/html"}, b"", None)) == [
        "404 is text/html"
    ]
