"""Counts beside a list are those of the lists that they lead to, and no row is read for them."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from dataclasses import replace

import pytest
import sqlalchemy as sa

from registry.db.records import (
    RecordFilter,
    count_choices,
    find_base,
    list_records,
    save_record,
)
from registry.db.records.choices import FACETS
from registry.db.records.places_of import list_on_bases
from registry.db.session import open_database
from registry.db.visibility import hide
from registry.domain.issues import ERRORS, NOTES, Severity, make_issue
from registry.domain.record import Evidence, Status
from registry.domain.refs import Source
from tests.db.examples import at, record, ref

CODES = ("vocabulary-grown", "rank-high", "base-unpinned", "shape-mismatch")
STATUSES = {
    Status.PLANNED: Evidence.STATIC,
    Status.REHEARSED: Evidence.REHEARSED,
    Status.INCOMPATIBLE: Evidence.STATIC,
}
# More bases and authors than a facet shows.
BASES = [f"many/base-{number}" for number in range(15)]
AUTHORS = [f"author{number}" for number in range(14)]
SEEN = (
    frozenset(),
    frozenset({"*"}),
    frozenset({"author1/*"}),
    frozenset({"author0/*", "author2/*", "many/*"}),
    frozenset({"many/base-1", "author1/a1"}),
)


@pytest.fixture
def shelf(database):
    chance = random.Random(3)
    saved = []
    for number in range(120):
        status = chance.choice(list(STATUSES))
        saved.append(
            record(
                ref(f"{AUTHORS[_few(chance, len(AUTHORS))]}/a{number}", number),
                base := ref(BASES[_few(chance, len(BASES))], "base"),
                declared_base=base.repo_id,
                status=status,
                evidence=STATUSES[status],
                peft_type=chance.choice(("LORA", "LORA", "IA3")),
                issues=tuple(make_issue(code, "Found.") for code in CODES if chance.random() < 0.4),
            )
        )

    def work(session):
        for one in saved:
            save_record(session, one, scanned_at=at(chance.randrange(60)))

    database.write(work)
    hidden = {one.adapter.repo_id for one in saved if chance.random() < 0.2}
    for repo_id in sorted(hidden | {"many/base-1"}):
        database.write(
            lambda session, name=repo_id: hide(session, name, access="readable", checked_at=at(90))
        )
    return database


def _few(chance, count):
    return min(int(count * chance.random() ** 2), count - 1)


def _some_filter(chance):
    def maybe(*values):
        return chance.choice(values) if chance.random() < 0.35 else None

    return RecordFilter(
        base=maybe(*BASES[:4], "many/none"),
        status=maybe(*(status.value for status in STATUSES), "stale"),
        peft_type=maybe("LORA", "IA3"),
        issue=maybe(*CODES, "rank", "adapter-gated"),
        author=maybe(*AUTHORS[:4], "nobody"),
        q=maybe("a1", "BASE-1", "author", "%", "none"),
        visible=chance.choice(SEEN),
    )


def _values(found, facet):
    """What the record counts for in the facet."""
    one = found.record
    return {
        "status": [one.status.value],
        "base": [one.base.repo_id],
        "peft_type": [one.facts.peft_type],
        "issue": sorted({issue.code for issue in one.issues}),
        "author": [one.adapter.repo_id.partition("/")[0]],
    }[facet]


@pytest.mark.parametrize("seed", range(60))
def test_each_count_is_the_length_of_the_list_that_it_leads_to(shelf, seed):
    wanted = _some_filter(random.Random(seed)) if seed else RecordFilter()
    with shelf.reading() as connection:
        choices = count_choices(connection, wanted)
        assert choices.total == len(list_records(connection, wanted, limit=500).records)
        for facet in FACETS:
            others = replace(wanted, **{facet: None})
            listed = list_records(connection, others, limit=500).records
            counted = Counter(value for found in listed for value in _values(found, facet))
            expected = sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))[:12]
            chosen = getattr(wanted, facet)
            if chosen is not None and chosen not in dict(expected):
                expected.append((chosen, counted[chosen]))
            assert list(choices.values[facet]) == expected, (facet, wanted)


@pytest.mark.parametrize("typed", ["RANK-HIGH", "rank-high vocabulary-grown", "rank", "%", " "])
def test_an_issue_that_there_is_not_is_counted_as_it_is_listed(shelf, typed):
    wanted = RecordFilter(issue=typed, visible=frozenset("*"))
    with shelf.reading() as connection:
        choices = count_choices(connection, wanted)
        assert list_records(connection, wanted).records == ()
    assert choices.total == 0
    assert choices.values["author"] == ()
    assert (typed, 0) in choices.values["issue"]


def test_the_longest_names_and_all_issues_fit_the_indexes(database):
    """PostgreSQL takes no entry over 2,704 bytes."""
    chance = random.Random(1)

    def word(length):
        return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))

    folder = "".join(chr(chance.randrange(0x20000, 0x2A000)) for _ in range(255))
    issues = tuple(
        make_issue(code, "Found.", severity=Severity.INFO)
        for code in sorted(kind.code for kind in (*ERRORS, *NOTES))
    )
    adapter = ref(f"{word(96)}/{word(96)}", 1, subfolder=folder)
    base = ref(f"{word(96)}/{word(96)}", 2)
    one = record(adapter, base, declared_base=base.repo_id, issues=issues)
    database.write(lambda session: save_record(session, one, scanned_at=at(0)))
    with database.reading() as connection:
        assert count_choices(connection, RecordFilter(q=folder)).total == 1


@pytest.fixture
def on_sqlite(migrated_sqlite, tmp_path):
    """Alone, since PostgreSQL goes by what its tables hold, and here they hold nothing."""
    opened = open_database(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'loadplan.db')}")
    yield opened
    opened.close()


def _plans(database, work):
    """How SQLite goes about each statement that `work` sends, one text for each."""
    ran = []

    def note(connection, cursor, statement, parameters, *rest):
        ran.append((statement, parameters))

    sa.event.listen(database.reader, "before_cursor_execute", note)
    with database.reading() as connection:
        work(connection)
    sa.event.remove(database.reader, "before_cursor_execute", note)
    with database.reading() as connection:
        return [
            "\n".join(
                row.detail
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            )
            for statement, parameters in ran
        ]


@pytest.mark.parametrize(
    "wanted",
    [
        RecordFilter(),
        RecordFilter(q="a"),
        RecordFilter(visible=frozenset("*")),
        RecordFilter(
            base="a/b",
            status="planned",
            issue="rank-high",
            peft_type="LORA",
            q="a",
            visible=frozenset("*"),
        ),
    ],
)
def test_whatever_is_chosen_is_counted_in_one_statement_that_reads_two_indexes(on_sqlite, wanted):
    (plan,) = _plans(on_sqlite, lambda connection: count_choices(connection, wanted))
    read = {line for line in plan.splitlines() if line.startswith(("SEARCH", "SCAN records"))}
    of_records = {line.partition(" (")[0] for line in read if " records " in line}
    assert of_records == {
        "SEARCH records USING COVERING INDEX ix_records_facets",
        "SEARCH records USING COVERING INDEX ix_records_authors",
    }


def test_nothing_that_a_page_asks_for_one_adapter_or_base_goes_through_all_records(on_sqlite):
    (on_bases,) = _plans(on_sqlite, lambda asked: list_on_bases(asked, Source.HUB, "acme/a"))
    assert "ix_records_adapter_repository_id_id (adapter_repository_id=?)" in on_bases
    (of_base,) = _plans(on_sqlite, lambda asked: find_base(asked, "acme/base"))
    assert "COVERING INDEX ix_records_bases (listed=? AND private=? AND base_repo_id=?)" in of_base
    searched, _ = _plans(on_sqlite, lambda asked: list_records(asked, RecordFilter(q="a")))
    assert "COVERING INDEX ix_records_listed_private_scanned_at_id_search_text" in searched
    _, on_base, _ = _plans(on_sqlite, lambda asked: list_records(asked, RecordFilter(base="a/b")))
    assert "COVERING INDEX ix_records_bases (listed=? AND private=? AND base_repo_id=?)" in on_base
    assert "ORDER BY" not in on_base
