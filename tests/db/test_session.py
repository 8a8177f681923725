"""Two writers lose nothing and see no lock error; errors of drivers become ours."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from migrations.upgrade import upgrade
from registry.db import checkpoints, records
from registry.db.base import SCHEMA_HEAD
from registry.db.models import LayoutRow, RecordRow, RepositoryRow, SweepRow
from registry.db.session import check_migrated, open_database, parse_url
from registry.errors import DatabaseNotMigrated, DatabaseUnavailable, SettingInvalid
from tests.db.examples import adapter_facts, at, record, ref

ROOT = Path(__file__).resolve().parents[2]
UPDATES = 300
SCANS = 60

# Reads a number, adds one, writes it: what a lost update would show in.
COUNTING = f"""
import sys, sqlalchemy as sa
from registry.db.models import SweepRow
from registry.db.session import open_database
database = open_database(sys.argv[1])
def add_one(session):
    row = session.execute(
        sa.select(SweepRow.progress).where(SweepRow.name == "counter").with_for_update()
    ).scalar_one()
    session.execute(sa.update(SweepRow).values(progress=row + 1))
for _ in range({UPDATES}):
    database.write(add_one)
"""

# The same adapters in opposite orders, so that without retries PostgreSQL would break deadlocks.
SCANNING = f"""
import sys
from registry.db import checkpoints, records
from registry.db.session import open_database
from tests.db.examples import adapter_facts, at, base_facts, record, ref
database = open_database(sys.argv[1])
order = range({SCANS}) if sys.argv[2] == "up" else reversed(range({SCANS}))
batches = []
for n in order:
    if not batches or len(batches[-1]) == 10:
        batches.append([])
    batches[-1].append(n)
for batch in batches:
    def work(session):
        for n in batch:
            adapter = ref(f"acme/lora-{{n}}", n)
            checkpoints.save_adapter(session, adapter_facts(adapter, rank=4 + n))
            checkpoints.save_base(session, base_facts(ref("acme/base", "base")))
            records.save_record(session, record(adapter), scanned_at=at(0))
    database.write(work)
"""


# One pair, known already, of which both processes learn something new each time.
SUPERSEDING = """
import sys
from registry.db import records
from registry.db.session import open_database
from registry.domain.issues import Issue, Severity
from tests.db.examples import at, record
database = open_database(sys.argv[1])
for n in range(int(sys.argv[3])):
    issue = Issue("rank-high", Severity.ADVICE, f"{sys.argv[2]} {n}", None)
    one = record(issues=(issue,))
    database.write(lambda session: records.save_record(session, one, scanned_at=at(n)))
