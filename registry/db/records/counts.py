"""How many of the wanted records have which status, base, PEFT type, author and issue."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from registry.db.models import RecordIssueRow, RecordRow
from registry.db.records.listing import RecordFilter, select_visible, select_wanted

_VALUES = 50
_NAMES = {
    "status": "shown_status",
    "base": "base_repo_id",
    "peft_type": "peft_type",
    "author": "author",
}
FACETS = (*_NAMES, "issue")


def count_facets(
    connection: sa.Connection,
    wanted: RecordFilter | None = None,
    *,
    only: Collection[str] = FACETS,
) -> Mapping[str, tuple[tuple[str, int], ...]]:
    """For status, base, peft_type, author and issue, or `only` some of them: the values among the
    wanted records with how many have each, the commonest first, at most 50."""
    wanted = wanted or RecordFilter()
    everything = wanted == RecordFilter(visible=wanted.visible)
    counted = _of_everything if everything else _of_some
    facets: dict[str, list[tuple[str, int]]] = {name: [] for name in FACETS if name in only}
    for facet, value, number in connection.execute(counted(wanted, only)):
        if value:
            facets[facet].append((value, number))
    return {
        name: tuple(sorted(values, key=lambda entry: (-entry[1], entry[0])))
        for name, values in facets.items()
    }


def _of_everything(
    wanted: RecordFilter, only: Collection[str]
) -> sa.CompoundSelect[*tuple[Any, ...]]:
    """Each facet read off the index that leads with it."""
    table = RecordRow.__table__
    visible = select_visible(wanted.visible)
    issues: Any = RecordIssueRow.__table__
    conditions: list[Any] = [RecordIssueRow.listed]
    if not wanted.visible:
        conditions.append(RecordIssueRow.private.is_(sa.false()))
    elif "*" not in wanted.visible:
        issues = sa.join(issues, table, RecordRow.id == RecordIssueRow.record_id)
        conditions += visible
    parts = [
        _commonest(facet, table.c[name], table, RecordRow.listed, *visible)
        for facet, name in _NAMES.items()
        if facet in only
    ]
    if "issue" in only:
        parts.append(_commonest("issue", RecordIssueRow.code, issues, *conditions))
    return sa.union_all(*parts)


def _of_some(wanted: RecordFilter, only: Collection[str]) -> sa.CompoundSelect[*tuple[Any, ...]]:
    """The wanted records are found once, then counted five ways."""
    columns = [RecordRow.__table__.c[name] for name in _NAMES.values()]
    found = sa.select(RecordRow.id, *columns).where(*select_wanted(wanted))
    if wanted.issue is not None:
        found = found.join(RecordIssueRow, RecordIssueRow.record_id == RecordRow.id)
    some = found.cte("some")
    theirs = sa.join(some, RecordIssueRow.__table__, RecordIssueRow.record_id == some.c.id)
    parts = [
        _commonest(facet, some.c[name], some) for facet, name in _NAMES.items() if facet in only
    ]
    if "issue" in only:
        parts.append(_commonest("issue", RecordIssueRow.code, theirs))
    return sa.union_all(*parts)


def _commonest(
    facet: str, column: Any, source: Any, *conditions: Any
) -> sa.Select[*tuple[Any, ...]]:
    """Rows (facet, value, number) of the commonest values."""
    number = sa.func.count().label("number")
    counted = (
        sa.select(column.label("value"), number)
        .select_from(source)
        .where(*conditions)
        .group_by(column)
        .order_by(number.desc(), column)
        .limit(_VALUES)
        .subquery()
    )
    return sa.select(sa.literal(facet), counted.c.value, counted.c.number)
