"""A private repository's name, commit and digest are nowhere for who may not see it: every page and
call of the service, its logs, its messages. Forbidden and absent are answered alike."""

# ruff: noqa: F811 (fixtures are imported, and named again as arguments)

import random
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from api.app import create_app
from registry.asking import ask_scan
from registry.config import Settings
from registry.db import operations, subscriptions
from registry.db.checkpoints import save_adapter, save_base
from registry.db.operations import State
from registry.db.records import save_record
from registry.db.subscriptions import Subscription
from registry.db.tokens import create_token
from registry.db.visibility import hide
from registry.domain.bearer import hash_token, make_token
from registry.domain.refs import Reference, parse_reference
from registry.jobs import Priority
from tests.cli.publishing import publish_adapter, publish_base
from tests.db.examples import adapter_facts, at, base_facts, record, ref
from tests.engine.conftest import (  # noqa: F401
    database,
    engine_url,
    jobs,
    prepared_postgres,
    prepared_sqlite,
)
from tests.watching.conftest import Watched, logged  # noqa: F401

# The first is a private adapter on a public base, the second a public adapter on a private base.
SECRET, HIDDEN_BASE = "vault/secret-lora", "vault/hidden-base"
ON_HIDDEN = "acme/on-hidden"
ABSENT, ABSENT_BASE = "vault/absent-lora", "vault/absent-base"
CANARIES = ("secret-lora", "hidden-base", "on-hidden", "vault")


@pytest.fixture
def client(database, engine_url):
    app = create_app(Settings(database_url=engine_url, hub_webhook_secret="s"), database=database)
    with TestClient(app, raise_server_exceptions=False, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def bearer(database):
    def make(*scopes, name, visible=()):
        token = make_token(random.SystemRandom().choice)
        with database.transaction() as session:
            token_id = create_token(
                session,
                name=name,
                token_hash=hash_token(token),
                scopes=scopes,
                created_at=datetime.now(UTC),
                expires_at=None,
                visible=visible,
            )
        made[name] = token_id
        return {"Authorization": f"Bearer {token}"}

    made = make_ids = {}
    make.ids = make_ids
    return make


@pytest.fixture
def vault(database, jobs, bearer):
    """Private and public records, subscriptions and finished operations of both."""
    public = record()
    secret = replace(public, adapter=ref(SECRET, "secret content"))
    on_hidden = replace(
        public, adapter=ref(ON_HIDDEN, "on hidden"), base=ref(HIDDEN_BASE, "hidden content")
    )
    insider = bearer("scan", "admin", name="insider", visible=("*",))
    with database.transaction() as session:
        for name in (SECRET, HIDDEN_BASE):
            hide(session, name, access="readable", checked_at=at(0))
        for one in (public, secret, on_hidden):
            save_base(session, base_facts(one.base))
            save_adapter(session, adapter_facts(one.adapter))
            save_record(session, one, scanned_at=at(0))
        for name in (SECRET, HIDDEN_BASE):
            subject = "adapter" if name == SECRET else "base"
            one = Subscription(
                f"sub-{subject}",
                subject,
                name,
                "https://hooks.acme.dev/",
                "whsec_x",
                bearer.ids["insider"],
                at(0),
            )
            subscriptions.save_subscription(session, one)
        asked = ask_scan(
            session,
            jobs,
            Reference(SECRET, "main"),
            parse_reference(HIDDEN_BASE),
            priority=Priority.PERSON,
            token_id=bearer.ids["insider"],
        )
        _, attempt = operations.take(session, asked.id, "one")
        operations.note(session, attempt, {"stage": "rehearsing", "done": 0, "total": 1})
    found = {secret.adapter.commit_sha, secret.adapter.digest, on_hidden.base.commit_sha}
    return {
        "insider": insider,
        "operation": asked.id,
        "marks": (*CANARIES, *found, on_hidden.base.digest, on_hidden.adapter.commit_sha),
    }


def places(app, adapter, base, operation="0" * 8):
    """Every GET route of the application, filled with these names."""
    namespace, name = adapter.split("/")
    values = {
        "namespace": namespace,
        "name": name,
        "repo_id": base,
        "operation_id": operation,
        "subscription_id": "sub-adapter",
        "delivery_id": "none",
        "code": "shape-mismatch",
    }
    found = []
    for route in every_route(app.routes):
        if "GET" not in route.methods:
            continue
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: values[match.group(1)], route.path)
        # A stream of a running operation never ends.
        if not path.endswith(("/events", "/live")) or operation == "0" * 8:
            found.append(path)
    queries = [f"q={name}", f"base={base}", f"author={namespace}", "limit=100", "sort=name"]
    found += [f"{path}?{query}" for path in ("/v1/adapters", "/") for query in queries]
    found += [f"/v1/bases?q={base.split('/')[1]}", f"/v1/adapters/{adapter}?base={base}"]
    return sorted(set(found))


