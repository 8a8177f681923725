"""Counts beside a list: for each facet, what choosing another value of it would show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from registry.db.models import RecordIssueRow, RecordRow
from registry.db.records.counts import count_facets
from registry.db.records.listing import RecordFilter, select_visible

FACETS = ("status", "base", "peft_type", "issue", "author")
_VALUES = 12

Counted = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Choices:
    """`total` records are wanted. `values` maps each facet to its commonest values and how many
    records each would leave, the facet's own choice apart, so that another can be chosen."""

    total: int
    values: Mapping[str, Counted]


def count_choices(connection: sa.Connection, wanted: RecordFilter) -> Choices:
    """One look for all facets, and one more for each in which a value is chosen."""
    counted = dict(count_facets(connection, wanted))
    # Every record has a status, and there are fewer statuses than a facet shows.
    total = sum(number for _, number in counted["status"])
    for name in FACETS:
        chosen: str | None = getattr(wanted, name)
        if chosen is None:
            counted[name] = counted[name][:_VALUES]
            continue
        without: dict[str, Any] = {name: None}
        others = replace(wanted, **without)
        values = count_facets(connection, others, only=(name,))[name][:_VALUES]
        if chosen not in dict(values):
            # A choice stays on the page, so that it can be taken back.
            values += ((chosen, total),)
        counted[name] = values
    return Choices(total, {name: counted[name] for name in FACETS})


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
