"""Operations and attempts on both databases: who holds what, and what it is refused."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from registry.db import operations, workers
from registry.db.models import WorkerRow
from registry.db.operations import State, Superseded
from registry.db.workers import HubQuota, Worker, find_quota


def ask(database, key="scan:acme/lora", **more):
    values = {"kind": "scan", "request": {"repo_id": "acme/lora"}, "priority": 1, **more}
    return database.write(
        lambda session: operations.ensure_operation(session, dedupe_key=key, **values)
    )


def events_of(database, operation_id, after=0):
    with database.reading() as connection:
        return operations.list_events(connection, after=after, operation_id=operation_id)


def load(database, operation_id):
    with database.reading() as connection:
        return operations.load_operation(connection, operation_id)


def take(database, operation_id, executor):
    return database.write(lambda session: operations.take(session, operation_id, executor))


def test_the_same_request_in_flight_is_the_same_operation(database):
    first, made = ask(database)
    second, made_again = ask(database)
    assert (made, made_again) == (True, False)
    assert first.id == second.id


def test_twelve_threads_that_ask_for_the_same_get_one_operation(database):
    found, start = [], threading.Barrier(12)

    def run():
        start.wait()
        found.append(ask(database)[0].id)

    threads = [threading.Thread(target=run) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert len(set(found)) == 1


def test_asking_for_something_finished_makes_another_operation(database):
    first, _ = ask(database)
    _, attempt = take(database, first.id, "one")
    database.write(lambda session: operations.finish(session, attempt, State.SUCCEEDED))
    second, made = ask(database)
    assert made
    assert second.id != first.id


def test_an_attempt_is_refused_once_another_has_taken_the_operation(database):
    operation, _ = ask(database)
    _, stopped = take(database, operation.id, "stopped")
    _, present = take(database, operation.id, "present")
    for change in (
        lambda session: operations.hold(session, stopped),
        lambda session: operations.note(session, stopped, {"stage": "reading"}),
        lambda session: operations.release(session, stopped, State.QUEUED, progress={}),
        lambda session: operations.finish(session, stopped, State.FAILED),
    ):
        with pytest.raises(Superseded):
            database.write(change)
    database.write(lambda session: operations.finish(session, present, State.SUCCEEDED))
    assert load(database, operation.id).state is State.SUCCEEDED
    assert [event.name for event in events_of(database, operation.id)] == ["queued", "done"]


def test_the_same_executor_taking_again_supersedes_its_own_earlier_attempt(database):
    operation, _ = ask(database)
    _, earlier = take(database, operation.id, "one")
    take(database, operation.id, "one")
    with pytest.raises(Superseded):
        database.write(lambda session: operations.hold(session, earlier))


def test_what_is_over_is_neither_taken_nor_closed_again(database):
    operation, _ = ask(database)
    closed = database.write(
        lambda session: operations.close(session, operation.id, State.CANCELLED)
    )
    assert closed.state is State.CANCELLED
    assert take(database, operation.id, "one") is None
    again = database.write(lambda session: operations.close(session, operation.id, State.FAILED))
    assert again is None
    assert [event.name for event in events_of(database, operation.id)] == ["queued", "done"]


def test_a_cancelled_operation_refuses_what_its_worker_finds(database):
    operation, _ = ask(database)
    _, attempt = take(database, operation.id, "one")
    database.write(lambda session: operations.close(session, operation.id, State.CANCELLED))
    with pytest.raises(Superseded):
        database.write(lambda session: operations.finish(session, attempt, State.SUCCEEDED))


def test_events_become_visible_in_the_order_of_their_ids(database):
    """A reader that goes on from the greatest id it saw misses nothing of eight writers."""
    ids = [ask(database, f"scan:{number}")[0].id for number in range(8)]
    attempts = [take(database, each, "one")[1] for each in ids]

    def write(attempt):
        for number in range(15):
            database.write(lambda s, n=number: operations.note(s, attempt, {"stage": str(n)}))

    threads = [threading.Thread(target=write, args=(each,)) for each in attempts]
    for thread in threads:
        thread.start()
    seen, last = [], 8
    while any(thread.is_alive() for thread in threads) or len(seen) < 120:
        with database.reading() as connection:
            new = operations.list_events(connection, after=last)
        seen += [event.id for event in new]
        last = max([last, *seen])
    for thread in threads:
        thread.join()
    assert len(seen) == 120


def test_old_operations_are_forgotten_with_their_events_and_open_ones_kept(database):
    over, _ = ask(database, "scan:over")
    still, _ = ask(database, "scan:open")
    database.write(lambda session: operations.close(session, over.id, State.CANCELLED))
    later = datetime.now(UTC) + timedelta(days=1)
    gone = database.write(
        lambda session: operations.delete_finished(session, before=later, limit=10)
    )
    assert gone == [over.id]
    assert events_of(database, over.id) == []
    assert load(database, still.id) is not None


def test_waiting_operations_are_listed_by_key_and_urgency_once_never_tried(database):
    crawl, _ = ask(database, "prove:b:1", priority=10)
    person, _ = ask(database, "prove:b:2", priority=1)
    tried, _ = ask(database, "prove:b:3", priority=1)
    ask(database, "prove:c:1")
    _, attempt = take(database, tried.id, "one")
    database.write(lambda s: operations.release(s, attempt, State.QUEUED, progress={}))
    listed = database.write(lambda s: operations.list_queued(s, "prove:b:", limit=10))
    assert [each.id for each in listed] == [person.id, crawl.id]


def test_a_heartbeat_carries_what_the_hub_leaves_and_the_smallest_figure_counts(database):
    now = datetime.now(UTC)
    soon = now + timedelta(seconds=60)
    told = {
        "one": [HubQuota("api", 480, 500, soon), HubQuota("resolvers", 9, None, soon)],
        "two": [HubQuota("api", 470, 500, soon), HubQuota("pages", 0, 5, now)],
        "none": [],
    }
    for name, quotas in told.items():
        worker = Worker(name, "host", ["scan"], "cpu", {}, hub_quota=quotas)
        database.write(lambda session, worker=worker: workers.beat(session, worker))
    with database.reading() as connection:
        living = workers.list_living(connection, seconds=5)
    assert {each.executor_id: list(each.hub_quota) for each in living} == told
    # The window of the pages is over: what the next one holds is not known.
    assert find_quota(living, now) == [told["two"][0], told["one"][1]]


@pytest.mark.parametrize("document", ["null", '"busy"', '{"hub_quota": "480"}', '{"a": 1}'])
def test_what_another_release_wrote_in_a_heartbeat_is_unknown(database, document):
    worker = Worker("one", "host", ["scan"], "cpu", {})
    database.write(lambda session: workers.beat(session, worker))
    database.write(
        lambda session: session.execute(
            sa.update(WorkerRow).values(current_work=json.loads(document))
        )
    )
    with database.reading() as connection:
        (found,) = workers.list_living(connection, seconds=5)
    assert found.hub_quota == ()


def test_a_worker_lives_while_it_beats_and_leaves_when_it_says_so(database):
    worker = Worker("one", "host", ["scan"], "cpu", {})
    database.write(lambda session: workers.beat(session, worker))
    with database.reading() as connection:
        assert [each.executor_id for each in workers.list_living(connection, seconds=5)] == ["one"]
        assert workers.list_living(connection, seconds=-1) == []
    database.write(lambda session: workers.leave(session, "one"))
    with database.reading() as connection:
        assert workers.list_living(connection, seconds=5) == []
    # One that was only stopped, and thought gone, is there again with its next beat.
    database.write(lambda session: workers.beat(session, worker))
    with database.reading() as connection:
        assert len(workers.list_living(connection, seconds=5)) == 1
