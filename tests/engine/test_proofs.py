"""Proofs as jobs and on record: one base at a time, once each, and only a passed one counts."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from registry.asking import ask_proof, cancel
from registry.db import checkpoints, operations, proofs, records
from registry.db.operations import State
from registry.db.proofs import Pair
from registry.domain.record import Evidence, Status
from registry.domain.refs import Reference
from registry.jobs import Job, Priority, Queue
from registry.proving import record_proof, retire_environment, save_proven
from tests.db import examples
from workers.performing import Performer
from workers.proofs import ProveBody

BASE = examples.ref("acme/base", "base")
CUDA = frozenset({"cuda"})


@dataclass
class Runner:
    """Gives the proofs it was told to give, and remembers what it was asked together."""

    outcome: str = "passed"
    asked: list[int] = field(default_factory=list)
    before: object = None

    def prove(self, plans):
        self.asked.append(len(plans))
        if self.before is not None:
            self.before()
        return [replace(examples.proof(), outcome=self.outcome) for _ in plans]


def rehearsed(name):
    adapter = examples.ref(f"acme/{name}", name)
    plan = examples.plan(adapter, BASE)
    return replace(
        examples.record(adapter, BASE),
        plan=plan,
        status=Status.REHEARSED,
        evidence=Evidence.REHEARSED,
    )


def put(database, record):
    with database.transaction() as session:
        checkpoints.save_adapter(session, examples.adapter_facts(record.adapter))
        checkpoints.save_base(session, examples.base_facts(record.base))
        records.save_record(session, record, scanned_at=examples.at(0))


def pair_of(record):
    return Pair(record.adapter.digest, record.adapter.subfolder, record.base.digest)


@pytest.fixture
def ask(database, jobs):
    def make(name):
        record = rehearsed(name)
        put(database, record)
        reference = Reference(record.adapter.repo_id)
        return database.write(
            lambda session: ask_proof(
                session, jobs, reference, None, pair_of(record), priority=Priority.PERSON
            )
        )

    return make


def perform(database, jobs, operation, runner):
    performer = Performer(database, jobs, "one", lambda: {"one"})
    body = ProveBody(runner, database, CUDA)
    asyncio.run(performer.perform(Job(Queue.PROVE, operation.id, 0), body))


def load(database, operation):
    with database.reading() as connection:
        return operations.load_operation(connection, operation.id)


def find(database, name):
    with database.reading() as connection:
        return records.find_record(connection, repo_id=f"acme/{name}").record


def test_all_waiting_proofs_of_a_base_are_run_together(database, jobs, ask):
    asked = [ask(name) for name in ("a", "b", "c")]
    runner = Runner()
    for operation in asked:
        perform(database, jobs, operation, runner)
    assert runner.asked == [3]
    for name, operation in zip("abc", asked, strict=True):
        found = load(database, operation)
        assert (found.state, found.result["outcome"]) == (State.SUCCEEDED, "passed")
        record = find(database, name)
        assert (record.status, record.evidence) == (Status.COMPATIBLE, Evidence.PROVEN)
        assert [proof.id for proof in record.proofs] == [operation.id]


def test_a_proof_that_died_with_its_worker_before_is_run_alone(database, jobs, ask):
    first = ask("a")
    ask("b")
    database.write(lambda session: operations.take(session, first.id, "dead"))
    runner = Runner()
    perform(database, jobs, first, runner)
    assert runner.asked == [1]


def test_a_job_that_runs_again_after_its_proof_was_stored_proves_nothing_twice(database, jobs, ask):
    operation = ask("a")
    record = find(database, "a")
    stored = replace(examples.proof(), id=operation.id)
    save = lambda session: save_proven(  # noqa: E731
        session, record, stored, accepted=CUDA, recorded_at=examples.at(1)
    )
    assert database.write(save)
    assert not database.write(save)
    runner = Runner()
    perform(database, jobs, operation, runner)
    assert runner.asked == []
    assert load(database, operation).state is State.SUCCEEDED
    assert len(find(database, "a").proofs) == 1


def test_one_that_is_cancelled_while_others_run_leaves_no_proof(database, jobs, ask):
    first, second = ask("a"), ask("b")
    runner = Runner(before=lambda: cancel(database, jobs, second.id))
    perform(database, jobs, first, runner)
    assert runner.asked == [2]
    assert load(database, first).state is State.SUCCEEDED
    assert load(database, second).state is State.CANCELLED
    assert find(database, "b").proofs == ()
    assert find(database, "b").status is Status.REHEARSED


def test_a_proof_that_could_not_be_run_is_listed_and_changes_nothing(database, jobs, ask):
    operation = ask("a")
    perform(database, jobs, operation, Runner("error"))
    found = load(database, operation)
    assert (found.state, found.problem["code"]) == (State.FAILED, "child-failed")
    record = find(database, "a")
    assert record.status is Status.REHEARSED
    assert [proof.outcome for proof in record.proofs] == ["error"]


def test_a_pair_without_a_plan_any_more_ends_its_operation(database, jobs, ask):
    operation = ask("a")
    put(database, replace(rehearsed("a"), plan=None, status=Status.UNSUPPORTED))
    perform(database, jobs, operation, Runner())
    assert load(database, operation).problem["code"] == "invalid-request"


def test_only_an_accepted_device_makes_a_record_compatible():
    record = rehearsed("a")
    on_cpu = replace(examples.proof(), device="cpu")
    assert record_proof(record, on_cpu, accepted=CUDA).status is Status.REHEARSED
    assert record_proof(record, on_cpu, accepted={"cuda", "cpu"}).status is Status.COMPATIBLE
    spread = replace(examples.proof(), device="cuda x4")
    assert record_proof(record, spread, accepted=CUDA).status is Status.COMPATIBLE


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("landed", "tensors-missing"),
        ("nothing_else", "tensors-missing"),
        ("finite", "weights-not-finite"),
        ("effect", "no-effect"),
        ("forward", "weights-not-finite"),
    ],
)
def test_a_failed_gate_makes_a_record_incompatible_and_says_why(gate, code):
    checks = {gate: {"outcome": "failed", "reason": "it was so", "figure": None}}
    failed = replace(examples.proof(), outcome="failed", device="cpu", checks=checks)
    record = record_proof(rehearsed("a"), failed, accepted=CUDA)
    assert (record.status, record.plan) == (Status.INCOMPATIBLE, None)
    (issue,) = [issue for issue in record.issues if issue.code == code]
    assert "it was so" in issue.message


def test_notes_and_reasons_of_a_run_become_warnings_and_the_next_run_clears_its_own():
    checks = {"error": {"code": "proof-timeout", "message": "too slow"}}
    late = replace(examples.proof("p1"), outcome="error", checks=checks)
    record = record_proof(rehearsed("a"), late, accepted=CUDA)
    assert "proof-timeout" in {issue.code for issue in record.issues}
    notes = [{"code": "merge-unsafe", "message": "m"}, {"code": "unheard-of"}, "garbage"]
    passed = replace(examples.proof("p2"), checks={"notes": notes})
    record = record_proof(record, passed, accepted=CUDA)
    codes = {issue.code for issue in record.issues}
    assert "merge-unsafe" in codes
    assert "proof-timeout" not in codes
    assert record.status is Status.COMPATIBLE
    assert [proof.id for proof in record.proofs] == ["p2", "p1"]


def test_equal_content_elsewhere_inherits_the_proof_and_says_from_where(database):
    here = rehearsed("a")
    elsewhere = replace(
        here, adapter=replace(examples.ref("copies/a", "a"), digest=here.adapter.digest)
    )
    put(database, here)
    put(database, elsewhere)
    database.write(
        lambda session: save_proven(
            session, here, examples.proof(), accepted=CUDA, recorded_at=examples.at(1)
        )
    )
    assert find(database, "a").proofs[0].inherited_from is None
    with database.reading() as connection:
        copy = records.find_record(connection, repo_id="copies/a").record
    assert copy.status is Status.COMPATIBLE
    assert copy.proofs[0].inherited_from["adapter"]["repo_id"] == "acme/a"


def test_records_that_stand_on_a_retired_environment_become_stale(database):
    record = rehearsed("a")
    put(database, record)
    proof = examples.proof()
    database.write(
        lambda session: save_proven(
            session, record, proof, accepted=CUDA, recorded_at=examples.at(1)
        )
    )
    digest = proofs.environment_digest(proof.environment)
    retire = lambda session: retire_environment(  # noqa: E731
        session, digest, retired_at=examples.at(2), reason="a faulty release"
    )
    assert database.write(retire) == [pair_of(record)]
    assert find(database, "a").status is Status.STALE
    assert len(find(database, "a").proofs) == 1
    assert database.write(retire) == []
