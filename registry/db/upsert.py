"""Insert what may be there already, on both databases, whoever else is inserting it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from registry.db.base import Base

Insert = postgresql.Insert | sqlite.Insert


def insert(connection: sa.Connection, row: type[Base]) -> Insert:
    """An INSERT that knows ON CONFLICT, in the connection's dialect."""
    table = row.__table__
    assert isinstance(table, sa.Table)
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def find_or_insert(
    session: Session, row: type[Base], key: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[int, bool]:
    """The id of the row with this unique key, and whether it was made now from `values`.

    Looks first: content that many checkpoints share is nearly always there, and an INSERT would
    wait for any transaction that holds the same key.
    """
    connection = session.connection()
    table = row.__table__
    found = sa.select(table.c.id).where(*(table.c[name] == value for name, value in key.items()))
    row_id = connection.execute(found).scalar()
    if row_id is not None:
        return row_id, False
    made = connection.execute(
        insert(connection, row).on_conflict_do_nothing().returning(table.c.id), {**key, **values}
    ).scalar()
    if made is not None:
        return made, True
    return connection.execute(found).scalar_one(), False


def save_row(
    session: Session, row: type[Base], key: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Insert, or update the row that has this unique key."""
    connection = session.connection()
    statement = insert(connection, row).values(**key, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(values)))
