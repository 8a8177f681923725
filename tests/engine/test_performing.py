"""Jobs without the engine: what a body's outcome or failure makes of the operation."""

import asyncio
from dataclasses import dataclass, field

import pytest

from registry.asking import ask_proof, ask_scan, cancel
from registry.db import operations
from registry.db.operations import State
from registry.db.proofs import Pair
from registry.domain.refs import Reference
from registry.errors import (
    DatabaseUnavailable,
    HubRateLimited,
    HubUnreachable,
    RepositoryGated,
)
from registry.jobs import Job, Priority, Queue
from tests.db.examples import digest
from workers.performing import HUB_TRIES, MOST_ATTEMPTS, Done, Handed, Performer


@dataclass
class Pauses:
    """Time that passes at once, and is remembered."""

    seconds: list[float] = field(default_factory=list)

    async def __call__(self, seconds):
        self.seconds.append(seconds)


@pytest.fixture
def pauses():
    return Pauses()


@pytest.fixture
def performer(database, jobs, pauses):
    return Performer(database, jobs, "one", lambda: {"one"}, pauses)


@pytest.fixture
def operation(database, jobs):
    return database.write(
        lambda session: ask_scan(session, jobs, Reference("a/b"), priority=Priority.PERSON)
    )


def perform(performer, operation, body, **more):
    async def asynchronous(work):
        return body(work)

    asyncio.run(performer.perform(Job(Queue.SCAN, operation.id, 0, **more), asynchronous))


def load(database, operation):
    with database.reading() as connection:
        return operations.load_operation(connection, operation.id)


def raising(error):
    def body(work):
        raise error

    return body


def test_what_the_body_found_is_the_operations_result(database, performer, operation):
    perform(performer, operation, lambda work: Done({"statuses": {"planned": 1}}))
    found = load(database, operation)
    assert (found.state, found.result) == (State.SUCCEEDED, {"statuses": {"planned": 1}})
    assert (found.attempts, found.executor_id) == (1, "one")


def test_an_error_of_ours_ends_the_operation_with_its_code(database, performer, operation):
    perform(performer, operation, raising(RepositoryGated()))
    found = load(database, operation)
    assert (found.state, found.problem["code"]) == (State.FAILED, "repository-gated")
    assert found.problem["fix"]


def test_a_fault_in_the_body_ends_the_operation_and_tells_nothing_of_our_inside(
    database, performer, operation
):
    perform(performer, operation, raising(KeyError("secret name")))
    found = load(database, operation)
    assert (found.state, found.problem["code"]) == (State.FAILED, "internal-error")
    assert "secret" not in str(found.problem)


def test_a_task_groups_error_counts_as_what_is_in_it(database, performer, operation):
    perform(performer, operation, raising(ExceptionGroup("", [RepositoryGated()])))
    assert load(database, operation).problem["code"] == "repository-gated"


def test_a_database_that_is_away_costs_no_attempt(database, performer, operation, pauses):
    tries = []

    def body(work):
        tries.append(work.attempt.number)
        if len(tries) < 4:
            raise DatabaseUnavailable
        return Done({})

    perform(performer, operation, body)
    assert tries == [1, 1, 1, 1]
    assert len(pauses.seconds) == 3
    assert load(database, operation).state is State.SUCCEEDED


def test_writes_of_the_body_are_refused_once_the_operation_is_cancelled(
    database, jobs, performer, operation
):
    written = []

    def body(work):
        cancel(database, jobs, operation.id)
        work.database.write(lambda session: written.append(1))
        return Done({})

    perform(performer, operation, body)
    assert written == []
    assert load(database, operation).state is State.CANCELLED


def test_a_job_that_ended_its_workers_too_often_is_given_to_no_other(
    database, performer, operation
):
    for _ in range(MOST_ATTEMPTS):
        database.write(lambda session: operations.take(session, operation.id, "dead"))
    ran = []
    perform(performer, operation, lambda work: ran.append(1))
    found = load(database, operation)
    assert ran == []
    assert (found.state, found.problem["code"]) == (State.FAILED, "internal-error")


def test_attempts_of_an_earlier_stage_do_not_count_against_the_next(database, performer, operation):
    for _ in range(MOST_ATTEMPTS):
        database.write(lambda session: operations.take(session, operation.id, "dead"))
    perform(performer, operation, lambda work: Done({}), spent=MOST_ATTEMPTS)
    assert load(database, operation).state is State.SUCCEEDED


@pytest.mark.parametrize("error", [HubUnreachable(), HubRateLimited(retry_after=30.0)])
def test_a_scan_that_the_hub_did_not_answer_is_tried_again_later(
    database, jobs, performer, operation, error
):
    for tries in range(HUB_TRIES - 1):
        spent = load(database, operation).attempts
        perform(performer, operation, raising(error), tries=tries, spent=spent)
        found = load(database, operation)
        assert found.state is State.QUEUED
        assert found.progress == {"stage": "waiting", "reason": error.code}
        assert f"{operation.id}.scan-t{tries + 1}" in jobs.list_open([operation.id])
    spent = load(database, operation).attempts
    perform(performer, operation, raising(error), tries=HUB_TRIES - 1, spent=spent)
    found = load(database, operation)
    assert (found.state, found.problem["code"]) == (State.FAILED, error.code)


def test_an_operation_handed_on_stays_open_with_a_job_on_the_other_queue(
    database, jobs, performer, operation
):
    perform(performer, operation, lambda work: Handed(Queue.REHEARSE, "planned", {"pairs": []}))
    found = load(database, operation)
    assert (found.state, found.executor_id) == (State.RUNNING, None)
    assert (found.progress, found.result) == ({"stage": "planned"}, {"pairs": []})
    assert f"{operation.id}.rehearse" in jobs.list_open([operation.id])


def test_an_operation_that_another_job_took_along_is_left_to_it(database, jobs, pauses):
    pair = Pair(digest("a"), None, digest("b"))
    first, second = (
        database.write(
            lambda session, pair=each: ask_proof(
                session, jobs, Reference("a/b"), None, pair, priority=Priority.PERSON
            )
        )
        for each in (pair, Pair(digest("c"), None, digest("b")))
    )
    database.write(lambda session: operations.take(session, first.id, "other"))
    _, attempt = database.write(lambda session: operations.take(session, second.id, "other"))
    database.write(lambda session: operations.note(session, attempt, {"with": first.id}))
    living = {"one", "other"}
    performer = Performer(database, jobs, "one", lambda: living, pauses)
    ran = []

    def body(work):
        ran.append(work.attempt.number)
        return Done({})

    perform(performer, second, body)
    assert ran == []
    assert f"{second.id}.scan-w1" in jobs.list_open([second.id])
    # Once that executor is gone, the operation's own job does it.
    living.discard("other")
    perform(performer, second, body)
    assert ran == [2]
