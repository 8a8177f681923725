"""Counts beside a list: for each facet, what choosing another value of it would show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from registry.db.models import RecordIssueRow, RecordRow
from registry.db.records.finding import Condition
from registry.db.records.listing import (
    RecordFilter,
    select_named,
    select_visible,
    split_visible,
)
from registry.db.repositories import repository_names
from registry.domain.issues import CATALOGUE

FACETS = ("status", "base", "peft_type", "issue", "author")
_VALUES = 12

# Facets whose values many records share, and the columns that hold them, in the order of the index
# that they are counted along.
_SHARED = {
    "base": "base_repo_id",
    "status": "shown_status",
    "peft_type": "peft_type",
    "issue": "issue_codes",
}

Counted = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Choices:
    """`total` records are wanted. `values` maps each facet to its commonest values and how many
    records each would leave, the facet's own choice apart, so that another can be chosen."""

    total: int
    values: Mapping[str, Counted]


def count_choices(connection: sa.Connection, wanted: RecordFilter | None = None) -> Choices:
    """One statement for all facets; the commonest twelve values of each, the chosen one with
    them."""
    wanted = wanted or RecordFilter()
    counts: dict[str, Counter[str]] = {name: Counter() for name in FACETS}
    for facet, value, number in connection.execute(_select_counts(wanted)):
        values = value.split() if facet == "issue" else [value]
        counts[facet].update(dict.fromkeys(values, int(number)))
    # Every record has a status, and there are fewer statuses than a facet shows.
    status = counts["status"]
    total = status.total() if wanted.status is None else status[wanted.status]
    chosen: dict[str, str | None] = {name: getattr(wanted, name) for name in FACETS}
    return Choices(
        total, {name: _commonest_of(counts[name], chosen[name], total) for name in FACETS}
    )


def count_listed(connection: sa.Connection, *, visible: frozenset[str] = frozenset()) -> int:
    """How many records there are to choose from."""
    counted = sa.select(sa.func.count()).where(RecordRow.listed, *select_visible(visible))
    return connection.execute(counted).scalar_one()


def count_with_issue(
    connection: sa.Connection, *, visible: frozenset[str] = frozenset(), code: str | None = None
) -> list[tuple[str, int]]:
    """How many listed records show each issue, or this one; none for what no record shows."""
    statement: Any = sa.select(RecordIssueRow.code, sa.func.count())
    statement = statement.where(RecordIssueRow.listed)
    if visible:
        statement = statement.join(RecordRow, RecordRow.id == RecordIssueRow.record_id)
        statement = statement.where(RecordRow.listed, *select_visible(visible))
    else:
        statement = statement.where(RecordIssueRow.private.is_(sa.false()))
    if code is not None:
        statement = statement.where(RecordIssueRow.code == code)
    rows = connection.execute(statement.group_by(RecordIssueRow.code))
    return [(row[0], row[1]) for row in rows]


def _commonest_of(counted: Counter[str], chosen: str | None, total: int) -> Counted:
    values = sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))[:_VALUES]
    if chosen is not None and chosen not in dict(values):
        # A choice stays on the page, so that it can be taken back.
        values.append((chosen, total))
    return tuple(values)


# --- one statement -------------------------------------------------------------------------------


def _select_counts(wanted: RecordFilter) -> sa.CompoundSelect[*tuple[Any, ...]]:
    """Rows (facet, value, number); an issue's value is a record's codes, each between spaces.

    Records are read twice, in the order of an index that holds all that is asked of them: grouped
    by what many share, to be summed up for each facet with what is chosen in the others; and by
    author, of whom there are nearly as many as records.
    """
    visible, anybodys = wanted.visible, replace(wanted, author=None)
    groups = _count_by(visible, tuple(_SHARED.values()), select_named(wanted)).cte("groups")
    # Bases are many, too. On those wanted there are few groups left, to be summed up three times.
    few = [groups.c[column] for facet, column in _SHARED.items() if facet != "base"]
    on_base = (
        sa.select(*few, sa.func.sum(groups.c.number).label("number"))
        .where(*_chosen(wanted, groups.c, only=("base",)))
        .group_by(*few)
        .cte("on_base")
    )
    narrowed = [*select_named(anybodys), *_chosen(wanted, RecordRow.__table__.c)]
    authors = _count_by(visible, ("author",), narrowed).subquery("authors")
    parts = [_sum_up("author", authors.c.author, authors.c.number)]
    for facet, column in _SHARED.items():
        source = groups if facet == "base" else on_base
        others = [name for name in _SHARED if name not in (facet, "base")]
        chosen = _chosen(wanted, source.c, only=others)
        parts.append(_sum_up(facet, source.c[column], source.c.number, *chosen))
    return sa.union_all(*parts)


def _count_by(
    visible: frozenset[str], columns: Collection[str], conditions: Collection[Condition]
) -> sa.CompoundSelect[*tuple[Any, ...]]:
    """Rows (columns…, number) of the visible records; a group can come once for each part."""
    grouped = [RecordRow.__table__.c[name] for name in columns]
    number = sa.func.count().label("number")
    return sa.union_all(
        *(
            sa.select(*grouped, number)
            .where(RecordRow.listed, *part, *conditions)
            .group_by(*grouped)
            for part in split_visible(visible)
        )
    )


def _chosen(
    wanted: RecordFilter, columns: Any, *, only: Collection[str] = tuple(_SHARED)
) -> list[Condition]:
    """The choices in these facets, of whatever has their columns."""
    conditions: list[Condition] = []
    for facet in only:
        column, value = columns[_SHARED[facet]], getattr(wanted, facet)
        if value is None:
            continue
        if facet == "base":
            conditions.append(column.in_(repository_names(value)))
        elif facet == "issue":
            # LIKE knows no case on SQLite, and two codes side by side would be found as one.
            held = column.contains(f" {value} ", autoescape=True)
            conditions.append(held if value in CATALOGUE else sa.false())
        else:
            conditions.append(column == value)
    return conditions


def _sum_up(
    facet: str, value: Any, number: Any, *conditions: Condition
) -> sa.Select[*tuple[Any, ...]]:
    """Rows (facet, value, number) of the commonest values, of all sets of issues."""
    summed = sa.func.sum(number).label("number")
    counted = (
        sa.select(value.label("value"), summed)
        .where(value != "", *conditions)
        .group_by(value)
        .order_by(summed.desc(), value)
        .limit(None if facet == "issue" else _VALUES)
        .subquery()
    )
    return sa.select(sa.literal(facet), counted.c.value, counted.c.number)
