"""The connection that migrations run on, alone: under a file lock, or an advisory lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import filelock
import sqlalchemy as sa
from sqlalchemy import event

from registry.db.session import make_folder, parse_url, sqlite_path, translated_errors
from registry.errors import DatabaseUnavailable

# Any number that nobody else on the server takes an advisory lock on.
_ADVISORY_LOCK = 7_203_461_155
_LOCK_FILE_SECONDS = 120
# A table that is in use is not waited for: behind a waiting migration every reader would queue.
_LOCK_TIMEOUT = "4s"
_STATEMENT_TIMEOUT = "5s"


@contextmanager
def migration_connection(url: str) -> Iterator[sa.Connection]:
    """Raises SettingInvalid, DatabaseUnavailable."""
    parsed = parse_url(url)
    make = _sqlite_connection if parsed.get_backend_name() == "sqlite" else _postgres_connection
    with translated_errors(), make(parsed) as connection:
        yield connection


@contextmanager
def _sqlite_connection(url: sa.URL) -> Iterator[sa.Connection]:
    path = sqlite_path(url)
    make_folder(path)
    try:
        with filelock.FileLock(f"{path}.migrating", timeout=_LOCK_FILE_SECONDS):
            engine = sa.create_engine(url, poolclass=sa.NullPool)
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_immediate)
            with engine.connect() as connection:
                yield connection
            engine.dispose()
    except filelock.Timeout as error:
        raise DatabaseUnavailable(f"Another process has been migrating {path} for long.") from error
    except OSError as error:
        raise DatabaseUnavailable(f"{path} cannot be written: {error.strerror}.") from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA busy_timeout = 30000")
    # Kept in the file. Done here, under the lock, because switching needs the file alone.
    connection.execute("PRAGMA journal_mode = WAL")
    # Batch mode drops a table and renames its copy; references must not be followed meanwhile.
    connection.execute("PRAGMA foreign_keys = OFF")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _postgres_connection(url: sa.URL) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 5})
    with engine.connect() as connection:
        # A second deployer waits here, then finds nothing left to do.
        connection.execute(sa.select(sa.func.pg_advisory_lock(_ADVISORY_LOCK)))
        connection.execute(sa.text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
        connection.execute(sa.text(f"SET statement_timeout = '{_STATEMENT_TIMEOUT}'"))
        connection.commit()
        # The lock belongs to the session and ends with it, after a crash too.
        yield connection
    engine.dispose()
