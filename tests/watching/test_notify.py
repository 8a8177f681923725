"""Messages arrive signed, are tried again as Standard Webhooks say, and end when they should."""

import asyncio
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from registry.db import announcing, subscriptions
from registry.db.checkpoints import save_adapter, save_base
from registry.db.records import save_record
from registry.db.subscriptions import Subscription
from registry.db.tokens import create_token, revoke_token
from registry.db.visibility import hide
from registry.domain.messages import MAX_BYTES, MessageType, write_message
from registry.domain.record import Evidence, Status
from tests.db.conftest import (  # noqa: F401
    database,
    migrated_postgres,
    migrated_sqlite,
    migrated_url,
)
from tests.db.examples import adapter_facts, at, base_facts, record, ref
from tests.watching.receiver import HOST, Names, Receiver, make_certificate
from workers.notify import PAUSES, Courier, deliver_due, next_attempt

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
TARGET = f"https://{HOST}/hooks/lora"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def receiver(certificate):
    receiver = Receiver(certificate)
    yield receiver
    receiver.close()


class Post:
    """A subscriber and the courier that may reach it, which no real one may: it is loopback."""

    def __init__(self, database, receiver):  # noqa: F811
        self.database, self.receiver = database, receiver
        self.now = datetime.now(UTC)

    def subscribe(self, name="one", subject="everything", repo_id="", token_id=None, url=TARGET):
        one = Subscription(name, subject, repo_id, url, SECRET, token_id, at(0))
        self.database.write(lambda session: subscriptions.save_subscription(session, one))
        return one

    def announce(self, message_id="msg_1", one=None):
        data = announcing.record_data(one or record())
        return self.database.write(
            lambda s: announcing.announce(s, MessageType.CHANGED, message_id, data)
        )

    def deliver(self, *, resolver=None, linger=0.0, **options):
        options = {
            "allows": lambda address: address == ip_address("127.0.0.1"),
            "resolver": resolver or Names({HOST: [["127.0.0.1"]]}, self.receiver.port),
            "ssl_context": self.receiver.client_context,
            **options,
        }

        async def main():
            async with Courier(**options) as courier:
                sent = await deliver_due(
                    self.database, courier, now=lambda: self.now, jitter=lambda: 0.0
                )
            # A connection that was broken off ends when its other side has noticed.
            await asyncio.sleep(linger)
            return sent

        return asyncio.run(main())

    def deliveries(self, name="one"):
        with self.database.reading() as connection:
            return subscriptions.list_deliveries(connection, name)

    def subscription(self, name="one"):
        with self.database.reading() as connection:
            return subscriptions.find_subscription(connection, name)


@pytest.fixture
def post(database, receiver):  # noqa: F811
    return Post(database, receiver)


def test_a_message_arrives_signed_by_the_standards_library(post, receiver):
    post.subscribe()
    assert post.announce() == 1
    # Deliveries are put up with the time of the database's writer.
    post.now = datetime.now(UTC)
    assert post.deliver() == 1
    (got,) = receiver.received
    document = Webhook(SECRET).verify(got.body, got.headers)
    assert document["type"] == "plan.changed"
    assert document["data"]["adapter"]["repo_id"] == "acme/chat-lora"
    assert (got.headers["webhook-id"], got.path) == ("msg_1", "/hooks/lora")
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == HOST
    assert len(got.body) < MAX_BYTES
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body + b" ", got.headers)
    (delivery,) = post.deliveries()
    assert (delivery.state, delivery.attempts, delivery.log[0]["status"]) == ("delivered", 1, 204)
    assert post.deliver() == 0


def test_a_message_is_tried_ten_times_over_four_days_and_then_given_up(post, receiver):
    receiver.answers = [500]
    post.subscribe()
    post.announce()
    post.now = start = datetime.now(UTC)
    waited = []
    while True:
        assert post.deliver() == 1
        (delivery,) = post.deliveries()
        if delivery.next_attempt_at is None:
            break
        waited.append(delivery.next_attempt_at - post.now)
        post.now = delivery.next_attempt_at - timedelta(seconds=1)
        assert post.deliver() == 0
        post.now = delivery.next_attempt_at
    assert waited == list(PAUSES[1:])
    assert (delivery.state, delivery.attempts) == ("failed", 10)
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
    assert timedelta(hours=24) < post.now - start < timedelta(days=4)
    assert [entry["status"] for entry in delivery.log] == [500] * 10