"""


def run_both(code: str, *arguments: tuple[str, ...]) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, *given],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for given in arguments
    ]
    for process in running:
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output


def test_two_processes_updating_one_row_lose_no_update(database, migrated_url):
    with database.transaction() as session:
        session.add(SweepRow(name="counter", progress=0, updated_at=at(0)))
    run_both(COUNTING, (migrated_url,), (migrated_url,))
    with database.reading() as connection:
        assert connection.execute(sa.select(SweepRow.progress)).scalar_one() == 2 * UPDATES


def test_two_processes_recording_the_same_adapters_make_one_row_of_each(database, migrated_url):
    run_both(SCANNING, (migrated_url, "up"), (migrated_url, "down"))
    with database.reading() as connection:
        counts = [
            connection.execute(sa.select(sa.func.count()).select_from(row)).scalar_one()
            for row in (RecordRow, RepositoryRow, LayoutRow)
        ]
        assert counts == [SCANS, SCANS + 1, SCANS + 1]
        listed = records.list_records(connection, limit=SCANS + 1).records
    assert len(listed) == SCANS


def test_two_processes_superseding_one_record_leave_one_chain(database, migrated_url):
    first = database.write(lambda s: records.save_record(s, record(), scanned_at=at(0)))
    each = 60
    run_both(SUPERSEDING, (migrated_url, "a", str(each)), (migrated_url, "b", str(each)))
    with database.reading() as connection:
        rows = connection.execute(
            sa.select(RecordRow.id, RecordRow.current, RecordRow.listed, RecordRow.superseded_by)
        ).all()
    after = {row.id: row.superseded_by for row in rows}
    assert len(rows) == 2 * each + 1
    (standing,) = [row for row in rows if row.current]
    assert standing.listed
    assert [row for row in rows if row.listed] == [standing]
    length, step = 1, first
    while after[step] is not None:
        length, step = length + 1, after[step]
    assert (length, step) == (len(rows), standing.id)


def test_threads_of_one_process_wait_for_each_other(database):
    with database.transaction() as session:
        session.add(SweepRow(name="counter", progress=0, updated_at=at(0)))
    failures: list[BaseException] = []

    def add_one(session):
        value = session.execute(sa.select(SweepRow.progress).with_for_update()).scalar_one()
        session.execute(sa.update(SweepRow).values(progress=value + 1))

    def work():
        try:
            for _ in range(25):
                database.write(add_one)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with database.reading() as connection:
        assert connection.execute(sa.select(SweepRow.progress)).scalar_one() == 200


def test_an_error_rolls_everything_back(database):
    def work(session):
        checkpoints.save_adapter(session, adapter_facts(ref("acme/lora", 1)))
        records.save_record(session, record(), scanned_at=at(0))
        raise KeyError("stop")

    with pytest.raises(KeyError):
        database.write(work)
    with pytest.raises(KeyError), database.transaction() as session:
        work(session)
    with database.reading() as connection:
        assert connection.execute(sa.select(RepositoryRow.id)).all() == []


def test_a_reader_neither_waits_for_a_writer_nor_sees_its_work(database):
    with database.transaction() as session:
        session.add(SweepRow(name="x", updated_at=at(0)))
        session.flush()
        with database.reading() as connection:
            assert connection.execute(sa.select(SweepRow.name)).all() == []
    with database.reading() as connection:
        assert connection.execute(sa.select(SweepRow.name)).all() == [("x",)]


def test_foreign_keys_are_kept(database):
    with pytest.raises(sa.exc.IntegrityError), database.transaction() as session:
        session.execute(
            sa.insert(LayoutRow.__table__.metadata.tables["layout_tensors"]).values(
                layout_id=77, position=0, name="x", dtype="F32", shape=[1]
            )
        )


def test_an_unmigrated_database_says_so(database_url):
    database = open_database(database_url)
    with pytest.raises(DatabaseNotMigrated, match="none"):
        check_migrated(database)
    with pytest.raises(DatabaseNotMigrated), database.reading() as connection:
        connection.execute(sa.select(RecordRow.id))
    with pytest.raises(DatabaseNotMigrated):
        database.write(lambda session: session.execute(sa.select(RecordRow.id)))
    upgrade(database_url)
    check_migrated(database)
    database.close()


def test_a_database_of_a_later_release_is_accepted_and_of_an_earlier_one_is_not(database):
    def at_migration(version):
        database.write(
            lambda session: session.execute(
                sa.text("UPDATE alembic_version SET version_num = :v"), {"v": version}
            )
        )

    try:
        at_migration("9999")
        check_migrated(database)
        at_migration("0001")
        with pytest.raises(DatabaseNotMigrated, match="0001"):
            check_migrated(database)
    finally:
        at_migration(SCHEMA_HEAD)


def test_a_server_that_does_not_answer_is_unavailable():
    database = open_database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable), database.reading():
        pass
    with pytest.raises(DatabaseUnavailable):
        database.write(lambda session: None)
    database.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    path = tmp_path / "loadplan.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DatabaseUnavailable):
        upgrade(f"sqlite:///{path}")
    database = open_database(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnavailable):
        check_migrated(database)
    database.close()


def test_a_mistake_in_a_statement_is_not_called_an_unavailable_database(database):
    with pytest.raises(sa.exc.DBAPIError), database.reading() as connection:
        connection.execute(sa.text("SELEC 1"))


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnavailable, match="cannot be made"):
        open_database(f"sqlite:///{tmp_path / 'file' / 'folder' / 'loadplan.db'}")


def test_the_folder_of_a_new_database_is_closed_to_others(tmp_path):
    open_database(f"sqlite:///{tmp_path / 'new' / 'loadplan.db'}").close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://root@host/x",
        "postgresql+asyncpg://h/x",
        "sqlite:///file:x?mode=memory&uri=true",
        "postgresql://host:port/x",
    ],
)
def test_a_url_that_cannot_be_served_is_an_invalid_setting(url):
    with pytest.raises(SettingInvalid):
        parse_url(url)


def test_a_refused_url_keeps_its_password_to_itself():
    with pytest.raises(SettingInvalid) as caught:
        parse_url("mysql://root:hunter2@host/x")
    assert "hunter2" not in str(caught.value)
