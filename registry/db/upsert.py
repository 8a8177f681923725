"""Insert what may be there already, on both databases, whoever else is inserting it.

Statements are built once per table and key: building one costs more than running it on SQLite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def find_or_insert_all(
    session: Session, row: type[Base], key: str, rows: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """`find_or_insert` of many at once: the ids by the value of the unique column `key`."""
    ids: dict[str, int] = {}
    if not rows:
        return ids
    connection = session.connection()
    found = _find_all(row, key)
    ids.update(_by_key(connection, found, list(rows)))
    # In one order everywhere, so that two that insert the same do not wait for each other.
    new = [{key: value, **rows[value]} for value in sorted(rows.keys() - ids.keys())]
    if new:
        ids.update(insert_unless_there(session, row, new, returning=(key, "id")))
        theirs = rows.keys() - ids.keys()
        if theirs:
            ids.update(_by_key(connection, found, list(theirs)))
    return ids


def _by_key(
    connection: sa.Connection, found: sa.Select[*tuple[Any, ...]], keys: list[str]
) -> dict[str, int]:
    return dict(tuple(row) for row in connection.execute(found, {"keys": keys}))


def insert_unless_there(
    session: Session,
    row: type[Base],
    rows: Sequence[Mapping[str, Any]],
    *,
    returning: tuple[str, ...],
) -> list[Any]:
    """These columns of the rows that were made now, in no order. What another transaction is
    inserting at this time is waited for."""
    connection = session.connection()
    statement = _insert_all_unless_there(connection.dialect.name, row, returning)
    return [tuple(made) for made in connection.execute(statement, list(rows))]


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


@lru_cache(maxsize=16)
def _find_all(row: type[Base], key: str) -> sa.Select[*tuple[Any, ...]]:
    table = row.__table__
    return sa.select(table.c[key], table.c.id).where(
        table.c[key].in_(sa.bindparam("keys", expanding=True))
    )


@lru_cache(maxsize=16)
def _insert_all_unless_there(
    dialect: str, row: type[Base], returning: tuple[str, ...]
) -> ReturningInsert[*tuple[Any, ...]]:
    statement = _insert(dialect, row).on_conflict_do_nothing()
    return statement.returning(*(row.__table__.c[name] for name in returning))


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