def test_pauses_are_spread_by_a_tenth():
    now = at(0)
    assert next_attempt(1, now, 0.0) == now + timedelta(seconds=5)
    assert next_attempt(2, now, 0.5) == now + timedelta(seconds=315)
    assert next_attempt(10, now, 0.0) is None


def test_a_target_that_comes_back_gets_the_message(post, receiver):
    receiver.answers = [503, 204]
    post.subscribe()
    post.announce()
    post.now = datetime.now(UTC)
    post.deliver()
    post.now += timedelta(seconds=10)
    post.deliver()
    (delivery,) = post.deliveries()
    assert (delivery.state, [e["status"] for e in delivery.log]) == ("delivered", [503, 204])
    stamps = [int(got.headers["webhook-timestamp"]) for got in receiver.received]
    assert stamps[1] > stamps[0]


def test_gone_pauses_the_subscription_until_a_test_arrives(post, receiver):
    receiver.answers = [410, 204]
    post.subscribe()
    post.announce("msg_1")
    post.now = datetime.now(UTC)
    post.deliver()
    assert post.subscription().paused_at is not None
    assert post.deliveries()[0].state == "failed"
    assert post.announce("msg_2") == 0
    body = write_message(MessageType.TEST, post.now, {"subscription": "one"})
    post.database.write(
        lambda session: subscriptions.save_delivery(
            session,
            "dlv_test",
            subscription_id="one",
            message_id="msg_test",
            event=MessageType.TEST.value,
            body=body,
            created_at=post.now,
        )
    )
    assert post.deliver() == 1
    assert post.subscription().paused_at is None
    assert post.announce("msg_3") == 1


def test_what_waits_for_a_paused_target_is_kept(post, receiver):
    post.subscribe()
    post.announce()
    post.database.write(lambda s: subscriptions.save_pause(s, "one", paused_at=post.now))
    post.now = datetime.now(UTC)
    assert post.deliver() == 0
    post.database.write(lambda s: subscriptions.save_pause(s, "one", paused_at=None))
    assert post.deliver() == 1
    assert len(receiver.received) == 1


def test_a_redirect_is_an_answer_and_is_not_followed(post, receiver):
    receiver.answers = [(302, {"Location": "http://169.254.169.254/latest/meta-data/"}, b"")]
    post.subscribe()
    post.announce()
    post.now = datetime.now(UTC)
    names = Names({HOST: [["127.0.0.1"]]}, receiver.port)
    post.deliver(resolver=names)
    (delivery,) = post.deliveries()
    assert (delivery.state, delivery.log[0]["status"]) == ("pending", 302)
    assert names.asked == [HOST]
    assert len(receiver.received) == 1


def test_a_target_that_does_not_answer_is_left_after_its_time(post, receiver):
    receiver.answers = [lambda: time.sleep(1) or 204]
    post.subscribe()
    post.announce()
    post.now = datetime.now(UTC)
    post.deliver(seconds=0.3, linger=1.2)
    (delivery,) = post.deliveries()
    assert delivery.log[0]["milliseconds"] < 1000
    assert "0.3 seconds" in delivery.log[0]["error"]


def test_a_large_answer_is_not_read_to_its_end(post, receiver):
    receiver.answers = [(200, {"Content-Encoding": "gzip"}, b"\0" * 50_000_000)]
    post.subscribe()
    post.announce()
    post.now = datetime.now(UTC)
    post.deliver()
    assert post.deliveries()[0].state == "delivered"
    assert receiver.cut_off.wait(10)


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(post, receiver):
    post.subscribe()
    post.announce()
    post.now = datetime.now(UTC)
    post.deliver(ssl_context=None)
    (delivery,) = post.deliveries()
    assert delivery.log[0]["error"] == "The certificate or the handshake was not accepted."
    assert receiver.received == []


@pytest.mark.parametrize(
    ("answers", "words"),
    [({}, "does not resolve"), ({HOST: [["127.0.0.1"]]}, "No connection")],
    ids=["unknown name", "nobody listens"],
)
def test_why_nothing_arrived_is_said_to_the_subscriber(post, answers, words):
    post.subscribe()
    post.announce()
    post.now = datetime.now(UTC)
    post.deliver(resolver=Names(answers, 1))
    (delivery,) = post.deliveries()
    assert words in delivery.log[0]["error"]
    assert delivery.state == "pending"


def test_a_target_with_many_failures_keeps_nobody_waiting(post, receiver):
    post.subscribe("slow", url=f"https://{HOST}/slow")
    for number in range(40):
        post.announce(f"msg_{number}")
    post.subscribe("quick", url=f"https://{HOST}/quick")
    post.announce("msg_last")
    post.now = datetime.now(UTC)
    assert post.deliver() == 11
    assert [got.path for got in receiver.received].count("/quick") == 1


