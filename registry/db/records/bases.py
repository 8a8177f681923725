"""Bases as readers browse them: by name, with their adapters counted by status."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from registry.db.models import RecordRow
from registry.db.records.cursors import parse_cursor, write_cursor
from registry.db.records.finding import Condition
from registry.db.records.listing import MAX_PAGE, select_visible
from registry.db.repositories import repository_names

_SORT = "bases"


@dataclass(frozen=True)
class BaseSummary:
    """A base and how many listed adapters it has, by status. `scanned_at` is of the newest."""

    source: str
    repo_id: str
    adapters: int
    statuses: Mapping[str, int]
    scanned_at: datetime


@dataclass(frozen=True)
class BasePage:
    """`next_cursor` is None on the last page."""

    bases: tuple[BaseSummary, ...]
    next_cursor: str | None


def list_bases(
    connection: sa.Connection,
    *,
    q: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
    visible: frozenset[str] = frozenset(),
) -> BasePage:
    """One page of bases in the order of their names. Raises InvalidRequest for a bad cursor."""
    limit = max(1, min(limit, MAX_PAGE))
    conditions: list[Condition] = [
        RecordRow.listed,
        RecordRow.base_repo_id != "",
        *select_visible(visible),
    ]
    if q:
        conditions.append(
            sa.func.lower(RecordRow.base_repo_id).contains(q.lower(), autoescape=True)
        )
    if cursor is not None:
        after, _ = parse_cursor(cursor, _SORT)
        conditions.append(RecordRow.base_repo_id > after)
    names = connection.scalars(
        sa.select(RecordRow.base_repo_id)
        .where(*conditions)
        .distinct()
        .order_by(RecordRow.base_repo_id)
        .limit(limit + 1)
    ).all()
    more, names = len(names) > limit, names[:limit]
    bases = _summaries(connection, [*conditions, RecordRow.base_repo_id.in_(names)])
    return BasePage(bases, write_cursor(_SORT, names[-1], 0) if more else None)


def find_base(
    connection: sa.Connection, repo_id: str, *, visible: frozenset[str] = frozenset()
) -> BaseSummary | None:
    """A base by any id it goes by, None where no visible adapter is listed for it."""
    conditions: list[Condition] = [
        RecordRow.listed,
        RecordRow.base_repo_id.in_(repository_names(repo_id)),
        *select_visible(visible),
    ]
    found = _summaries(connection, conditions)
    return found[0] if found else None


def _summaries(connection: sa.Connection, conditions: list[Condition]) -> tuple[BaseSummary, ...]:
    status = RecordRow.shown_status
    rows = connection.execute(
        sa.select(
            RecordRow.base_source,
            RecordRow.base_repo_id,
            status,
            sa.func.count(),
            sa.func.max(RecordRow.scanned_at),
        )
        .where(*conditions)
        .group_by(RecordRow.base_source, RecordRow.base_repo_id, status)
        .order_by(RecordRow.base_repo_id, RecordRow.base_source)
    )
    statuses: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    newest: dict[tuple[str, str], datetime] = {}
    for source, repo_id, shown, count, scanned_at in rows:
        statuses[source, repo_id][shown] = count
        newest[source, repo_id] = max(scanned_at, newest.get((source, repo_id), scanned_at))
    return tuple(
        BaseSummary(*base, sum(counts.values()), counts, newest[base])
        for base, counts in statuses.items()
    )
