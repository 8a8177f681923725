"""Lists: filters, orders, counts, and pages that neither repeat nor lose a row."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.db import records, repositories
from registry.db.records import RecordFilter, Sort
from registry.db.records.cursors import parse_cursor, write_cursor
from registry.domain.issues import Issue, Severity
from registry.domain.record import Evidence, Status
from registry.domain.refs import Source
from registry.errors import InvalidRequest
from tests.db.examples import at, blocked, record, ref

GROWN = Issue("vocabulary-grown", Severity.INFO, "Grown.", None)
RANK = Issue("rank-high", Severity.ADVICE, "High.", None)
DIFFERS = Issue("base-differs-from-declared", Severity.INFO, "Another.", None)


def save(database, *saved):
    def work(session):
        for one, minutes in saved:
            records.save_record(session, one, scanned_at=at(minutes))

    database.write(work)


def names(database, wanted=None, **options):
    with database.reading() as connection:
        page = records.list_records(connection, wanted, **options)
    return [entry.record.adapter.repo_id for entry in page.records]


@pytest.fixture
def shelf(database):
    """Five records that differ in one thing each."""
    other = ref("meta/base-13b", "base 13b")
    save(
        database,
        (record(ref("acme/one", 1), issues=(GROWN,)), 1),
        (record(ref("acme/two", 2), peft_type="IA3", issues=(GROWN, RANK)), 2),
        (record(ref("zeta/three", 3), status=Status.REHEARSED, evidence=Evidence.REHEARSED), 3),
        (record(ref("zeta/four", 4), other, declared_base="meta/base-13b"), 4),
        (blocked(ref("zeta/five", None)), 5),
    )
    return database


def test_a_list_is_newest_first_or_as_asked(shelf):
    newest = ["zeta/five", "zeta/four", "zeta/three", "acme/two", "acme/one"]
    assert names(shelf) == newest
    assert names(shelf, sort=Sort.OLDEST) == newest[::-1]
    assert names(shelf, sort=Sort.NAME) == sorted(newest)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"base": "meta/base-13b"}, {"zeta/four"}),
        ({"status": "rehearsed"}, {"zeta/three"}),
        ({"status": "blocked"}, {"zeta/five"}),
        ({"status": "stale"}, set()),
        ({"status": "no such status"}, set()),
        ({"peft_type": "IA3"}, {"acme/two"}),
        ({"issue": "vocabulary-grown"}, {"acme/one", "acme/two"}),
        ({"issue": "rank-high"}, {"acme/two"}),
        ({"author": "acme"}, {"acme/one", "acme/two"}),
        ({"q": "THREE"}, {"zeta/three"}),
        ({"q": "base-13"}, {"zeta/four"}),
        ({"q": "_"}, set()),
        ({"author": "acme", "issue": "vocabulary-grown", "q": "one"}, {"acme/one"}),
        ({}, {"acme/one", "acme/two", "zeta/three", "zeta/four", "zeta/five"}),
    ],
)
def test_filters_narrow_together(shelf, wanted, expected):
    assert set(names(shelf, RecordFilter(**wanted))) == expected


def test_facets_count_what_is_wanted(shelf):
    with shelf.reading() as connection:
        every = records.count_choices(connection).values
        some = records.count_choices(connection, RecordFilter(author="acme")).values
    assert every["status"] == (("planned", 3), ("blocked", 1), ("rehearsed", 1))
    assert every["base"] == (("acme/base", 3), ("meta/base-13b", 1))
    assert every["author"] == (("zeta", 3), ("acme", 2))
    assert every["peft_type"] == (("LORA", 3), ("IA3", 1))
    assert every["issue"] == (("vocabulary-grown", 2), ("adapter-gated", 1), ("rank-high", 1))
    assert some["status"] == (("planned", 2),)
    assert some["issue"] == (("vocabulary-grown", 2), ("rank-high", 1))


def test_a_superseded_record_is_neither_listed_nor_counted(database):
    save(database, (record(issues=(GROWN,)), 1), (record(issues=(RANK,)), 2))
    with database.reading() as connection:
        (listed,) = records.list_records(connection).records
        facets = records.count_choices(connection).values
    assert [issue.code for issue in listed.record.issues] == ["rank-high"]
    assert facets["issue"] == (("rank-high", 1),)


def test_the_main_branch_is_listed_and_not_a_newer_tag_of_other_content(database):
    save(database, (record(ref("acme/x", "tag", revision="v1")), 0))
    assert names(database) == ["acme/x"]
    save(
        database,
        (record(ref("acme/x", "main")), 1),
        (record(ref("acme/x", "tag 2", revision="v2")), 2),
    )
    with database.reading() as connection:
        (listed,) = records.list_records(connection).records
    assert listed.record.adapter.revision == "main"


def test_another_base_is_listed_beside_the_declared_one(database):
    save(
        database,
        (record(), 1),
        (record(base=ref("mirror/base", "m"), issues=(DIFFERS,)), 2),
        (record(base=ref("mirror/base", "m2"), issues=(DIFFERS,)), 3),
    )
    with database.reading() as connection:
        listed = records.list_records(connection).records
    assert [entry.record.base.repo_id for entry in listed] == ["mirror/base", "acme/base"]


@pytest.mark.parametrize("sort", list(Sort))
def test_pages_under_inserts_neither_repeat_nor_lose_what_was_there(database, sort):
    chosen = random.Random(7)
    save(database, *((record(ref(f"a/n{n:03}", n)), chosen.randrange(8)) for n in range(60)))
    before = set(names(database, limit=500))
    seen: list[str] = []
    cursor, added = None, 0
    while True:
        with database.reading() as connection:
            page = records.list_records(connection, sort=sort, limit=7, cursor=cursor)
        seen += [entry.record.adapter.repo_id for entry in page.records]
        cursor = page.next_cursor
        if cursor is None:
            break
        # Some sort before the cursor, some after it, some beside it with the same time.
        save(database, (record(ref(f"a/m{chosen.randrange(999):03}", added)), chosen.randrange(9)))
        added += 1
    assert len(seen) == len(set(seen))
    assert before <= set(seen)
    assert added > 5


def test_records_with_an_issue_are_paged_like_all_others(database):
    save(
        database,
        *((record(ref(f"a/n{n}", n), issues=(GROWN,) if n % 2 else ()), n // 4) for n in range(20)),
    )
    for sort in Sort:
        seen: list[str] = []
        cursor = None
        while True:
            with database.reading() as connection:
                page = records.list_records(
                    connection,
                    RecordFilter(issue="vocabulary-grown"),
                    sort=sort,
                    limit=3,
                    cursor=cursor,
                )
            seen += [entry.record.adapter.repo_id for entry in page.records]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(seen) == len(set(seen)) == 10


def test_a_page_ends_exactly_where_the_rows_do(database):
    save(database, *((record(ref(f"a/n{n}", n)), n) for n in range(4)))
    with database.reading() as connection:
        page = records.list_records(connection, limit=4)
        assert (len(page.records), page.next_cursor) == (4, None)
        page = records.list_records(connection, limit=3)
        rest = records.list_records(connection, limit=3, cursor=page.next_cursor)
        assert (len(rest.records), rest.next_cursor) == (1, None)
        assert len(records.list_records(connection, limit=0).records) == 1


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "!!!",
        "e30",
        "W10",
        "bnVsbA",
        "\ud800",
        "é",
        "A" * 5000,
        "WzFd",
        write_cursor("newest", "not a time", 1),
        write_cursor("newest", at(0), 2**64),
        write_cursor("name", "acme", 1),
    ],
)
def test_a_cursor_of_somewhere_else_is_an_invalid_request(database, cursor):
    with database.reading() as connection, pytest.raises(InvalidRequest) as caught:
        records.list_records(connection, cursor=cursor)
    assert caught.value.fields == {"field": "cursor"}


@given(st.text(), st.text(max_size=40), st.integers(0, 2**63 - 1))
def test_any_place_comes_back_from_its_cursor(sort, value, row_id):
    assert parse_cursor(write_cursor(sort, value, row_id), sort) == (value, row_id)


@given(st.text(max_size=60))
def test_no_text_makes_the_cursor_parser_raise_anything_else(text):
    try:
        value, row_id = parse_cursor(text, "newest")
    except InvalidRequest:
        return
    assert (type(value), type(row_id)) == (str, int)


def test_private_repositories_are_shown_to_those_who_may_see_them_only(shelf):
    def save_private(repo_id, private, minutes):
        shelf.write(
            lambda session: repositories.save_access(
                session,
                Source.HUB,
                repo_id,
                access="readable",
                private=private,
                gated=False,
                checked_at=at(minutes),
            )
        )

    for repo_id in ("acme/one", "meta/base-13b"):
        save_private(repo_id, True, 6)
    public = {"acme/two", "zeta/three", "zeta/five"}
    assert set(names(shelf)) == public
    for visible, more in (
        ({"acme/one"}, {"acme/one"}),
        ({"acme/*"}, {"acme/one"}),
        ({"acme"}, set()),
        ({"acm/*", "%/*", "acme/on_"}, set()),
        ({"meta/base-13b", "acme/*"}, {"acme/one", "zeta/four"}),
        ({"*"}, {"acme/one", "zeta/four"}),
    ):
        wanted = RecordFilter(visible=frozenset(visible))
        assert set(names(shelf, wanted)) == public | more, visible
    grown = RecordFilter(issue="vocabulary-grown")
    assert names(shelf, grown) == ["acme/two"]
    for wanted, count in (
        (RecordFilter(), 1),
        (RecordFilter(q="acme"), 1),
        (RecordFilter(visible=frozenset({"acme/one"})), 2),
        (RecordFilter(q="acme", visible=frozenset({"acme/one"})), 2),
    ):
        with shelf.reading() as connection:
            counted = dict(records.count_choices(connection, wanted).values["issue"])
        assert counted["vocabulary-grown"] == count, wanted
    # A record saved while its repository is private is hidden from the start.
    save(shelf, (record(ref("acme/one", "1 again"), issues=(GROWN,)), 7))
    assert "acme/one" not in names(shelf)
    assert names(shelf, grown) == ["acme/two"]
    with shelf.reading() as connection:
        facets = records.count_choices(connection).values
        assert "meta/base-13b" not in dict(facets["base"])
        assert dict(facets["author"]) == {"zeta": 2, "acme": 1}
        assert records.find_base(connection, "meta/base-13b") is None
        assert [b.repo_id for b in records.list_bases(connection).bases] == ["acme/base"]
        assert records.find_record(connection, repo_id="acme/one").private
        assert records.find_record(connection, repo_id="zeta/four").private
        assert not records.find_record(connection, repo_id="acme/two").private
    for repo_id in ("acme/one", "meta/base-13b"):
        save_private(repo_id, False, 8)
    assert set(names(shelf)) == public | {"acme/one", "zeta/four"}
    assert set(names(shelf, grown)) == {"acme/one", "acme/two"}


def test_bases_are_listed_by_name_with_their_adapters_by_status(shelf):
    with shelf.reading() as connection:
        first = records.list_bases(connection, limit=1)
        second = records.list_bases(connection, limit=1, cursor=first.next_cursor)
        (base,) = first.bases
        assert (base.repo_id, base.adapters) == ("acme/base", 3)
        assert base.statuses == {"planned": 2, "rehearsed": 1}
        assert base.scanned_at == at(3)
        assert [b.repo_id for b in second.bases] == ["meta/base-13b"]
        assert second.next_cursor is None
        assert [b.repo_id for b in records.list_bases(connection, q="13B").bases] == [
            "meta/base-13b"
        ]
        assert records.find_base(connection, "acme/base") == base
        assert records.find_base(connection, "acme/none") is None
        with pytest.raises(InvalidRequest):
            records.list_bases(connection, cursor="x")
