"""What pages ask the database beside a record."""

from dataclasses import replace

import pytest

from registry.asking import ask_scan
from registry.db import operations
from registry.db.checkpoints import save_adapter, save_base
from registry.db.open_work import (
    count_ended,
    find_open_work,
    last_event_at,
    list_running,
    list_sweeps,
)
from registry.db.operations import State
from registry.db.proofs import save_proof
from registry.db.records import RecordFilter, save_record
from registry.db.records.choices import count_choices, count_with_issue
from registry.db.records.matrix import load_matrix
from registry.db.records.places_of import list_commits, list_on_bases
from registry.db.repositories import save_access
from registry.domain.issues import make_issue
from registry.domain.record import Evidence, Status
from registry.domain.refs import Source, parse_reference
from registry.jobs import Jobs, Priority
from tests.db.examples import adapter_facts, at, base_facts, proof, record, ref
from tests.engine.conftest import (  # noqa: F401
    database,
    engine_url,
    prepared_postgres,
    prepared_sqlite,
)


def save(database, *records, minutes=0):  # noqa: F811
    with database.transaction() as session:
        for place, one in enumerate(records):
            save_adapter(session, adapter_facts(one.adapter))
            save_base(session, base_facts(one.base))
            save_record(session, one, scanned_at=at(minutes + place))


@pytest.fixture
def some(database):  # noqa: F811
    """Six planned on one base, two incompatible on another."""
    issue = make_issue("shape-mismatch", "has another shape.")
    planned = [record(ref(f"acme/a{n}", n)) for n in range(6)]
    wrong = [
        replace(
            record(ref(f"other/b{n}", f"b{n}"), ref("acme/second", "second")),
            status=Status.INCOMPATIBLE,
            plan=None,
            issues=(issue,),
        )
        for n in range(2)
    ]
    save(database, *planned, *wrong)
    return planned, wrong


def test_a_chosen_facet_still_counts_its_other_values(database, some):  # noqa: F811
    with database.reading() as connection:
        choices = count_choices(connection, RecordFilter(status="incompatible"))
    assert choices.total == 2
    assert dict(choices.values["status"]) == {"planned": 6, "incompatible": 2}
    assert dict(choices.values["base"]) == {"acme/second": 2}
    assert dict(choices.values["author"]) == {"other": 2}
    assert dict(choices.values["issue"]) == {"shape-mismatch": 2}


def test_two_chosen_facets_limit_each_other(database, some):  # noqa: F811
    with database.reading() as connection:
        choices = count_choices(connection, RecordFilter(status="planned", base="acme/second"))
    assert choices.total == 0
    assert dict(choices.values["status"]) == {"incompatible": 2, "planned": 0}
    assert dict(choices.values["base"]) == {"acme/base": 6, "acme/second": 0}


def test_issues_are_counted_once_per_record_and_not_of_private_ones(database, some):  # noqa: F811
    with database.reading() as connection:
        assert count_with_issue(connection) == [("shape-mismatch", 2)]
        assert count_with_issue(connection, code="rank-high") == []
    with database.transaction() as session:
        save_access(
            session,
            Source.HUB,
            "other/b0",
            access="readable",
            private=True,
            gated=False,
            checked_at=at(9),
        )
    with database.reading() as connection:
        assert count_with_issue(connection) == [("shape-mismatch", 1)]
        everything = frozenset({"*"})
        assert count_with_issue(connection, visible=everything) == [("shape-mismatch", 2)]


def test_commits_are_told_with_the_branches_that_are_at_them(database):  # noqa: F811
    first, second = (record(ref("acme/a", content)) for content in ("one", "two"))
    tagged = replace(first, adapter=replace(first.adapter, revision="v1"))
    save(database, first, tagged, second)
    with database.reading() as connection:
        newest, oldest = list_commits(connection, Source.HUB, "acme/a")
    assert (newest.commit_sha, newest.names) == (second.adapter.commit_sha, ("main",))
    assert (oldest.commit_sha, oldest.names) == (first.adapter.commit_sha, ("v1",))
    assert oldest.content == first.adapter.digest


def test_an_adapter_is_listed_on_each_of_its_bases(database):  # noqa: F811
    declared = record(ref("acme/a", "one"))
    issue = make_issue("base-differs-from-declared", "is another.")
    other = replace(record(ref("acme/a", "one"), ref("acme/z", "z")), issues=(issue,))
    save(database, other, declared)
    with database.reading() as connection:
        found = list_on_bases(connection, Source.HUB, "acme/a")
    assert [each.record.base.repo_id for each in found] == ["acme/base", "acme/z"]


def test_the_matrix_holds_the_newest_proof_of_each_environment(database, some):  # noqa: F811
    (one, *_), _ = some
    older = replace(proof("older"), outcome="failed", finished_at="2026-11-24T11:00:00+00:00")
    on_cpu = replace(proof("on-cpu"), device="cpu", environment={"torch": "2.9.0"})
    proven = replace(
        one, status=Status.COMPATIBLE, evidence=Evidence.PROVEN, proofs=(proof(), on_cpu, older)
    )
    with database.transaction() as session:
        for each in (proof(), on_cpu, older):
            save_proof(
                session,
                each,
                adapter=one.adapter,
                base=one.base,
                plan_digest=one.plan.digest,
            )
    save(database, proven, minutes=30)
    with database.reading() as connection:
        matrix = load_matrix(connection, "acme/base")
        assert load_matrix(connection, "acme/second").rows == []
    assert {(column.device, column.versions["torch"]) for column in matrix.columns} == {
        ("cuda", "2.13.0"),
        ("cpu", "2.9.0"),
    }
    (row,) = matrix.rows
    assert (row.repo_id, row.declared) == ("acme/a0", True)
    assert {cell.proof_id for cell in row.cells.values()} == {"proof-1", "on-cpu"}


def test_open_work_is_of_this_adapter_alone(database):  # noqa: F811
    jobs = Jobs(database.writer)

    def ask(name):
        return database.write(
            lambda session: ask_scan(session, jobs, parse_reference(name), priority=Priority.PERSON)
        )

    mine, folder = ask("acme/a"), ask("acme/a@v1:sub")
    ask("acme/ab")
    ask("acme/a-b")
    with database.reading() as connection:
        found = find_open_work(connection, "acme/a")
    assert {each.id for each in found} == {mine.id, folder.id}
    with database.transaction() as session:
        _, attempt = operations.take(session, mine.id, "one")
        operations.note(session, attempt, {"stage": "reading"})
    with database.reading() as connection:
        (running,) = list_running(connection)
    assert (running.executor_id, running.kind, running.stage) == ("one", "scan", "reading")
    with database.transaction() as session:
        operations.finish(session, attempt, State.SUCCEEDED)
    with database.reading() as connection:
        assert [each.id for each in find_open_work(connection, "acme/a")] == [folder.id]
        assert list_running(connection) == []
        assert count_ended(connection, since=at(-(10**6))) == {"succeeded": 1}
        assert last_event_at(connection) is None
        assert list_sweeps(connection) == []
    jobs.close()
