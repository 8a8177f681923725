"""The reading half of the API over records that the database holds."""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
import sqlalchemy as sa
from jsonschema import Draft202012Validator

import registry.domain
from api.app import create_app
from registry.config import Settings
from registry.db.checkpoints import save_adapter, save_base
from registry.db.records import save_record
from registry.db.session import open_database
from registry.db.visibility import hide
from registry.domain.issues import CATALOGUE
from registry.domain.record import Evidence, Status
from tests.db.examples import adapter_facts, at, base_facts, blocked, record, ref

RECORD = "/v1/adapters/acme/chat-lora"
SCHEMA = Path(registry.domain.__file__).parent / "record.schema.json"


@pytest.fixture
def recorded(database):
    """The canonical pair with its facts, and a few more to list."""
    one = record()
    with database.transaction() as session:
        save_adapter(session, adapter_facts(one.adapter))
        save_base(session, base_facts(one.base))
        save_record(session, one, scanned_at=at(0))
        for number in range(5):
            other = replace(one, adapter=ref(f"acme/other-{number}", number))
            save_adapter(session, adapter_facts(other.adapter))
            save_record(session, other, scanned_at=at(1 + number))
        save_record(session, blocked(ref("acme/closed", "closed")), scanned_at=at(9))
    return one


def assert_problem(answer, status: int, code: str) -> dict:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["code"] == code == answer.headers["x-error-code"]
    assert document["status"] == status
    assert document["type"] == f"/problems/{code}"
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["title"]
    assert document["detail"]
    return document


def test_a_record_is_printed_as_the_schema_says(client, recorded):
    answer = client.get(RECORD)
    assert answer.status_code == 200
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator(schema).validate(answer.json())
    assert answer.json() == recorded.to_json()
    assert answer.headers["x-revision"] == recorded.adapter.commit_sha


def test_a_plan_is_answered_whenever_a_record_exists(client, recorded):
    answer = client.get(f"{RECORD}/plan")
    assert set(answer.json()) == {"adapter", "base", "status", "evidence", "plan", "issues"}
    assert answer.json()["plan"] == recorded.plan.to_json()
    closed = client.get("/v1/adapters/acme/closed/plan")
    assert closed.status_code == 200
    assert closed.json()["plan"] is None
    assert closed.json()["status"] == "blocked"


def test_an_unchanged_plan_costs_no_body(client, recorded):
    first = client.get(f"{RECORD}/plan")
    assert first.headers["etag"].startswith('W/"')
    assert "max-age=30" in first.headers["cache-control"]
    again = client.get(f"{RECORD}/plan", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = client.get(f"{RECORD}/plan", headers={"If-None-Match": 'W/"another"'})
    assert other.status_code == 200


def test_tensors_stand_beside_the_bases_shapes_and_last_only_when_pinned(client, recorded):
    answer = client.get(f"{RECORD}/tensors")
    rows = answer.json()
    assert len(rows) == len(adapter_facts(recorded.adapter).weights.layout)
    assert set(rows[0]) == {"name", "dtype", "shape", "base_shape", "differs"}
    assert "immutable" not in answer.headers["cache-control"]
    half = client.get(f"{RECORD}/tensors", params={"revision": recorded.adapter.commit_sha})
    assert "immutable" not in half.headers["cache-control"]
    pinned = client.get(
        f"{RECORD}/tensors",
        params={
            "revision": recorded.adapter.commit_sha,
            "base": f"{recorded.base.repo_id}@{recorded.base.commit_sha}",
        },
    )
    assert "max-age=31536000, immutable" in pinned.headers["cache-control"]
    assert pinned.json() == rows


def test_absent_never_scanned_and_invisible_are_answered_alike(client, database, recorded):
    headers = {"X-Request-Id": "same"}
    absent = client.get("/v1/adapters/acme/secret", headers=headers)
    document = assert_problem(absent, 404, "adapter-not-recorded")
    assert document["scan"]["body"] == {"repo_id": "acme/secret"}
    hidden = replace(recorded, adapter=ref("acme/secret", "secret"))
    with database.transaction() as session:
        save_adapter(session, adapter_facts(hidden.adapter))
        save_record(session, hidden, scanned_at=at(20))
        hide(session, "acme/secret", access="readable", checked_at=at(30))
    forbidden = client.get("/v1/adapters/acme/secret", headers=headers)
    assert forbidden.content == absent.content
    # The count of requests left is the caller's own and goes down with each.
    for answer in (absent, forbidden):
        del answer.headers["ratelimit"]
    assert forbidden.headers == absent.headers
    assert "acme/secret" not in client.get("/v1/adapters?limit=100").text


def test_pages_are_followed_to_the_end_without_a_repeat(client, recorded):
    seen, address = [], "/v1/adapters?limit=2&sort=newest"
    while address:
        answer = client.get(address)
        seen += [row["adapter"]["repo_id"] for row in answer.json()]
        link = answer.links.get("next")
        address = link["url"] if link else None
    assert len(seen) == len(set(seen)) == 7
    assert seen[0] == "acme/closed"


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("status=blocked", 1),
        ("q=other-3", 1),
        ("issue=adapter-gated", 1),
        ("base=acme/base", 6),
        ("peft_type=LORA", 6),
        ("author=acme", 7),
        ("author=nobody", 0),
    ],
)
def test_lists_are_filtered(client, recorded, query, count):
    rows = client.get(f"/v1/adapters?{query}").json()
    assert len(rows) == count
    for row in rows:
        assert set(row) == {
            "adapter", "base", "status", "evidence", "facts", "issues", "scanned_at"
        }  # fmt: skip


