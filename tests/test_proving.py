"""What a proof makes of a record, on both databases: policy, inheritance, retirement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.db.plans import load_rehearsals
from registry.db.proofs import environment_digest
from registry.db.records import find_pair, find_record, save_record
from registry.domain.record import Evidence, Status
from registry.planning import record_rehearsal, save_rehearsed
from registry.proving import record_proof, retire_environment, save_proven
from tests.db.conftest import (  # noqa: F401
    database,
    migrated_postgres,
    migrated_sqlite,
    migrated_url,
)
from tests.db.examples import at, base_facts, proof, record
from workers.rehearse import Rehearsal, RehearsalRun

GATES = {
    name: {"outcome": "passed", "figure": 1, "reason": None}
    for name in ("landed", "nothing_else", "finite", "effect", "forward")
}


def rehearsed(**changes):
    return record(status=Status.REHEARSED, evidence=Evidence.REHEARSED, **changes)


def passed(name="proof-1", device="cuda"):
    return replace(proof(name), device=device, checks=GATES)


def save(database, one, minutes=0.0):  # noqa: F811
    with database.transaction() as session:
        return save_record(session, one, scanned_at=at(minutes))


def prove(database, one, given, accepted=("cuda",), minutes=1.0):  # noqa: F811
    with database.transaction() as session:
        return save_proven(session, one, given, accepted=accepted, recorded_at=at(minutes))


def pair(database, one):  # noqa: F811
    with database.reading() as connection:
        found = find_pair(connection, one.adapter.digest, one.adapter.subfolder, one.base.digest)
    return found.record


def test_only_a_passed_proof_on_an_accepted_device_makes_compatible():
    one = rehearsed()
    for device, accepted, status, evidence in (
        ("cuda", ("cuda",), Status.COMPATIBLE, Evidence.PROVEN),
        ("cuda x2", ("cuda",), Status.COMPATIBLE, Evidence.PROVEN),
        ("cpu", ("cuda", "cpu"), Status.COMPATIBLE, Evidence.PROVEN),
        ("cpu", ("cuda",), Status.REHEARSED, Evidence.REHEARSED),
    ):
        proven = record_proof(one, passed(device=device), accepted=accepted)
        assert (proven.status, proven.evidence) == (status, evidence), device
        assert proven.proofs[0].device == device


@pytest.mark.parametrize(
    ("gate", "code"),
    [("finite", "weights-not-finite"), ("effect", "no-effect"), ("landed", "tensors-missing")],
)
def test_a_failed_gate_makes_incompatible_and_names_the_reason(gate, code):
    checks = GATES | {gate: {"outcome": "failed", "figure": None, "reason": "because"}}
    failed = replace(passed(), outcome="failed", checks=checks)
    proven = record_proof(rehearsed(), failed, accepted=("cuda",))
    assert (proven.status, proven.plan) == (Status.INCOMPATIBLE, None)
    (issue,) = [issue for issue in proven.issues if issue.code == code]
    assert "because" in issue.message


def test_a_failure_of_ours_is_listed_and_changes_no_status():
    error = {"code": "proof-out-of-memory", "message": "It needs 20 GB.", "needed_bytes": 1}
    failed = replace(passed(), outcome="error", checks={"error": error})
    proven = record_proof(rehearsed(), failed, accepted=("cuda",))
    assert (proven.status, proven.evidence) == (Status.REHEARSED, Evidence.REHEARSED)
    assert proven.proofs[0].outcome == "error"
    assert "proof-out-of-memory" in {issue.code for issue in proven.issues}
    again = record_proof(proven, passed("proof-2"), accepted=("cuda",))
    assert again.status is Status.COMPATIBLE
    assert "proof-out-of-memory" not in {issue.code for issue in again.issues}


def test_a_proof_counts_once_and_holds_for_equal_content_elsewhere(database):  # noqa: F811
    one = rehearsed()
    copy = rehearsed(adapter=replace(one.adapter, repo_id="acme/copy"), base=one.base)
    copy = replace(copy, plan=one.plan)
    save(database, one)
    save(database, copy)
    assert prove(database, one, passed())
    assert not prove(database, one, passed())
    with database.reading() as connection:
        here = find_record(connection, repo_id="acme/chat-lora").record
        there = find_record(connection, repo_id="acme/copy").record
    assert (here.status, there.status) == (Status.COMPATIBLE, Status.COMPATIBLE)
    assert len(here.proofs) == len(there.proofs) == 1
    assert here.proofs[0].inherited_from is None
    assert there.proofs[0].inherited_from["adapter"]["repo_id"] == "acme/chat-lora"


def test_another_plan_is_proven_by_none_of_this_ones_runs(database):  # noqa: F811
    one = rehearsed()
    save(database, one)
    planned_anew = replace(one, plan=replace(one.plan, digest="sha256:" + "9" * 64))
    save(database, planned_anew, minutes=1)
    prove(database, one, passed(), minutes=2)
    assert pair(database, one).status is Status.REHEARSED


def test_a_retired_environment_makes_stale_and_keeps_the_evidence(database):  # noqa: F811
    one = rehearsed()
    save(database, one)
    prove(database, one, passed())
    digest = environment_digest(passed().environment)
    with database.transaction() as session:
        lost = retire_environment(session, digest, retired_at=at(5), reason="a wrong kernel")
    assert [pair_.adapter_digest for pair_ in lost] == [one.adapter.digest]
    stale = pair(database, one)
    assert (stale.status, stale.evidence) == (Status.STALE, Evidence.PROVEN)
    assert stale.proofs[0].environment["retired_reason"] == "a wrong kernel"
    with database.transaction() as session:
        assert retire_environment(session, digest, retired_at=at(6), reason="again") == []
    newer = replace(passed("proof-2"), environment={"torch": "2.14.0"})
    prove(database, stale, newer, minutes=7)
    assert pair(database, one).status is Status.COMPATIBLE


def test_both_runs_of_a_rehearsal_are_kept_as_they_came(database):  # noqa: F811
    one = record()
    save(database, one)
    run = RehearsalRun("raises", error="RuntimeError: size mismatch", missing=("a",))
    rehearsal = Rehearsal(
        run, RehearsalRun("faults", unexpected=("b",)), None, "AutoModelForCausalLM", {"peft": "0"}
    )
    after = record_rehearsal(one, rehearsal)
    save_rehearsed(
        database, after, base_facts(one.base), rehearsal, plan=one.plan, recorded_at=at(1)
    )
    with database.reading() as connection:
        runs = load_rehearsals(connection, one.adapter.digest, None, one.base.digest)
    found = {run.plan_digest: run for run in runs}
    assert found[None].error == "RuntimeError: size mismatch"
    assert found[None].missing == ("a",)
    assert found[one.plan.digest].unexpected == ("b",)
    assert after.status is Status.INCOMPATIBLE


def test_an_unknown_rehearsal_is_unsupported_and_never_incompatible():
    rehearsal = Rehearsal(
        RehearsalRun("unknown", error="meta tensors"),
        RehearsalRun("unknown", error="meta tensors"),
        None,
        "AutoModelForCausalLM",
        {},
    )
    after = record_rehearsal(record(), rehearsal)
    assert after.status is Status.UNSUPPORTED