def every_route(routes):
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "effective_route_contexts"):
            yield from (context for context in route.effective_route_contexts())


def test_the_routes_are_all_looked_at(client):
    found = places(client.app, SECRET, HIDDEN_BASE)
    assert f"/v1/adapters/{SECRET}/tensors" in found
    assert f"/badges/{SECRET}.svg" in found
    assert f"/adapters/{SECRET}" in found
    assert f"/v1/bases/{HIDDEN_BASE}/adapters" in found
    assert f"/operations/{'0' * 8}" in found
    assert "/metrics" in found
    assert len(found) > 35


def test_no_place_shows_a_private_name_to_who_may_not_see_it(client, vault, bearer):
    callers = {
        "anyone": {},
        # Of a pair both names must be granted: this token may see the adapter on a hidden base,
        # but not the base.
        "outsider": bearer("scan", "prove", name="outsider", visible=("acme/*",)),
    }
    for who, headers in callers.items():
        for place in places(client.app, SECRET, HIDDEN_BASE, vault["operation"]):
            answer = client.get(place, headers=headers)
            # What the request itself said may come back.
            text = answer.text
            for said in (SECRET, HIDDEN_BASE, SECRET.replace("/", "%2F"), *SECRET.split("/")):
                if said in place:
                    text = text.replace(said, "")
            if HIDDEN_BASE.split("/")[1] in place:
                text = text.replace(HIDDEN_BASE, "").replace("hidden-base", "").replace("vault", "")
            shown = [mark for mark in vault["marks"] if mark in text]
            assert shown == [], (who, place, answer.status_code)


def test_an_admin_without_a_grant_sees_no_private_record_or_subscription(client, vault, bearer):
    admin = bearer("admin", name="admin")
    for place in ("/v1/adapters?limit=100", "/v1/subscriptions", "/v1/bases", "/subscriptions"):
        text = client.get(place, headers=admin).text
        assert [mark for mark in vault["marks"] if mark in text] == [], place
    assert_problem(client.get(f"/v1/adapters/{SECRET}", headers=admin), 404, "adapter-not-recorded")


def test_who_may_see_it_finds_it_everywhere(client, vault):
    headers = vault["insider"]
    assert client.get(f"/v1/adapters/{SECRET}", headers=headers).status_code == 200
    assert SECRET in client.get("/v1/adapters?limit=100", headers=headers).text
    assert HIDDEN_BASE in client.get("/v1/bases", headers=headers).text
    assert SECRET in client.get("/", headers=headers).text
    assert SECRET in client.get("/v1/subscriptions", headers=headers).text
    place = f"/v1/operations/{vault['operation']}"
    assert client.get(place, headers=headers).json()["progress"]["stage"] == "rehearsing"


VOLATILE = {"ratelimit", "date", "x-request-id", "content-length"}


def test_forbidden_and_absent_are_answered_alike_everywhere(client, vault, bearer):
    """The same status, headers and bytes, but for the name that the request gave itself."""
    outsider = bearer("scan", "prove", name="outsider")

    def answers(adapter, base, headers):
        found = []
        # A page that names neither tells the time at most.
        named = [each for each in places(client.app, adapter, base) if "vault" in each]
        for place in named:
            answer = client.get(place, headers={**headers, "X-Request-Id": "same"})
            text = answer.text
            for name in (adapter, base, *adapter.split("/"), base.split("/")[1]):
                text = text.replace(name, "·")
            kept = {k: v for k, v in answer.headers.items() if k not in VOLATILE}
            words = {name: re.sub("secret|hidden|absent", "·", kept[name]) for name in kept}
            words.pop("etag", None)
            found.append(
                (re.sub("secret|hidden|absent", "·", place), answer.status_code, words, text)
            )
        return sorted(found, key=lambda each: each[0])

    for headers in ({}, outsider):
        forbidden = answers(SECRET, HIDDEN_BASE, headers)
        absent = answers(ABSENT, ABSENT_BASE, headers)
        for one, other in zip(forbidden, absent, strict=True):
            assert one == other


@pytest.mark.parametrize("name", [SECRET, ABSENT])
def test_manifests_and_requests_for_work_say_the_same_of_both(client, vault, bearer, name):
    outsider = bearer("scan", "prove", name="outsider")
    (entry,) = client.post("/v1/plans", json=[{"repo_id": name}], headers=outsider).json()
    assert (entry["record"], entry["problem"]["code"]) == (None, "adapter-not-recorded")
    proof = client.post("/v1/proofs", json={"repo_id": name}, headers=outsider)
    assert_problem(proof, 404, "adapter-not-recorded")


