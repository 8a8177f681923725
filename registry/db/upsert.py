"""Insert what may be there already, on both databases, whoever else is inserting it.

Statements are built once per table and key: building one costs more than running it on SQLite.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from registry.db.base import Base

Insert = postgresql.Insert | sqlite.Insert


def insert(connection: sa.Connection, row: type[Base]) -> Insert:
    """An INSERT that knows ON CONFLICT, in the connection's dialect."""
    return _insert(connection.dialect.name, row)


def find_or_insert(
    session: Session, row: type[Base], key: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[int, bool]:
    """The id of the row with this unique key, and whether it was made now from `values`.

    Looks first: content that many checkpoints share is nearly always there, and an INSERT would
    wait for any transaction that holds the same key.
    """
    connection = session.connection()
    found = _find(row, tuple(key))
    row_id: int | None = connection.execute(found, key).scalar()
    if row_id is not None:
        return row_id, False
    made: int | None = connection.execute(
        _insert_unless_there(connection.dialect.name, row), {**key, **values}
    ).scalar()
    if made is not None:
        return made, True
    return connection.execute(found, key).scalar_one(), False


def save_row(
    session: Session, row: type[Base], key: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Insert, or update the row that has this unique key."""
    connection = session.connection()
    statement = _insert_or_update(connection.dialect.name, row, tuple(key), tuple(values))
    connection.execute(statement, {**key, **values})


@lru_cache(maxsize=64)
def _find(row: type[Base], key: tuple[str, ...]) -> sa.Select[int]:
    table = row.__table__
    return sa.select(table.c.id).where(*(table.c[name] == sa.bindparam(name) for name in key))


@lru_cache(maxsize=128)
def _insert(dialect: str, row: type[Base]) -> Insert:
    table = row.__table__
    assert isinstance(table, sa.Table)
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


@lru_cache(maxsize=64)
def _insert_unless_there(dialect: str, row: type[Base]) -> ReturningInsert[int]:
    statement = _insert(dialect, row).on_conflict_do_nothing()
    return statement.returning(row.__table__.c.id)


@lru_cache(maxsize=64)
def _insert_or_update(
    dialect: str, row: type[Base], key: tuple[str, ...], values: tuple[str, ...]
) -> Insert:
    statement = _insert(dialect, row)
    return statement.on_conflict_do_update(
        index_elements=list(key), set_={name: statement.excluded[name] for name in values}
    )
