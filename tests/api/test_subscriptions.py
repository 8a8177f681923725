"""`/v1/subscriptions`: for admins, with a secret that is shown once."""

import base64

import pytest
import sqlalchemy as sa

from registry.db import subscriptions
from registry.db.visibility import hide
from tests.api.test_reading import assert_problem
from tests.data.bearers import make_bearer
from tests.db.examples import at
from tests.domain.test_addresses import REFUSED

PATH = "/v1/subscriptions"
TARGET = "https://hooks.acme.dev/lora"


@pytest.fixture
def bearer(database):
    def make(*scopes, name="admin", visible=()):
        token = make_bearer(database, name, scopes or ("admin",), visible=visible)
        return {"Authorization": f"Bearer {token}"}

    return make


def subscribe(client, headers, **body):
    return client.post(PATH, json={"target_url": TARGET, **body}, headers=headers)


CALLS = [
    ("GET", ""),
    ("POST", ""),
    ("GET", "/x"),
    ("DELETE", "/x"),
    ("POST", "/x/test"),
    ("GET", "/x/deliveries"),
    ("POST", "/x/deliveries/y/replay"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_needs_the_scope_admin(client, bearer, method, path):
    assert_problem(client.request(method, PATH + path), 401, "token-missing")
    scanner = bearer("scan", "prove", name="scanner")
    assert_problem(client.request(method, PATH + path, headers=scanner), 403, "token-scope-missing")


@pytest.mark.parametrize(("method", "path"), [each for each in CALLS if "/x" in each[1]])
def test_what_does_not_exist_is_said_to_be_missing(client, bearer, method, path):
    assert_problem(
        client.request(method, PATH + path, headers=bearer()), 404, "subscription-not-found"
    )


def test_a_subscription_is_made_with_a_secret_that_is_shown_once(client, bearer, database):
    admin = bearer()
    made = subscribe(client, admin, subject="adapter", repo_id="acme/lora")
    assert made.status_code == 201
    document = made.json()
    assert made.headers["location"] == f"{PATH}/{document['id']}"
    assert made.headers["cache-control"] == "no-store"
    secret = document.pop("secret")
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert document["subject"] == "adapter"
    for place in (PATH, f"{PATH}/{document['id']}", f"{PATH}/{document['id']}/deliveries"):
        assert secret not in client.get(place, headers=admin).text
    assert client.get(f"{PATH}/{document['id']}", headers=admin).json() == document
    assert client.get(PATH, headers=admin).json() == [document]
    again = subscribe(client, admin, subject="adapter", repo_id="acme/lora")
    assert (again.status_code, again.json()["secret"]) == (200, None)
    assert again.json()["id"] == document["id"]
    with database.reading() as connection:
        kept = subscriptions.find_subscription(connection, document["id"])
    assert kept.secret == secret


def test_a_subscription_is_ended(client, bearer):
    admin = bearer()
    place = f"{PATH}/{subscribe(client, admin).json()['id']}"
    assert client.delete(place, headers=admin).status_code == 204
    assert_problem(client.get(place, headers=admin), 404, "subscription-not-found")
    assert_problem(client.delete(place, headers=admin), 404, "subscription-not-found")
    assert subscribe(client, admin).status_code == 201


def test_targets_that_are_not_public_https_are_refused_by_their_text(client, bearer, database):
    admin = bearer()
    for url in [url for url in REFUSED if len(url) <= 2000]:
        assert_problem(subscribe(client, admin, target_url=url), 422, "target-not-allowed")
    with database.reading() as connection:
        assert subscriptions.list_subscriptions(connection) == []


@pytest.mark.parametrize(
    "body",
    [
        {"subject": "planet"},
        {"subject": "adapter"},
        {"subject": "adapter", "repo_id": "../x"},
        {"subject": "base", "repo_id": ""},
        {"subject": "everything", "repo_id": "acme/lora"},
        {"subject": "adapter", "repo_id": "acme/x\0"},
        {"target_url": None},
        {"target_url": "https://hooks.acme.dev/" + "x" * 2000},
        {"secret": "whsec_mine"},
    ],
)
def test_what_cannot_be_subscribed_to_is_refused(client, bearer, body):
    assert_problem(subscribe(client, bearer(), **body), 422, "invalid-request")


def test_a_test_is_put_up_and_found_among_the_deliveries(client, bearer):
    admin = bearer()
    place = f"{PATH}/{subscribe(client, admin).json()['id']}"
    answer = client.post(f"{place}/test", headers=admin)
    assert answer.status_code == 202
    document = answer.json()
    assert (document["event"], document["state"]) == ("subscription.test", "pending")
    assert client.get(f"{place}/deliveries", headers=admin).json() == [document]


def test_a_delivery_is_replayed_with_the_same_message(client, bearer, database):
    admin = bearer()
    place = f"{PATH}/{subscribe(client, admin).json()['id']}"
    sent = client.post(f"{place}/test", headers=admin).json()
    with database.reading() as connection:
        delivery = subscriptions.find_delivery(connection, place.rpartition("/")[2], sent["id"])
    database.write(
        lambda s: subscriptions.save_attempt(
            s, delivery, {"status": 204}, delivered_at=at(1), next_attempt_at=None
        )
    )
    answer = client.post(f"{place}/deliveries/{sent['id']}/replay", headers=admin)
    assert answer.status_code == 202
    document = answer.json()
    assert (document["state"], document["message_id"]) == ("pending", sent["message_id"])
    assert document["log"] == [{"status": 204}]
    assert_problem(
        client.post(f"{place}/deliveries/none/replay", headers=admin), 404, "delivery-not-found"
    )
    other = subscribe(client, admin, subject="base", repo_id="a/b").json()["id"]
    elsewhere = f"{PATH}/{other}/deliveries/{sent['id']}/replay"
    assert_problem(client.post(elsewhere, headers=admin), 404, "delivery-not-found")


def test_who_subscribed_and_tested_is_in_the_trail(client, bearer, database):
    admin = bearer(name="alice")
    made = subscribe(client, admin).json()["id"]
    client.post(f"{PATH}/{made}/test", headers=admin)
    client.delete(f"{PATH}/{made}", headers=admin)
    with database.reading() as connection:
        trail = connection.execute(
            sa.text("SELECT token_name, action, subject FROM audit ORDER BY id")
        ).all()
    assert [tuple(row) for row in trail] == [
        ("alice", action, made) for action in ("subscribe", "test-subscription", "unsubscribe")
    ]


def test_a_subscription_to_a_private_repository_shows_to_its_maker_and_to_grants(
    client, bearer, database
):
    maker = bearer(name="maker")
    made = subscribe(client, maker, subject="adapter", repo_id="acme/secret").json()["id"]
    database.write(lambda s: hide(s, "acme/secret", access="readable", checked_at=at(0)))
    granted = bearer(name="granted", visible=("acme/*",))
    outsider = bearer(name="outsider")
    for headers, seen in ((maker, True), (granted, True), (outsider, False)):
        listed = client.get(PATH, headers=headers)
        assert ("acme/secret" in listed.text) is seen
        for method, path in CALLS:
            if "/x" in path and method != "DELETE" and "replay" not in path:
                place = PATH + path.replace("/x", f"/{made}")
                answer = client.request(method, place, headers=headers)
                if not seen:
                    assert_problem(answer, 404, "subscription-not-found")
                else:
                    assert answer.status_code < 300
