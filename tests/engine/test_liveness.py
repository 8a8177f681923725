"""Heartbeats at a hundredth of their pace: who is missed, what is taken up, what is left alone."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import sqlalchemy as sa

from registry.asking import ask_scan, cancel
from registry.db import operations, workers
from registry.db.operations import State
from registry.db.workers import Worker
from registry.domain.refs import Reference
from registry.jobs import Priority
from tests.chaos.harness import await_true
from workers.liveness import Liveness, Pulse

PULSE = Pulse(beat=0.05, dead=0.4, stranded=0.4, forget=0.1, kept_days=7)
SECONDS = 20


@pytest.fixture
def operation(database, jobs):
    return database.write(
        lambda session: ask_scan(session, jobs, Reference("a/b"), priority=Priority.PERSON)
    )


def claim(database, job_id, executor):
    """What the engine writes when an executor claims a job."""
    table = "dbos.workflow_status" if database.dialect == "postgresql" else "workflow_status"
    with database.transaction() as session:
        session.execute(
            sa.text(
                f"UPDATE {table} SET status = 'PENDING', executor_id = :executor "
                "WHERE workflow_uuid = :job"
            ),
            {"executor": executor, "job": job_id},
        )


@contextmanager
def beating(database, jobs, name="one", queues=("scan",), **more):
    liveness = Liveness(database, jobs, Worker(name, "host", queues, "cpu", {}), PULSE, **more)
    liveness.start()
    try:
        yield liveness
    finally:
        liveness.stop()


def running(jobs):
    return {job.id: job.executor_id for job in jobs.list_running()}


def load(database, operation):
    with database.reading() as connection:
        return operations.load_operation(connection, operation.id)


def test_a_job_of_an_executor_that_never_returns_is_put_back(database, jobs, operation):
    claim(database, operation.id, "dead")
    with beating(database, jobs) as liveness:
        await_true(lambda: running(jobs) == {}, SECONDS)
        assert liveness.recovered == 1
    assert jobs.list_open([operation.id]) == [operation.id]


def test_a_job_of_an_executor_that_beats_is_left_to_it(database, jobs, operation):
    claim(database, operation.id, "two")
    with (
        beating(database, jobs, "one") as one,
        beating(database, jobs, "two", active=lambda: (operation.id,)) as two,
    ):
        with pytest.raises(AssertionError):
            await_true(lambda: running(jobs) == {}, 2.0)
        assert (one.recovered, two.recovered) == (0, 0)


def test_what_an_executor_leaves_when_it_stops_is_taken_over(database, jobs, operation):
    with beating(database, jobs, "two", active=lambda: (operation.id,)):
        claim(database, operation.id, "two")
    with beating(database, jobs, "one") as one:
        await_true(lambda: running(jobs) == {}, SECONDS)
        assert one.recovered == 1


def test_a_job_that_was_claimed_here_and_never_begun_is_taken_up(database, jobs, operation):
    with beating(database, jobs) as liveness:
        claim(database, operation.id, "one")
        await_true(lambda: running(jobs) == {}, SECONDS)
        assert liveness.recovered == 1


def test_an_operation_that_has_no_job_any_more_gets_another(database, jobs, operation):
    jobs.cancel(operation.id)
    assert jobs.list_open([operation.id]) == []
    with beating(database, jobs):
        await_true(lambda: jobs.list_open([operation.id]) != [], SECONDS)
    assert jobs.list_open([operation.id]) == [f"{operation.id}.again0"]


@pytest.mark.parametrize("rehearser", [True, False])
def test_a_scan_waits_for_a_rehearsal_only_while_a_worker_rehearses(
    database, jobs, operation, rehearser
):
    _, attempt = database.write(lambda session: operations.take(session, operation.id, "one"))
    database.write(
        lambda session: operations.release(
            session, attempt, State.RUNNING, progress={"stage": "planned"}
        )
    )
    queues = ("scan", "rehearse") if rehearser else ("scan",)
    with beating(database, jobs, queues=queues):
        if rehearser:
            with pytest.raises(AssertionError):
                await_true(lambda: load(database, operation).state.is_over, 2.0)
        else:
            await_true(lambda: load(database, operation).state.is_over, SECONDS)
            assert load(database, operation).state is State.SUCCEEDED


def test_the_row_is_there_before_anything_is_claimed_and_says_who_left(database, jobs):
    with beating(database, jobs), database.reading() as connection:
        assert [each.executor_id for each in workers.list_living(connection, seconds=9)] == ["one"]
    with database.reading() as connection:
        assert workers.list_living(connection, seconds=9) == []


def test_a_worker_that_has_just_begun_misses_nobody_yet(database, jobs, operation):
    """After an outage nobody could be seen; whoever beats first must not take everything."""
    claim(database, operation.id, "slow")
    slow = Pulse(beat=0.05, dead=60.0)
    liveness = Liveness(database, jobs, Worker("one", "host", ["scan"], "cpu", {}), slow)
    liveness.start()
    try:
        with pytest.raises(AssertionError):
            await_true(lambda: running(jobs) == {}, 1.0)
    finally:
        liveness.stop()


def test_what_is_over_for_long_is_forgotten_with_its_job_and_what_is_open_stays(
    database, jobs, operation
):
    over = database.write(
        lambda session: ask_scan(session, jobs, Reference("a/over"), priority=Priority.PERSON)
    )
    assert cancel(database, jobs, over.id) is not None
    at_once = replace(PULSE, kept_days=0.0)
    worker = Worker("one", "host", ["scan", "rehearse"], "cpu", {})
    liveness = Liveness(database, jobs, worker, at_once)
    liveness.start()
    try:
        await_true(lambda: load(database, over) is None, SECONDS)
        await_true(lambda: ids_of_jobs(database) == {operation.id}, SECONDS)
        assert load(database, operation) is not None
    finally:
        liveness.stop()


def ids_of_jobs(database):
    table = "dbos.workflow_status" if database.dialect == "postgresql" else "workflow_status"
    with database.reading() as connection:
        return set(connection.scalars(sa.text(f"SELECT workflow_uuid FROM {table}")))
