"""Plans and rehearsals by what they are of."""

from __future__ import annotations

from dataclasses import replace

from registry.db import plans, records
from tests.db.examples import at, digest, record


def rehearsal(**changes) -> plans.StoredRehearsal:
    one = plans.StoredRehearsal(
        adapter_digest=digest("adapter"),
        subfolder=None,
        base_digest=digest("base"),
        plan_digest=digest("plan"),
        outcome="faults",
        missing=("a\x00", "b\ud800"),
        unexpected=("x",),
        overwritten=(),
        error=None,
        warnings=("w",),
        versions={"peft": "0.21.2", "torch": "2.13.0"},
        finished_at=at(0),
    )
    return replace(one, **changes)


def test_a_plan_is_found_by_its_digest(database):
    saved = record()
    database.write(lambda session: records.save_record(session, saved, scanned_at=at(0)))
    with database.reading() as connection:
        assert plans.load_plan(connection, saved.plan.digest) == saved.plan
        assert plans.load_plan(connection, digest("none")) is None


def test_rehearsals_of_a_pair_come_back_newest_first_and_a_repeated_one_replaces_itself(database):
    naive = rehearsal(plan_digest=None, outcome="raises", error="size mismatch \x00")
    other_versions = rehearsal(versions={"peft": "0.22.0"})
    elsewhere = rehearsal(subfolder="a")
    again = rehearsal(outcome="landed", missing=(), unexpected=(), finished_at=at(1))
    for one in (rehearsal(), naive, other_versions, elsewhere, again):
        database.write(lambda session, one=one: plans.save_rehearsal(session, one))
    with database.reading() as connection:
        found = plans.load_rehearsals(connection, digest("adapter"), None, digest("base"))
    assert found == [again, other_versions, naive]
