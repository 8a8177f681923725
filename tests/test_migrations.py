"""Migrations: one line of them, both ways on both databases, ending where the models are."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from migrations import upgrade as migrations
from migrations.connection import migration_connection
from registry.db import models
from registry.db.base import SCHEMA_HEAD, Base
from registry.db.records import save_record
from registry.db.session import open_database
from registry.domain.issues import make_issue
from tests.db.examples import at, record, ref

ROOT = Path(__file__).resolve().parents[1]
# What the job engine keeps on SQLite beside our tables.
ENGINE_TABLES = ("workflow_status", "notifications", "streams", "queues", "operation_outputs")


def scripts() -> ScriptDirectory:
    return ScriptDirectory(str(ROOT / "migrations"))


def tables(url: str) -> set[str]:
    with migration_connection(url) as connection:
        return set(sa.inspect(connection).get_table_names())


def differences(url: str) -> list[object]:
    with migration_connection(url) as connection, warnings.catch_warnings():
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_name": lambda name, kind, _: (
                    kind != "table" or name in Base.metadata.tables
                ),
            },
        )
        return compare_metadata(context, Base.metadata)


def test_there_is_one_head_and_the_code_names_it():
    assert scripts().get_heads() == [SCHEMA_HEAD]
    assert migrations.head() == SCHEMA_HEAD


def test_migrations_are_counted_and_their_files_are_dated():
    walked = [script.revision for script in reversed(list(scripts().walk_revisions()))]
    assert walked == [f"{number:04d}" for number in range(1, len(walked) + 1)]
    for path in (ROOT / "migrations/versions").glob("*.py"):
        if path.name != "__init__.py":
            assert re.fullmatch(r"\d{4}_\d{2}_\d{2}_\d{4}_[a-z_]+\.py", path.name), path.name


def test_migrations_import_nothing_of_the_registry():
    for path in (ROOT / "migrations/versions").glob("*.py"):
        assert not re.search(r"^(from|import) (registry|api|workers)\b", path.read_text(), re.M)


def test_up_down_and_up_again_ends_at_the_models(database_url):
    assert migrations.current(database_url) is None
    migrations.upgrade(database_url)
    assert migrations.current(database_url) == SCHEMA_HEAD
    assert differences(database_url) == []
    migrations.downgrade(database_url, "base")
    assert tables(database_url) == {"alembic_version"}
    assert migrations.current(database_url) is None
    migrations.upgrade(database_url)
    assert differences(database_url) == []


def test_each_migration_can_be_undone_and_done_again(database_url):
    for script in reversed(list(scripts().walk_revisions())):
        before = script.down_revision or "base"
        with migration_connection(database_url) as connection:
            from alembic import command

            config = migrations._config(connection)
            command.upgrade(config, script.revision)
            after = set(sa.inspect(connection).get_table_names())
            connection.rollback()
            command.downgrade(config, before)
            command.upgrade(config, script.revision)
            assert set(sa.inspect(connection).get_table_names()) == after


def test_the_job_engines_tables_are_neither_dropped_nor_compared(database_url):
    migrations.upgrade(database_url)
    with migration_connection(database_url) as connection:
        for name in ENGINE_TABLES:
            connection.execute(sa.text(f"CREATE TABLE {name} (x TEXT)"))
        connection.commit()
    assert differences(database_url) == []
    migrations.downgrade(database_url, "base")
    migrations.upgrade(database_url)
    assert set(ENGINE_TABLES) <= tables(database_url)
    assert not set(ENGINE_TABLES) & set(Base.metadata.tables)


def test_alembic_check_finds_nothing_to_do(database_url, monkeypatch):
    migrations.upgrade(database_url)
    monkeypatch.setenv("LOADPLAN_DATABASE_URL", database_url)
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_processes_that_open_a_new_database_at_once_all_find_it_migrated(database_url):
    code = "import sys; from migrations.upgrade import upgrade; upgrade(sys.argv[1])"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, database_url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(4)
    ]
    for process in running:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    assert migrations.current(database_url) == SCHEMA_HEAD


def test_a_migration_that_fails_leaves_nothing_behind(database_url):
    migrations.upgrade(database_url)
    migrations.downgrade(database_url, "0001")
    with migration_connection(database_url) as connection:
        # The next migration makes other tables before it comes to this one.
        connection.execute(sa.text("CREATE TABLE repository_aliases (x TEXT)"))
        connection.commit()
    before = tables(database_url)
    with pytest.raises(Exception, match="repository_aliases"):
        migrations.upgrade(database_url)
    assert tables(database_url) == before
    assert migrations.current(database_url) == "0001"


def test_records_of_before_come_to_hold_the_codes_of_their_issues(database_url):
    migrations.upgrade(database_url)
    several = tuple(make_issue(code, "Found.") for code in ("vocabulary-grown", "base-unpinned"))
    database = open_database(database_url)
    for place, issues in enumerate([several, several[:1], ()]):
        one = record(ref(f"acme/a{place}", place), issues=issues)
        database.write(lambda session, one=one: save_record(session, one, scanned_at=at(0)))
    database.close()
    codes = sa.text("SELECT issue_codes FROM records ORDER BY id")
    with migration_connection(database_url) as connection:
        saved = connection.execute(codes).scalars().all()
    assert saved == [" base-unpinned vocabulary-grown ", " vocabulary-grown ", ""]
    migrations.downgrade(database_url, "0006")
    migrations.upgrade(database_url)
    with migration_connection(database_url) as connection:
        assert connection.execute(codes).scalars().all() == saved


@pytest.mark.postgres
def test_records_are_vacuumed_early_so_that_counts_are_answered_by_indexes(postgres_url):
    options = sa.text("SELECT reloptions FROM pg_class WHERE relname = 'records'")
    migrations.upgrade(postgres_url)
    with migration_connection(postgres_url) as connection:
        assert connection.execute(options).scalar() == [
            "autovacuum_vacuum_scale_factor=0.02",
            "autovacuum_vacuum_insert_scale_factor=0.02",
        ]
    migrations.downgrade(postgres_url, "0006")
    with migration_connection(postgres_url) as connection:
        assert connection.execute(options).scalar() is None


@pytest.mark.postgres
def test_a_migration_does_not_wait_long_for_a_table_in_use(postgres_url):
    with migration_connection(postgres_url) as connection:
        timeouts = [
            connection.execute(sa.text(f"SHOW {name}")).scalar()
            for name in ("lock_timeout", "statement_timeout")
        ]
    assert timeouts == ["4s", "5s"]


def test_no_unique_key_holds_a_nullable_column():
    for table in Base.metadata.tables.values():
        keys = [
            item.columns for item in table.constraints if isinstance(item, sa.UniqueConstraint)
        ] + [index.columns for index in table.indexes if index.unique]
        for columns in keys:
            assert [column.name for column in columns if column.nullable] == [], table.name


def test_every_foreign_key_is_led_by_an_index():
    """Without one, deleting or updating the other side reads the whole table."""
    for table in Base.metadata.tables.values():
        leading = {next(iter(index.columns)).name for index in table.indexes}
        leading.add(next(iter(table.primary_key.columns)).name)
        leading |= {
            next(iter(item.columns)).name
            for item in table.constraints
            if isinstance(item, sa.UniqueConstraint)
        }
        for key in table.foreign_keys:
            assert key.parent.name in leading, f"{table.name}.{key.parent.name}"


def test_every_model_is_exported():
    exported = {getattr(models, name).__tablename__ for name in models.__all__}
    assert exported == set(Base.metadata.tables)
