"""Many new records at once: the rows that one by one makes, in few statements, beside others."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import sqlalchemy as sa

from registry.db import checkpoints, records, visibility
from registry.db.base import Base
from registry.db.models import DeliveryRow
from registry.db.records import Found
from registry.db.subscriptions import Subscription, save_subscription
from registry.domain.issues import Issue, Severity
from registry.domain.record import Status
from registry.domain.refs import Source
from tests.db.examples import adapter_facts, at, base_facts, blocked, failed, record, ref
from tests.db.statements import count_statements

BASE = ref("acme/base", "base")
WARNINGS = tuple(
    Issue(code, Severity.WARNING, "A warning.", None)
    for code in ("tensors-missing", "tensors-missing", "empty-tensors")
)


def found(repo_id="acme/new", content="new", *, private=False, base=BASE, **options):
    adapter = ref(repo_id, content, **options)
    facts = replace(adapter_facts(adapter), private=private)
    return Found(facts, record(adapter, base, issues=WARNINGS))


def save_new(session, *entries, minutes=0.0):
    for base in {entry.record.base for entry in entries if entry.record.base is not None}:
        checkpoints.save_base(session, base_facts(base))
    return records.save_new(session, entries, scanned_at=at(minutes))


def save_one(session, entry, minutes=0.0):
    reference = entry.adapter.ref
    if reference.source is Source.HUB:
        visibility.note_access(
            session,
            reference.repo_id,
            access="readable",
            private=entry.adapter.private,
            gated=entry.adapter.gated,
            checked_at=at(minutes),
        )
    checkpoints.save_adapter(session, entry.adapter)
    if entry.record.base is not None:
        checkpoints.save_base(session, base_facts(entry.record.base))
    return records.save_record(session, entry.record, scanned_at=at(minutes))


# What identifies a row of a table that others point to.
NATURAL = {"repositories": "repo_id", "records": "search_text"} | dict.fromkeys(
    ("layouts", "adapter_configs", "base_configs"), "digest"
)


def rows_of(database):
    """Every row of every table, with what an id stands for in its place."""
    tables = Base.metadata.tables
    with database.reading() as connection:
        names = {
            table: dict(
                tuple(row)
                for row in connection.execute(sa.select(tables[table].c.id, tables[table].c[key]))
            )
            for table, key in NATURAL.items()
        }
        found = {}
        for name, table in tables.items():
            rows = []
            for row in connection.execute(sa.select(table)).mappings():
                pointed = {
                    column.name: names[key.column.table.name].get(row[column.name])
                    for column in table.columns
                    for key in column.foreign_keys
                    if key.column.table.name in names
                }
                rows.append({k: v for k, v in {**row, **pointed}.items() if k != "id"})
            found[name] = sorted(rows, key=repr)
    return found


def empty(database):
    def work(session):
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(sa.delete(table))

    database.write(work)


def test_new_records_leave_the_same_rows_as_one_by_one(database):
    entries = [
        found(),
        found("acme/secret", "secret", private=True),
        found("acme/folders", "inner", subfolder="inner"),
        found("acme/pinned", "pinned", revision=str(ref("acme/pinned", "pinned").commit_sha)),
        found("solo", "solo"),
        found("acme/other-base", "other", base=ref("acme/base-2", "base 2")),
    ]
    unread = ref("acme/no-base", "no base")
    entries.append(
        Found(adapter_facts(unread), replace(blocked(unread, "base-gated"), adapter=unread))
    )
    local = replace(ref("/models/lora", "local"), source=Source.LOCAL, revision=None)
    entries.append(Found(adapter_facts(local), record(local, BASE)))
    for entry in entries:
        database.write(lambda session, entry=entry: save_one(session, entry))
    one_by_one = rows_of(database)
    empty(database)
    assert database.write(lambda session: save_new(session, *entries)) == [True] * len(entries)
    at_once = rows_of(database)
    assert len(at_once["records"]) == len(entries)
    assert at_once == one_by_one


def test_what_is_not_new_is_left_and_nothing_of_it_is_written(database):
    database.write(lambda session: save_one(session, found("acme/old", "old")))
    hidden = replace(found("acme/broken", "broken"), record=failed(ref("acme/broken", "broken")))
    entries = [
        found("acme/old", "newer"),
        found("acme/copy", "old"),
        found(),
        found("acme/new", "second", subfolder="second"),
        found("acme/twin", "new"),
        hidden,
        found("acme/elsewhere", "elsewhere"),
    ]
    saved = database.write(lambda session: save_new(session, *entries, minutes=1))
    assert saved == [False, False, True, False, False, False, True]
    repositories = {row["repo_id"] for row in rows_of(database)["repositories"]}
    assert repositories == {"acme/base", "acme/old", "acme/new", "acme/elsewhere"}


def test_a_base_that_is_an_adapters_repository_too_is_not_new(database):
    both = ref("acme/both", "merged")
    entries = [found("acme/both", "adapter"), found("acme/on-both", "on both", base=both)]
    assert database.write(lambda session: save_new(session, *entries)) == [False, True]


def test_a_record_on_a_private_base_is_private(database):
    def work(session):
        visibility.note_access(
            session, "acme/base", access="readable", private=True, gated=False, checked_at=at(0)
        )
        return save_new(session, found())

    assert database.write(work) == [True]
    rows = rows_of(database)
    assert [row["private"] for row in rows["records"]] == [True]
    assert {row["private"] for row in rows["record_issues"]} == {True}


def test_forty_take_as_many_statements_as_four(database):
    def batch(name, count):
        entries = [found(f"{name}/{number}", (name, number)) for number in range(count)]
        return lambda session: save_new(session, *entries)

    database.write(batch("first", 1))
    few = count_statements(database, batch("few", 4))
    assert count_statements(database, batch("many", 40)) == few
    assert few < 25


def test_an_adapter_that_another_transaction_records_first_is_left_to_it(database):
    """It is waited for: whoever comes second sees what the first has written."""
    saved, begun = [], threading.Event()

    def second():
        begun.set()
        entries = [found("acme/elsewhere", "elsewhere"), found()]
        saved.extend(database.write(lambda session: save_new(session, *entries)))

    thread = threading.Thread(target=second)
    with database.transaction() as session:
        save_one(session, found(content="what was first"))
        thread.start()
        begun.wait(10)
        time.sleep(0.3)
        assert saved == []
    thread.join(30)
    assert saved == [True, False]
    assert sorted(row["search_text"] for row in rows_of(database)["records"]) == [
        "acme/elsewhere  acme/base",
        "acme/new  acme/base",
    ]


def test_shared_configs_and_layouts_of_two_transactions_are_one_row(database):
    """Equal configs that another transaction has just inserted are waited for and found."""
    saved = []

    def second():
        saved.extend(database.write(lambda session: save_new(session, found("b/two", "two"))))

    thread = threading.Thread(target=second)
    with database.transaction() as session:
        save_new(session, found("a/one", "one"))
        thread.start()
        time.sleep(0.3)
    thread.join(30)
    assert saved == [True]
    rows = rows_of(database)
    assert len(rows["adapter_configs"]) == 1
    assert len(rows["records"]) == 2


def test_subscribers_are_told_of_new_records(database):
    bad = found()
    bad = replace(bad, record=replace(bad.record, status=Status.INCOMPATIBLE, plan=None))
    everything = Subscription(
        "all", "everything", "", "https://example.org/", "secret", None, at(0)
    )

    def work(session):
        save_subscription(session, everything)
        return save_new(session, bad, found("acme/fine", "fine"))

    assert database.write(work) == [True, True]
    with database.reading() as connection:
        told = connection.execute(sa.select(DeliveryRow.event, DeliveryRow.body)).all()
    assert [event for event, _ in told] == ["plan.incompatible"]
    assert "acme/new" in told[0].body