def test_the_same_message_is_put_up_once(post):
    post.subscribe()
    assert post.announce("msg_1") == 1
    assert post.announce("msg_1") == 0


def save(database, one, minutes=0):  # noqa: F811
    with database.transaction() as session:
        save_base(session, base_facts(one.base))
        save_adapter(session, adapter_facts(one.adapter))
        save_record(session, one, scanned_at=at(minutes))


def told(post, name="one"):
    return [(each.event, json.loads(each.body)["data"]["status"]) for each in post.deliveries(name)]


def test_what_becomes_of_a_record_is_told_in_its_own_transaction(post):
    post.subscribe()
    first = record()
    save(post.database, first)
    assert told(post) == []
    rehearsed = replace(first, status=Status.REHEARSED, evidence=Evidence.REHEARSED)
    save(post.database, rehearsed, 1)
    assert told(post) == []
    proven = replace(first, status=Status.COMPATIBLE, evidence=Evidence.PROVEN)
    save(post.database, proven, 2)
    save(post.database, proven, 3)
    assert told(post) == [("plan.proven", "compatible")]
    save(post.database, record(ref("acme/chat-lora", "other content")), 4)
    assert told(post)[0] == ("plan.changed", "planned")
    bad = record(ref("acme/chat-lora", "third"), status=Status.INCOMPATIBLE)
    save(post.database, replace(bad, plan=None), 5)
    assert told(post)[0] == ("plan.incompatible", "incompatible")
    assert len(told(post)) == 3


def test_subscribers_are_told_of_their_subject_alone(post):
    post.subscribe("adapter", "adapter", "acme/chat-lora")
    post.subscribe("base", "base", "acme/base")
    post.subscribe("other", "adapter", "acme/other")
    save(post.database, replace(record(), status=Status.COMPATIBLE, evidence=Evidence.PROVEN))
    assert len(told(post, "adapter")) == len(told(post, "base")) == 1
    assert told(post, "other") == []


def make_token(database, name, *sees):  # noqa: F811
    with database.transaction() as session:
        return create_token(
            session,
            name=name,
            token_hash=name,
            scopes=["admin"],
            created_at=at(0),
            expires_at=None,
            visible=sees,
        )


def test_a_private_repositorys_events_go_to_who_may_see_it(post, receiver):
    for name, sees in (("granted", ("acme/*",)), ("outsider", ()), ("half", ("acme/secret",))):
        post.subscribe(
            name, token_id=make_token(post.database, name, *sees), url=f"https://{HOST}/{name}"
        )
    post.subscribe("nobodys", url=f"https://{HOST}/nobodys")
    hidden = record(ref("acme/secret", "x"), status=Status.COMPATIBLE, evidence=Evidence.PROVEN)
    for name in ("acme/secret", "acme/base"):
        post.database.write(lambda s, name=name: hide(s, name, access="readable", checked_at=at(0)))
    save(post.database, hidden)
    assert {name: len(post.deliveries(name)) for name in ("granted", "outsider", "half")} == {
        "granted": 1,
        "outsider": 0,
        "half": 0,
    }
    assert post.deliveries("nobodys") == []
    post.now = datetime.now(UTC)
    post.deliver()
    assert [got.path for got in receiver.received] == ["/granted"]


def test_what_became_private_after_it_was_put_up_is_not_sent(post, receiver):
    post.subscribe()
    save(post.database, record(status=Status.COMPATIBLE, evidence=Evidence.PROVEN))
    post.database.write(lambda s: hide(s, "acme/chat-lora", access="unknown", checked_at=at(9)))
    post.now = datetime.now(UTC)
    post.deliver()
    (delivery,) = post.deliveries()
    assert delivery.state == "failed"
    assert "may no longer see" in delivery.log[0]["error"]
    assert receiver.received == []


def test_a_revoked_token_sees_nothing_private_any_more(post, receiver):
    token_id = make_token(post.database, "lost", "*")
    post.subscribe(token_id=token_id)
    post.database.write(lambda s: hide(s, "acme/chat-lora", access="readable", checked_at=at(0)))
    save(post.database, record(status=Status.COMPATIBLE, evidence=Evidence.PROVEN))
    assert len(post.deliveries()) == 1
    post.database.write(lambda s: revoke_token(s, "lost", revoked_at=at(1)))
    post.now = datetime.now(UTC)
    post.deliver()
    assert post.deliveries()[0].state == "failed"
    assert receiver.received == []
