"""The declarative base of every table: one naming convention for constraints, a few column types.

Names that hostile files bring along are made harmless here, in one place: see `PlainText`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

# The migration that this code needs. A later one is accepted: every migration has to work with the
# code of the release before it, so that a deploy can migrate first. Ids are counted up, `0001`, …
SCHEMA_HEAD = "0007"

# PostgreSQL stores no NUL in text; no driver encodes lone surrogates; JSON files hold both. The
# backslash is among them so that two texts never become one.
_ESCAPED = re.compile("[\\\\\x00\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(\\|u[0-9a-f]{4})")


class PlainText(sa.types.TypeDecorator[str]):
    """Text that may hold anything: NUL and lone surrogates are stored as `\\u0000`, `\\` doubled.

    The same is done to what a column is compared with, so lookups are exact; reading undoes it.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else _ESCAPED.sub(_escape, value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None or "\\" not in value:
            return value
        return _ESCAPE.sub(_unescape, value)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return "\\\\" if character == "\\" else f"\\u{ord(character):04x}"


def _unescape(match: re.Match[str]) -> str:
    body = match.group(1)
    return "\\" if body == "\\" else chr(int(body[1:], 16))


class Document(sa.types.TypeDecorator[Any]):
    """A JSON value kept as ASCII text: any string survives the way there and back on each database.

    Integers stay integers and floats floats; tuples come back as lists.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else write_document(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else json.loads(value)


def write_document(value: Any) -> str:
    """`value` as Document stores it; equal values give equal text."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True)


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware moment, stored in UTC (SQLite keeps text without a zone, which sorts by time)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A moment without a time zone cannot be stored.")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite counts row ids up only in a column that is declared INTEGER.
RowId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


class Base(DeclarativeBase):
    """Every table of the registry. The job engine's own tables are not among them."""

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: PlainText, datetime: UtcDateTime, int: sa.BigInteger}  # noqa: RUF012


def one_of(column: str, values: type[StrEnum] | Iterable[str]) -> sa.CheckConstraint:
    """The check that makes a text column an enumeration."""
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)