def test_only_who_asked_and_admins_and_grants_follow_private_work(client, vault, bearer, database):
    place = f"/v1/operations/{vault['operation']}"
    unknown = client.get("/v1/operations/never", headers={"X-Request-Id": "same"})
    assert_problem(unknown, 404, "operation-not-found")
    outsider = bearer("scan", name="outsider")
    for headers in ({}, outsider):
        for method in ("GET", "DELETE"):
            if method == "DELETE" and not headers:
                continue
            answer = client.request(method, place, headers={**headers, "X-Request-Id": "same"})
            assert answer.content == unknown.content
        events = client.get(f"{place}/events", headers={**headers, "X-Request-Id": "same"})
        assert events.content == unknown.content
        assert_problem(client.get(f"/operations/{vault['operation']}", headers=headers), 404, None)
    for headers in (
        vault["insider"],
        bearer("admin", name="admin"),
        bearer("scan", name="granted", visible=("vault/*",)),
    ):
        assert client.get(place, headers=headers).status_code == 200


def assert_problem(answer, status, code):
    assert answer.status_code == status
    if code is not None:
        assert answer.json()["code"] == code


def test_who_asked_without_a_grant_learns_that_it_is_over_and_no_more(
    client, vault, bearer, database
):
    """The same words for a repository that is private and for one that does not exist."""
    outsider = bearer("scan", name="outsider")
    told = []
    for name in (SECRET, ABSENT):
        with database.transaction() as session:
            hide(session, name, access="missing", checked_at=at(1))
        asked = client.post("/v1/scans", json={"repo_id": name}, headers=outsider)
        operation_id = asked.json()["id"]

        def work(session, operation_id=operation_id, name=name):
            _, attempt = operations.take(session, operation_id, "one")
            result = {"statuses": {"planned" if name == SECRET else "blocked": 1}}
            operations.finish(
                session, attempt, State.SUCCEEDED, progress={"stage": "done"}, result=result
            )

        database.write(work)
        document = client.get(f"/v1/operations/{operation_id}", headers=outsider).json()
        for volatile in ("id", "created_at", "started_at", "finished_at"):
            document.pop(volatile)
        told.append(str(document).replace(name, "·"))
    assert told[0] == told[1]


def test_logs_of_requests_and_scans_hold_no_private_name(
    logged,
    client,
    vault,
    bearer,
    database,
    jobs,
    hub,
):
    """What a request asks for is no secret to who asks, and one to who reads the log."""
    outsider = bearer("scan", "prove", "admin", name="outsider")
    for headers in ({}, outsider, vault["insider"]):
        for place in places(client.app, SECRET, HIDDEN_BASE):
            client.get(place, headers=headers)
        client.post("/v1/scans", json={"repo_id": SECRET}, headers=headers)
        client.post("/v1/plans", json=[{"repo_id": SECRET}], headers=headers)
        client.post("/v1/scans", json={"repo_id": SECRET, "base": "../x"}, headers=headers)
    client.post(
        "/v1/webhooks/hub",
        json={
            "event": {"action": "update", "scope": "repo.config"},
            "repo": {"type": "model", "name": SECRET, "private": True},
            "updatedConfig": {"private": True},
        },
        headers={"X-Webhook-Secret": "s"},
    )
    publish_base(hub)
    publish_adapter(hub, SECRET)
    hub.set_private(SECRET)
    hub.token = hub.add_token("hf_reader12345", may_read=(SECRET,))
    watched = Watched(database, jobs, hub)
    watched.scan()
    watched.settle()
    hub.delete(SECRET)
    watched.scan()
    lines = logged.getvalue()
    assert '"event": "request"' in lines
    assert "job-taken" in lines
    shown = [mark for mark in (*CANARIES, "hf_reader12345") if mark in lines]
    assert shown == []


def test_metrics_hold_no_name(client, vault):
    for name in (SECRET, ABSENT):
        client.get(f"/v1/adapters/{name}")
    text = client.get("/metrics").text
    assert [mark for mark in vault["marks"] if mark in text] == []


def test_a_private_base_is_not_offered_for_an_adapter_without_one(database, jobs, hub):
    """Recorded bases whose shapes fit are named beside a missing base; private ones are not."""
    hub.token = hub.add_token("hf_reader", may_read=(HIDDEN_BASE,))
    publish_base(hub, HIDDEN_BASE)
    hub.set_private(HIDDEN_BASE)
    publish_adapter(hub, ON_HIDDEN, config={"base_model_name_or_path": HIDDEN_BASE})
    publish_adapter(hub, "acme/baseless", config={"base_model_name_or_path": None})
    watched = Watched(database, jobs, hub)
    for name in (ON_HIDDEN, "acme/baseless"):
        with database.transaction() as session:
            ask_scan(session, jobs, Reference(name, "main"), priority=Priority.PERSON)
        watched.scan()
    assert watched.find(ON_HIDDEN).base.repo_id == HIDDEN_BASE
    assert [one.adapter.repo_id for one in watched.listed()] == ["acme/baseless"]
    (issue,) = [
        each for each in watched.find("acme/baseless").issues if each.code == "base-undeclared"
    ]
    assert "hidden-base" not in issue.message
