"""Lists of records: filters, orders, keyset pages and counts. One row per adapter and base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from registry.db.models import RecordIssueRow, RecordRow, RepositoryRow
from registry.db.records.cursors import parse_cursor, parse_moment, write_cursor
from registry.db.records.finding import OF_CONTENT, Condition, StoredRecord, select_stored, stored
from registry.db.repositories import repository_names
from registry.domain.record import Status

MAX_PAGE = 500
_FACET_VALUES = 50


class Sort(StrEnum):
    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"


@dataclass(frozen=True)
class RecordFilter:
    """Which records; None means any. `q` is sought in the names of adapter, folder and base.

    Private repositories are left out but for those that a pattern of `visible` names: a repository
    id, a namespace with `/*`, or `*`.
    """

    base: str | None = None
    status: str | None = None
    peft_type: str | None = None
    issue: str | None = None
    q: str | None = None
    author: str | None = None
    visible: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Page:
    """`next_cursor` is None on the last page."""

    records: tuple[StoredRecord, ...]
    next_cursor: str | None


def list_records(
    connection: sa.Connection,
    wanted: RecordFilter | None = None,
    *,
    sort: Sort = Sort.NEWEST,
    limit: int = 50,
    cursor: str | None = None,
) -> Page:
    """One page. Rows added meanwhile neither repeat nor hide others. Raises InvalidRequest for a
    cursor that this order did not give out."""
    limit = max(1, min(limit, MAX_PAGE))
    order: Any = RecordRow.search_text if sort is Sort.NAME else RecordRow.scanned_at
    statement = (
        select_stored()
        .add_columns(RecordRow.search_text)
        .where(*_conditions(connection, wanted or RecordFilter()))
    )
    if cursor is not None:
        text, row_id = parse_cursor(cursor, sort)
        value = text if sort is Sort.NAME else parse_moment(text)
        here = sa.tuple_(order, RecordRow.id)
        there = sa.tuple_(sa.literal(value, order.type), sa.literal(row_id, RecordRow.id.type))
        statement = statement.where(here < there if sort is Sort.NEWEST else here > there)
    if sort is Sort.NEWEST:
        statement = statement.order_by(order.desc(), RecordRow.id.desc())
    else:
        statement = statement.order_by(order, RecordRow.id)
    rows = connection.execute(statement.limit(limit + 1)).all()
    more, rows = len(rows) > limit, rows[:limit]
    return Page(tuple(stored(row) for row in rows), _next(sort, rows[-1]) if more else None)


def count_facets(
    connection: sa.Connection, wanted: RecordFilter | None = None
) -> Mapping[str, tuple[tuple[str, int], ...]]:
    """For status, base, peft_type, author and issue: the values among the wanted records with how
    many have each, the commonest first, at most 50."""
    conditions = _conditions(connection, wanted or RecordFilter())
    count = sa.func.count()
    facets: dict[str, tuple[tuple[str, int], ...]] = {}
    columns: dict[str, Any] = {
        "status": shown_status(),
        "base": RecordRow.base_repo_id,
        "peft_type": RecordRow.peft_type,
        "author": RecordRow.author,
        "issue": RecordIssueRow.code,
    }
    for name, column in columns.items():
        statement = sa.select(column, count).select_from(RecordRow).where(*conditions)
        if name == "issue":
            statement = statement.join(RecordIssueRow, RecordIssueRow.record_id == RecordRow.id)
        rows = connection.execute(
            statement.group_by(column).order_by(count.desc(), column).limit(_FACET_VALUES)
        )
        facets[name] = tuple((value, number) for value, number in rows if value != "")
    return facets


def shown_status() -> sa.ColumnElement[str]:
    """The status as a list shows it: stale where a branch has moved since."""
    return sa.case(
        (RecordRow.moved & RecordRow.status.in_(sorted(OF_CONTENT)), Status.STALE.value),
        else_=RecordRow.status,
    )


def visible_records(connection: sa.Connection, visible: frozenset[str]) -> list[Condition]:
    """Conditions that leave out records of private repositories. None while there are none, so
    that counts over everything can be answered from an index."""
    if "*" in visible:
        return []
    private = sa.select(RepositoryRow.id).where(RepositoryRow.private)
    allowed = [
        RepositoryRow.repo_id.startswith(pattern[:-1], autoescape=True)
        if pattern.endswith("/*")
        else RepositoryRow.repo_id == pattern
        for pattern in sorted(visible)
    ]
    if allowed:
        private = private.where(sa.not_(sa.or_(*allowed)))
    if connection.execute(private.limit(1)).first() is None:
        return []
    return [
        RecordRow.adapter_repository_id.not_in(private),
        RecordRow.base_repository_id.is_(None) | RecordRow.base_repository_id.not_in(private),
    ]


def _conditions(connection: sa.Connection, wanted: RecordFilter) -> list[Condition]:
    conditions: list[Condition] = [RecordRow.listed, *visible_records(connection, wanted.visible)]
    if wanted.base is not None:
        conditions.append(RecordRow.base_repo_id.in_(repository_names(wanted.base)))
    if wanted.status == Status.STALE:
        conditions.append(shown_status() == Status.STALE)
    elif wanted.status is not None:
        conditions += [RecordRow.status == wanted.status, shown_status() == wanted.status]
    if wanted.peft_type is not None:
        conditions.append(RecordRow.peft_type == wanted.peft_type)
    if wanted.author is not None:
        conditions.append(RecordRow.author == wanted.author)
    if wanted.q:
        conditions.append(RecordRow.search_text.contains(wanted.q.lower(), autoescape=True))
    if wanted.issue is not None:
        having = sa.select(RecordIssueRow.record_id).where(
            RecordIssueRow.listed, RecordIssueRow.code == wanted.issue
        )
        conditions.append(RecordRow.id.in_(having))
    return conditions


def _next(sort: Sort, row: sa.Row[Any]) -> str:
    value: datetime | str = row.search_text if sort is Sort.NAME else row.scanned_at
    return write_cursor(sort, value, row.id)
