"""The kill tests in short form; `python -m tests.chaos` is the long one."""

import signal
import time
from dataclasses import replace

import pytest

from migrations.upgrade import upgrade
from registry.asking import ask_scan
from registry.db.records import find_record, record_history
from registry.domain.refs import Reference
from registry.jobs import Priority, prepare
from tests.chaos import harness
from tests.chaos.cluster import Cluster, find_binaries
from tests.chaos.harness import Api, Asked, Crew
from tests.chaos.worker import FAST, Harm, Spec
from tests.cli.publishing import publish_base, tiny_base
from tests.data.adapters import Lora, lora_adapter
from tests.data.bearers import make_bearer
from tests.engine.publishing import name_of, publish_60
from tests.hub.process import HubProcess
from workers.engine import _POLL_SECONDS
from workers.liveness import Pulse
from workers.performing import MOST_ATTEMPTS

JOBS = 8
KILLS = (
    Harm("scan.taken", visit=2),
    Harm("scan.mid-save", visit=2),
    Harm("rehearse.storing"),
    Harm("prove.mid-save"),
    Harm("prove.stored"),
)
STOPS = (Harm("rehearse.saved", signal.SIGSTOP),)
API_KILLS = (Harm("api.asked", visit=3), Harm("api.committed", visit=3))


@pytest.fixture(scope="module")
def many_hub():
    with HubProcess(f"{publish_60.__module__}:{publish_60.__name__}") as hub:
        yield hub


@pytest.fixture
def spec(engine_url, many_hub, tmp_path):
    return Spec(engine_url, many_hub.url, str(tmp_path))


def ask(database, jobs, number):
    reference = Reference(name_of(number))
    return database.write(
        lambda session: ask_scan(session, jobs, reference, priority=Priority.PERSON)
    ).id


def test_whatever_is_killed_each_acknowledged_request_ends_once(spec):
    asked = Asked()
    with harness.opened(spec.url) as (database, _):
        token = make_bearer(database, "chaos", ("scan", "prove"))
        with Api(spec, API_KILLS) as api, Crew(spec, [*KILLS, *STOPS]) as crew:
            harness.insist(database, api.url, token, harness.ask_scans, range(JOBS), asked)
            harness.insist(database, api.url, token, harness.ask_proofs, range(JOBS), asked)
            for turn in range(1, harness.MOST_TURNS):
                # A worker that gets no job at its point of death lives on; then there is more.
                if crew.killed >= 3:
                    break
                more = range(JOBS * turn, JOBS * (turn + 1))
                harness.insist(database, api.url, token, harness.ask_scans, more, asked)
        states = harness.check_once(database, asked)
    assert states["succeeded"] >= len(asked.ids) - 2, states
    assert crew.killed >= 3
    assert api.killed == 2


def test_a_job_that_kills_its_workers_fails_alone_and_may_be_asked_again(spec):
    poisoned = replace(spec, poison=name_of(3))
    with harness.opened(spec.url) as (database, jobs):
        with Crew(poisoned, []) as crew:
            ids = [ask(database, jobs, number) for number in range(6)]
            found = harness.await_over(database, ids, 60)
        states = {each.request["repo_id"]: each.state.value for each in found}
        assert states.pop(name_of(3)) == "failed"
        assert set(states.values()) == {"succeeded"}
        assert crew.killed == MOST_ATTEMPTS
        failed = next(each for each in found if each.id == ids[3])
        assert failed.problem["code"] == "internal-error"
        # Asked for again it is another operation, and it runs.
        with Crew(spec, []):
            again = ask(database, jobs, 3)
            (done,) = harness.await_over(database, [again], 30)
    assert again != ids[3]
    assert done.state.value == "succeeded"


def test_a_worker_that_was_stopped_changes_nothing_when_it_goes_on(engine_url, hub, tmp_path):
    """It read the adapter before its author changed it, and would record what is no longer so."""
    publish_base(hub)
    hub.add_commit("acme/lora", lora_adapter(tiny_base(), Lora(rank=4)))
    spec = Spec(engine_url, hub.url, str(tmp_path), queues=("scan",))
    reference = Reference("acme/lora")
    stop = Harm("scan.saving", signal.SIGSTOP)
    with (
        harness.opened(engine_url) as (database, jobs),
        Crew(spec, [stop], size=1, sleep=FAST.dead + 3) as crew,
    ):
        operation = database.write(
            lambda session: ask_scan(session, jobs, reference, priority=Priority.PERSON)
        )
        harness.await_true(lambda: crew.asleep == 1, 30)
        stopped = time.monotonic()
        hub.add_commit("acme/lora", lora_adapter(tiny_base(), Lora(rank=16)))
        (done,) = harness.await_over(database, [operation.id], 45)
        taken_over = time.monotonic() - stopped
        harness.await_true(lambda: crew.continued == 1, 30)
        harness.await_true(lambda: harness.log_lines(tmp_path, "job-superseded") == 1, 30)
        with database.reading() as connection:
            current = find_record(connection, repo_id="acme/lora")
            history = record_history(connection, repo_id="acme/lora")
    assert taken_over < FAST.dead + 2 * FAST.beat + 10
    assert (done.state.value, done.attempts) == ("succeeded", 2)
    assert current.record.facts.rank == 16
    assert len(history) == 1


def test_a_dead_worker_is_missed_in_well_under_a_minute():
    pulse = Pulse()
    # Seen last just before it died, missed at the second beat after that, polled for once.
    assert pulse.dead + 2 * pulse.beat + _POLL_SECONDS < 45


@pytest.mark.postgres
@pytest.mark.skipif(find_binaries() is None, reason="no initdb on this machine")
def test_work_goes_on_after_the_database_was_stopped_hard(many_hub, tmp_path):
    asked = Asked()
    with Cluster(tmp_path / "cluster") as cluster:
        upgrade(cluster.url)
        prepare(cluster.url)
        spec = Spec(cluster.url, many_hub.url, str(tmp_path))
        with harness.opened(cluster.url) as (database, _):
            token = make_bearer(database, "chaos", ("scan", "prove"))
            with Api(spec, []) as api, Crew(spec, []):
                harness.ask_scans(api.url, token, range(JOBS), asked)
                cluster.stop_hard()
                time.sleep(1.5)
                cluster.start()
                harness.await_over(database, asked.ids, 60)
            states = harness.check_once(database, asked)
    assert states["succeeded"] == JOBS