def test_bases_count_their_adapters_by_status(client, recorded):
    (base,) = client.get("/v1/bases").json()
    assert base["repo_id"] == "acme/base"
    assert base["adapters"] == 6
    one = client.get(f"/v1/bases/{base['repo_id']}")
    assert one.json() == base
    rows = client.get(f"/v1/bases/{base['repo_id']}/adapters?status=rehearsed").json()
    assert len(rows) == base["statuses"].get("rehearsed", 0)
    assert_problem(client.get("/v1/bases/acme/nothing"), 404, "base-not-recorded")
    assert_problem(client.get("/v1/bases/acme/nothing/adapters"), 404, "base-not-recorded")


def test_a_manifest_is_answered_in_order_and_each_fault_alone(client, recorded):
    pairs = [
        {"repo_id": "acme/chat-lora"},
        {"repo_id": "acme/absent"},
        {"repo_id": "../../etc/passwd"},
        {"repo_id": "acme/other-1", "base": recorded.base.repo_id},
        {"repo_id": "acme/chat-lora", "base": "./folder"},
    ]
    rows = client.post("/v1/plans", json=pairs).json()
    assert [row["request"]["repo_id"] for row in rows] == [pair["repo_id"] for pair in pairs]
    assert [row["record"] is not None for row in rows] == [True, False, False, True, False]
    codes = [row["problem"] and row["problem"]["code"] for row in rows]
    assert codes == [
        None, "adapter-not-recorded", "invalid-request", None, "invalid-request"
    ]  # fmt: skip
    too_many = client.post("/v1/plans", json=[pairs[0]] * 1001)
    assert_problem(too_many, 422, "invalid-request")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nowhere", 404, "route-not-found"),
        ("PUT", RECORD, 405, "method-not-allowed"),
        ("GET", "/v1/adapters?limit=0", 422, "invalid-request"),
        ("GET", "/v1/adapters?status=fine", 422, "invalid-request"),
        ("GET", "/v1/adapters?cursor=%00", 422, "invalid-request"),
        ("GET", "/v1/adapters?cursor=made-up", 422, "invalid-request"),
        ("GET", "/v1/adapters?q=%00", 422, "invalid-request"),
        ("GET", "/v1/adapters/acme/a%00b", 422, "invalid-request"),
        ("GET", "/v1/adapters/%2e%2e/passwd", 422, "invalid-request"),
        ("GET", f"{RECORD}?revision=..%2F..%2Fetc", 422, "invalid-request"),
        ("GET", f"{RECORD}?subfolder=%2Fetc", 422, "invalid-request"),
        ("GET", f"{RECORD}?base=%2Fhome%2Fmodels", 422, "invalid-request"),
        ("GET", f"{RECORD}?base=a@", 422, "invalid-request"),
        ("GET", f"{RECORD}?revision=no-such-branch", 404, "adapter-not-recorded"),
        ("GET", "/problems/no-such-code", 404, "problem-not-found"),
        ("POST", "/v1/plans", 422, "invalid-request"),
    ],
)
def test_bad_input_is_a_problem_with_its_own_code(client, recorded, method, path, status, code):
    answer = client.request(method, path)
    assert_problem(answer, status, code)
    if status == 405:
        assert answer.headers["allow"]


