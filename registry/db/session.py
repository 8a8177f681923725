"""Connections: one write transaction at a time on SQLite, autocommit reads, errors translated.

`Database.transaction` and `Database.write` are the only places that commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.orm import Session

from registry.db.base import SCHEMA_HEAD
from registry.errors import DatabaseNotMigrated, DatabaseUnavailable, SettingInvalid

T = TypeVar("T")

# Another process may hold the file's write lock; the job engine waits as long on the same file.
_BUSY_SECONDS = 30
_CONNECT_SECONDS = 5
# A process that is stopped, or a machine that is gone, inside a transaction holds its locks no
# longer: whoever takes its work over waits for them. No transaction of ours waits on anything else.
_IDLE_MILLISECONDS = 10_000
# What is read often lies in memory, or on a disk without a head that moves. By PostgreSQL's own
# default a page out of order costs four, and whole tables are read where an index holds the answer.
_RANDOM_PAGE_COST = 1.1
# serialization_failure and deadlock_detected: nothing was written, the same work may be done again.
_WORTH_REPEATING = frozenset({"40001", "40P01"})
_ATTEMPTS = 5
# undefined_table and undefined_column.
_UNDEFINED = frozenset({"42P01", "42703"})
_SQLITE_OUT_OF_ORDER = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)


class Database:
    """One database as every part of the program opens it. Safe to share between threads."""

    def __init__(self, writer: sa.Engine, reader: sa.Engine) -> None:
        self.writer = writer
        self.reader = reader

    @property
    def dialect(self) -> str:
        return self.writer.dialect.name

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end and rolls back on any error.

        On SQLite it holds the write lock from its first line: keep network reads and other work
        outside. Raises DatabaseUnavailable, DatabaseNotMigrated.
        """
        with (
            translated_errors(),
            Session(self.writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            # Takes the write lock now, so that no read of the caller precedes it.
            session.connection()
            yield session

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction; again from its start where PostgreSQL broke a deadlock.

        `work` must do nothing but read and write through its session.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with Session(self.writer, expire_on_commit=False) as session, session.begin():
                    session.connection()
                    return work(session)
            except exc.DBAPIError as error:
                if attempt == _ATTEMPTS or _sqlstate(error) not in _WORTH_REPEATING:
                    _raise_translated(error)
            except exc.TimeoutError as error:
                raise DatabaseUnavailable from error
        raise AssertionError("The last attempt returns or raises.")

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection in autocommit: each statement sees what is committed when it starts.

        Raises DatabaseUnavailable, DatabaseNotMigrated.
        """
        with translated_errors(), self.reader.connect() as connection:
            yield connection

    def close(self) -> None:
        self.writer.dispose()
        self.reader.dispose()


def open_database(url: str) -> Database:
    """Engines for `url`; nothing is read yet. Raises SettingInvalid, DatabaseUnavailable."""
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        make_folder(sqlite_path(parsed))
        # One connection in this process: its threads queue for it, instead of polling the file's
        # lock against each other.
        writer = sa.create_engine(parsed, pool_size=1, max_overflow=0, pool_timeout=_BUSY_SECONDS)
        event.listen(writer, "connect", _prepare_sqlite)
        event.listen(writer, "begin", _begin_immediate)
        reader = sa.create_engine(parsed, isolation_level="AUTOCOMMIT", pool_size=16)
        event.listen(reader, "connect", _prepare_sqlite)
        return Database(writer, reader)
    writer = sa.create_engine(
        parsed,
        pool_size=8,
        max_overflow=8,
        pool_timeout=_BUSY_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "loadplan",
            "options": f"-c idle_in_transaction_session_timeout={_IDLE_MILLISECONDS}"
            f" -c random_page_cost={_RANDOM_PAGE_COST}",
        },
    )
    return Database(writer, writer.execution_options(isolation_level="AUTOCOMMIT"))


def check_migrated(database: Database) -> None:
    """Raises DatabaseNotMigrated unless the database is at SCHEMA_HEAD or a later migration."""
    with database.reading() as connection:
        current = current_migration(connection)
    if current is None or current < SCHEMA_HEAD:
        raise DatabaseNotMigrated(
            f"The database is at migration {current or 'none'}; this version needs {SCHEMA_HEAD}."
        )


def current_migration(connection: sa.Connection) -> str | None:
    """The migration that the database is at, None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT max(version_num) FROM alembic_version")).scalar()


def parse_url(url: str) -> sa.URL:
    """SQLite on a file, or PostgreSQL through psycopg 3. Raises SettingInvalid."""
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        # The text may hold a password, so it is not repeated.
        raise SettingInvalid("LOADPLAN_DATABASE_URL is not a database URL.") from None
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise SettingInvalid(
            f"LOADPLAN_DATABASE_URL names {parsed.drivername!r}; "
            "sqlite:///… and postgresql+psycopg://… are served."
        )
    if parsed.database in (None, "", ":memory:") or "mode=memory" in url:
        raise SettingInvalid("LOADPLAN_DATABASE_URL must name a file; memory is not shared.")
    return parsed


def sqlite_path(url: sa.URL) -> Path:
    """The file behind an SQLite URL, `file:` form included."""
    assert url.database is not None
    return Path(url.database.removeprefix("file:")).absolute()


def make_folder(path: Path) -> None:
    """The database's folder, closed to other users where it is new. Raises DatabaseUnavailable."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"{path.parent} cannot be made: {error.strerror}.") from error


@contextmanager
def translated_errors() -> Iterator[None]:
    """Driver errors that mean no answer become ours; mistakes in a statement stay what they are."""
    try:
        yield
    except exc.TimeoutError as error:
        raise DatabaseUnavailable from error
    except exc.DBAPIError as error:
        _raise_translated(error)


def _raise_translated(error: exc.DBAPIError) -> NoReturn:
    ours = translated(error)
    if ours is None:
        raise error
    raise ours from error


def translated(error: exc.DBAPIError) -> DatabaseUnavailable | DatabaseNotMigrated | None:
    """The registry's error for a driver's, None where it is not about the database's state."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        text = str(cause)
        if text.startswith(("no such table", "no such column")):
            return DatabaseNotMigrated()
        # The driver calls a mistake in a statement operational, too; the engine's code tells.
        primary = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        return DatabaseUnavailable() if primary in _SQLITE_OUT_OF_ORDER else None
    if _sqlstate(error) in _UNDEFINED:
        return DatabaseNotMigrated()
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        return DatabaseUnavailable()
    return DatabaseUnavailable() if error.connection_invalidated else None


def _sqlstate(error: exc.DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver would otherwise open transactions by itself, and deferred ones, in which two
    # writers overtake each other. WAL is set once, by the migration: it is kept in the file.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
