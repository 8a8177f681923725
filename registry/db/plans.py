"""Plans by digest, and the rehearsals that were run of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.models import PlanRow, RehearsalRow
from registry.domain.refs import Digest
from registry.domain.steps import Plan, plan_from_json


@dataclass(frozen=True)
class StoredRehearsal:
    """One run of the real PEFT without weights, as it came: the three raw sets and the error.

    `plan_digest` is None for the naive load. `outcome` is landed, faults, raises or unknown.
    """

    adapter_digest: Digest
    subfolder: str | None
    base_digest: Digest
    plan_digest: Digest | None
    outcome: str
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    overwritten: tuple[str, ...]
    error: str | None
    warnings: tuple[str, ...]
    versions: Mapping[str, str]
    finished_at: datetime


def load_plan(connection: sa.Connection, digest: Digest) -> Plan | None:
    """The plan as it was first saved, naming the commits of that place."""
    document = connection.execute(
        sa.select(PlanRow.document).where(PlanRow.digest == digest)
    ).scalar()
    return None if document is None else plan_from_json(document)


def save_rehearsal(session: Session, rehearsal: StoredRehearsal) -> None:
    """Append a run. What the same versions found before is replaced by what they found now."""
    key = (
        RehearsalRow.adapter_digest == rehearsal.adapter_digest,
        RehearsalRow.subfolder == (rehearsal.subfolder or ""),
        RehearsalRow.base_digest == rehearsal.base_digest,
        RehearsalRow.plan_digest == (rehearsal.plan_digest or ""),
        RehearsalRow.versions == dict(rehearsal.versions),
    )
    session.execute(sa.delete(RehearsalRow).where(*key))
    values = {**vars(rehearsal), "versions": dict(rehearsal.versions)}
    values["subfolder"] = rehearsal.subfolder or ""
    values["plan_digest"] = rehearsal.plan_digest or ""
    session.execute(sa.insert(RehearsalRow), values)


def load_rehearsals(
    connection: sa.Connection, adapter_digest: Digest, subfolder: str | None, base_digest: Digest
) -> list[StoredRehearsal]:
    """Runs of a pair, newest first."""
    columns = [column for column in RehearsalRow.__table__.c if column.name != "id"]
    rows = connection.execute(
        sa.select(*columns)
        .where(
            RehearsalRow.adapter_digest == adapter_digest,
            RehearsalRow.subfolder == (subfolder or ""),
            RehearsalRow.base_digest == base_digest,
        )
        .order_by(RehearsalRow.id.desc())
    ).mappings()
    return [
        StoredRehearsal(
            **{
                **row,
                "subfolder": row["subfolder"] or None,
                "plan_digest": row["plan_digest"] or None,
                **{name: tuple(row[name]) for name in _SETS},
            }
        )
        for row in rows
    ]


_SETS = ("missing", "unexpected", "overwritten", "warnings")
