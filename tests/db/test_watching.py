"""Events of the Hub are noted once; subscribers are told once of each thing."""

from __future__ import annotations

from dataclasses import replace

from registry.db import hub_events, subscriptions
from registry.db.subscriptions import Subscription
from tests.db.examples import at, commit

PUSH = {"repo_id": "acme/x", "action": "update", "ref": "refs/heads/main", "new_sha": commit(1)}


def note(database, minutes=0.0, **changes):
    event = {**PUSH, "received_at": at(minutes), **changes}
    return database.write(lambda session: hub_events.save_hub_event(session, **event))


def test_an_event_is_noted_once_per_repository_ref_and_commit(database):
    first = note(database)
    assert first is not None
    assert note(database, 1) is None
    assert note(database, new_sha=commit(2)) is not None
    assert note(database, ref="refs/heads/v2") is not None
    assert note(database, repo_id="acme/y") is not None


def test_events_are_worked_off_and_forgotten(database):
    first, second = note(database, 1), note(database, 2, new_sha=commit(2))
    database.write(
        lambda session: hub_events.finish_hub_event(
            session, first, state="done", handled_at=at(3), operation_id="op-1"
        )
    )
    with database.reading() as connection:
        newest, oldest = hub_events.list_hub_events(connection)
        (waiting,) = hub_events.list_hub_events(connection, state="received")
    assert (newest.id, oldest.id, waiting.id) == (second, first, second)
    assert (oldest.state, oldest.operation_id, oldest.handled_at) == ("done", "op-1", at(3))
    # What is not handled is not forgotten.
    database.write(lambda session: hub_events.delete_hub_events(session, before=at(9)))
    with database.reading() as connection:
        assert [event.id for event in hub_events.list_hub_events(connection)] == [second]


def subscription(name, subject, repo_id) -> Subscription:
    return Subscription(name, subject, repo_id, f"https://{name}.example", "whsec_x", None, at(0))


def subscribe(database, *wanted):
    return [
        database.write(lambda session, one=one: subscriptions.save_subscription(session, one))
        for one in wanted
    ]


def test_subscribers_are_found_by_what_they_follow(database):
    every = subscription("every", "everything", "")
    adapter = subscription("adapter", "adapter", "acme/x")
    base = subscription("base", "base", "acme/base")
    paused = replace(subscription("paused", "everything", ""), paused_at=at(1))
    subscribe(database, every, adapter, base, paused)

    def told(**of):
        with database.reading() as connection:
            return {entry.id for entry in subscriptions.find_subscribers(connection, **of)}

    assert told(adapter="acme/x", base="acme/base") == {"every", "adapter", "base"}
    assert told(adapter="acme/x", base=None) == {"every", "adapter"}
    assert told(adapter="acme/y", base="acme/x") == {"every"}
    with database.reading() as connection:
        assert subscriptions.find_subscription(connection, "base") == base
        assert len(subscriptions.list_subscriptions(connection)) == 4


def test_the_same_subscription_twice_is_one_and_its_secret_is_not_printed(database):
    one = subscription("one", "adapter", "acme/x")
    assert subscribe(database, one, replace(one, id="two")) == ["one", "one"]
    assert "whsec_x" not in repr(one)


def test_a_message_is_sent_until_it_arrives_or_is_given_up(database):
    subscribe(database, subscription("one", "everything", ""))

    def send(delivery_id, message_id):
        return database.write(
            lambda session: subscriptions.save_delivery(
                session,
                delivery_id,
                subscription_id="one",
                message_id=message_id,
                event="record.changed",
                body='{"x": "\u202e"}',
                created_at=at(0),
            )
        )

    def attempt(delivery, delivered_at=None, next_attempt_at=None):
        database.write(
            lambda session: subscriptions.save_attempt(
                session,
                delivery,
                {"status": 500},
                delivered_at=delivered_at,
                next_attempt_at=next_attempt_at,
            )
        )

    def due(minutes):
        with database.reading() as connection:
            return subscriptions.find_due(connection, now=at(minutes))

    assert send("d-1", "m-1")
    assert not send("d-2", "m-1")
    (delivery,) = due(0)
    attempt(delivery, next_attempt_at=at(5))
    assert due(4) == []
    (delivery,) = due(5)
    assert (delivery.attempts, delivery.log) == (1, [{"status": 500}])
    attempt(delivery, delivered_at=at(5))
    assert due(99) == []
    assert database.write(lambda s: subscriptions.replay_delivery(s, "d-1", now=at(6)))
    assert not database.write(lambda s: subscriptions.replay_delivery(s, "none", now=at(6)))
    (delivery,) = due(6)
    attempt(delivery)
    with database.reading() as connection:
        (ended,) = subscriptions.list_deliveries(connection, "one")
    assert (ended.state, ended.attempts, len(ended.log)) == ("failed", 3, 3)
    assert database.write(lambda s: subscriptions.delete_subscription(s, "one"))
    assert not database.write(lambda s: subscriptions.delete_subscription(s, "one"))
    with database.reading() as connection:
        assert subscriptions.list_deliveries(connection, "one") == []
