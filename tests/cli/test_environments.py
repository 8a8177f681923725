"""`doctor --environments` and `--retire-environment`: what was proven only there becomes stale."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from registry.db import proofs, records
from registry.db.models import OperationRow
from registry.domain.record import Status
from registry.proving import save_proven
from tests.db import examples
from tests.engine.conftest import (  # noqa: F401
    database,
    engine_url,
    prepared_postgres,
    prepared_sqlite,
)
from tests.engine.test_proofs import CUDA, find, put, rehearsed

OLD, NEW = {"torch": "2.9", "peft": "0.20"}, {"torch": "2.9", "peft": "0.21"}


def prove(database, name, *environments):  # noqa: F811
    """Record a passed proof in each of these environments."""
    record = rehearsed(name)
    put(database, record)
    for minute, environment in enumerate(environments, 1):
        proof = replace(examples.proof(f"{name}-{minute}"), environment=environment)
        database.write(
            lambda session, proof=proof, at=examples.at(minute): save_proven(
                session, record, proof, accepted=CUDA, recorded_at=at
            )
        )


@pytest.fixture
def command(loadplan, engine_url):  # noqa: F811
    return lambda *arguments: loadplan("doctor", *arguments, LOADPLAN_DATABASE_URL=engine_url)


def id_of(environment):
    return proofs.environment_digest(environment).removeprefix("sha256:")


def status_of(database, name):  # noqa: F811
    return find(database, name).status


def test_records_proven_only_in_a_retired_environment_become_stale(command, database, engine_url):  # noqa: F811
    prove(database, "only-old", OLD)
    prove(database, "both", OLD, NEW)
    listed = command("--environments", "--json").document
    assert {row["id"]: row["passed"] for row in listed} == {id_of(OLD): 2, id_of(NEW): 1}

    done = command("--retire-environment", id_of(OLD)[:10], "--reason", "a bad release", "--json")
    queued = 0 if engine_url.startswith("sqlite") else 1
    expected = {"id": id_of(OLD), "stale": ["acme/only-old@main"], "queued": queued}
    assert (done.exit_code, done.document) == (0, expected), done.err
    assert status_of(database, "only-old") is Status.STALE
    assert status_of(database, "both") is Status.COMPATIBLE
    (kept,) = find(database, "only-old").proofs
    assert kept.environment["retired_reason"] == "a bad release"
    with database.reading() as connection:
        asked = connection.execute(sa.select(OperationRow.kind, OperationRow.request)).all()
    assert [row.kind for row in asked] == ["prove"] * queued
    assert all(row.request["repo_id"] == "acme/only-old" for row in asked)
    said = command("--environments").out
    assert "a bad release" in said
    assert "peft 0.21" in said


def test_a_proof_with_retired_versions_is_listed_and_makes_nothing_compatible(command, database):  # noqa: F811
    prove(database, "first", OLD)
    assert command("--retire-environment", id_of(OLD)).exit_code == 0
    prove(database, "later", OLD)
    later = find(database, "later")
    assert later.status is Status.REHEARSED
    assert [each.outcome for each in later.proofs] == ["passed"]
    assert "retired_at" in later.proofs[0].environment
    failed = replace(examples.proof("failed"), environment=OLD, outcome="failed")
    database.write(
        lambda session: save_proven(
            session, later, failed, accepted=CUDA, recorded_at=examples.at(5)
        )
    )
    assert status_of(database, "later") is Status.REHEARSED
    # With other versions it is proven anew.
    proof = replace(examples.proof("anew"), environment=NEW)
    with database.reading() as connection:
        stale = records.find_record(connection, repo_id="acme/first").record
    database.write(
        lambda session: save_proven(
            session, stale, proof, accepted=CUDA, recorded_at=examples.at(6)
        )
    )
    assert status_of(database, "first") is Status.COMPATIBLE


def test_each_proof_of_a_record_says_that_it_was_retired(command, database):  # noqa: F811
    """The second retirement takes the last standing proof; the first one is not forgotten."""
    prove(database, "both", OLD, NEW)
    assert command("--retire-environment", id_of(OLD)).exit_code == 0
    assert command("--retire-environment", id_of(NEW)).exit_code == 0
    found = find(database, "both")
    assert found.status is Status.STALE
    assert all("retired_at" in each.environment for each in found.proofs)


@pytest.mark.parametrize("wanted", ["", "ffff0000", "sha256:"])
def test_an_id_that_names_no_environment_is_a_usage_error(command, database, wanted):  # noqa: F811
    prove(database, "a", OLD)
    done = command("--retire-environment", wanted, "--json")
    assert (done.exit_code, done.document["code"]) == (2, "invalid-request")
    assert "--environments" in done.document["detail"]
    assert status_of(database, "a") is Status.COMPATIBLE


def test_an_environment_is_retired_once(command, database):  # noqa: F811
    prove(database, "a", OLD)
    assert command("--retire-environment", id_of(OLD)).exit_code == 0
    done = command("--retire-environment", id_of(OLD), "--json")
    assert (done.exit_code, done.document["code"]) == (2, "invalid-request")


def test_without_proofs_there_is_nothing_to_retire(command):
    done = command("--environments")
    assert (done.exit_code, done.out) == (0, "")
    assert "No proof" in done.err
