"""Lists of records: filters, orders and keyset pages. One row per adapter and base."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from registry.db.models import RecordIssueRow, RecordRow, RepositoryRow
from registry.db.records.cursors import parse_cursor, parse_moment, write_cursor
from registry.db.records.finding import Condition, StoredRecord, select_stored, stored
from registry.db.repositories import repository_names

MAX_PAGE = 500


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
    wanted = wanted or RecordFilter()
    limit = max(1, min(limit, MAX_PAGE))
    key = _order(wanted, sort)
    chosen = sa.select(RecordRow.id, *key).where(*_conditions(connection, wanted))
    if wanted.issue is not None:
        chosen = chosen.join(RecordIssueRow, RecordIssueRow.record_id == RecordRow.id)
    if cursor is not None:
        text, row_id = parse_cursor(cursor, sort)
        value = text if sort is Sort.NAME else parse_moment(text)
        here = sa.tuple_(*key)
        there = sa.tuple_(sa.literal(value, key[0].type), sa.literal(row_id, key[1].type))
        chosen = chosen.where(here < there if sort is Sort.NEWEST else here > there)
    chosen = chosen.order_by(*(part.desc() if sort is Sort.NEWEST else part for part in key))
    # Chosen by the index first: the wide rows are read for one page, whatever was searched.
    found = connection.execute(chosen.limit(limit + 1)).all()
    more, found = len(found) > limit, found[:limit]
    rows = connection.execute(select_stored().where(RecordRow.id.in_([row[0] for row in found])))
    by_id = {row.id: stored(row) for row in rows}
    records = tuple(by_id[row[0]] for row in found)
    return Page(records, write_cursor(sort, found[-1][1], found[-1][0]) if more else None)


def _conditions(connection: sa.Connection, wanted: RecordFilter) -> list[Condition]:
    """The conditions of a filter. With an issue, `record_issues` must be joined."""
    conditions = [RecordRow.listed, *select_visible(wanted.visible), *select_named(wanted)]
    equal: dict[Any, str | None] = {
        RecordRow.shown_status: wanted.status,
        RecordRow.peft_type: wanted.peft_type,
    }
    conditions += [column == value for column, value in equal.items() if value is not None]
    if wanted.base is not None:
        # Asked before: equal to one name, rows come from the index in the order of their times.
        names = connection.scalars(repository_names(wanted.base)).all()
        conditions.append(RecordRow.base_repo_id.in_(names))
    if wanted.issue is not None:
        conditions += [RecordIssueRow.listed, RecordIssueRow.code == wanted.issue]
        if not wanted.visible:
            conditions.append(RecordIssueRow.private.is_(sa.false()))
    return conditions


def select_named(wanted: RecordFilter) -> list[Condition]:
    """The conditions on names: whose it is, and what is sought in all of them."""
    conditions: list[Condition] = []
    if wanted.author is not None:
        conditions.append(RecordRow.author == wanted.author)
    if wanted.q:
        conditions.append(RecordRow.search_text.contains(wanted.q.lower(), autoescape=True))
    return conditions


def select_visible(visible: frozenset[str]) -> list[Condition]:
    """Conditions that leave out records whose adapter or base is private and not named here."""
    if "*" in visible:
        # Says nothing, but lets an index be used in which `private` comes before what is sought.
        return [RecordRow.private.in_((False, True))]
    return [sa.or_(*(sa.and_(*part) for part in split_visible(visible)))]


def split_visible(visible: frozenset[str]) -> list[list[Condition]]:
    """The same in parts that share no record, each of which an index can lead to: what is public,
    then what is private and named here."""
    public: list[Condition] = [RecordRow.private.is_(sa.false())]
    if not visible:
        return [public]
    private: list[Condition] = [RecordRow.private.is_(sa.true())]
    if "*" in visible:
        return [public, private]
    allowed = [
        RepositoryRow.repo_id.startswith(pattern[:-1], autoescape=True)
        if pattern.endswith("/*")
        else RepositoryRow.repo_id == pattern
        for pattern in sorted(visible)
    ]
    hidden = sa.select(RepositoryRow.id).where(RepositoryRow.private, sa.not_(sa.or_(*allowed)))
    of_base = RecordRow.base_repository_id.not_in(hidden) | RecordRow.base_repository_id.is_(None)
    return [public, [*private, RecordRow.adapter_repository_id.not_in(hidden), of_base]]


def _order(wanted: RecordFilter, sort: Sort) -> tuple[Any, Any]:
    """What rows are sorted by. Of an issue's records the same times stand beside the issue, in the
    order of the index that finds it."""
    if sort is Sort.NAME:
        return RecordRow.search_text, RecordRow.id
    if wanted.issue is not None:
        return RecordIssueRow.scanned_at, RecordIssueRow.record_id
    return RecordRow.scanned_at, RecordRow.id