def test_a_path_is_never_read_by_the_api(client, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    answer = client.post("/v1/plans", json=[{"repo_id": str(tmp_path)}])
    assert answer.json()[0]["problem"]["code"] == "invalid-request"


def test_a_body_over_the_limit_is_refused_declared_or_streamed(client):
    big = b"[" + b" " * 1_100_000 + b"]"
    headers = {"Content-Type": "application/json"}
    declared = client.post("/v1/plans", content=big, headers=headers)
    assert_problem(declared, 413, "body-too-large")

    def chunks():
        for start in range(0, len(big), 65536):
            yield big[start : start + 65536]

    assert_problem(
        client.post("/v1/plans", content=chunks(), headers=headers), 413, "body-too-large"
    )


def test_a_fault_of_ours_discloses_nothing(client, monkeypatch):
    def explode(*_, **__):
        raise RuntimeError("postgresql://user:secret@host/db")

    monkeypatch.setattr("api.routes.adapters.list_records", explode)
    answer = client.get("/v1/adapters")
    assert_problem(answer, 500, "internal-error")
    assert "secret" not in answer.text


def test_request_ids_are_echoed_when_they_are_harmless(client):
    assert client.get("/livez", headers={"X-Request-Id": "a-1"}).headers["x-request-id"] == "a-1"
    strange = client.get("/livez", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"]
    assert strange != "a b\tc"
    assert len(strange) == 32


def test_health_tells_alive_from_ready(client, database):
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    with database.transaction() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '0000_00_00_0000'"))
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "0000_00_00_0000" in answer.json()["checks"]["migrated"]


def test_reads_go_on_from_memory_while_the_database_is_away(client, database, recorded):
    records = client.app.state.records
    assert client.get(RECORD).status_code == 200
    records._fresh_seconds = -1.0
    records._database = open_database("postgresql+psycopg://nobody@127.0.0.1:9/none")
    remembered = client.get(RECORD)
    assert remembered.status_code == 200
    assert remembered.json() == recorded.to_json()
    assert remembered.headers["x-loadplan-from-memory"] == "1"
    assert remembered.headers["cache-control"] == "no-store"
    unseen = client.get("/v1/adapters/acme/other-1")
    assert_problem(unseen, 503, "database-unavailable")
    assert unseen.headers["retry-after"]


def test_an_unmigrated_database_is_said_to_be_one(tmp_path):
    from starlette.testclient import TestClient

    empty = open_database(f"sqlite:///{tmp_path / 'empty.db'}")
    app = create_app(Settings(), database=empty)
    with TestClient(app, raise_server_exceptions=False, base_url="http://127.0.0.1") as client:
        assert_problem(client.get(RECORD), 503, "database-not-migrated")
    empty.close()


def test_every_code_has_a_page(client):
    listing = client.get("/problems").text
    for code in CATALOGUE:
        answer = client.get(f"/problems/{code}")
        assert answer.status_code == 200
        assert CATALOGUE[code].fix in unescape(answer.text)
        assert f"/problems/{code}" in listing


def test_every_answer_carries_the_security_headers(client):
    for path in ("/livez", "/problems", "/v1/nowhere", "/static/app.css"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]


def test_the_openapi_document_names_every_operation_once(client):
    document = client.get("/openapi.json").json()
    names = [
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
    ]
    assert len(names) == len(set(names))
    assert "get_plan" in names


def test_statuses_and_evidence_are_those_of_the_domain(client, recorded):
    answer = client.get(RECORD).json()
    assert answer["status"] in set(Status)
    assert answer["evidence"] in set(Evidence)
