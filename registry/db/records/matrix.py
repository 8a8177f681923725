"""Adapters of a base by the environments in which they were proven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from registry.db.models import EnvironmentRow, ProofRow, RecordRow, RepositoryRow
from registry.db.records.listing import select_visible
from registry.db.repositories import repository_names

_ENVIRONMENTS = 8


@dataclass(frozen=True)
class Column:
    """An environment and the device of the proofs in it."""

    digest: str
    device: str
    versions: Mapping[str, Any]
    retired_at: datetime | None


@dataclass(frozen=True)
class Cell:
    """The newest proof of an adapter in an environment."""

    outcome: str
    proof_id: str
    finished_at: datetime


@dataclass(frozen=True)
class MatrixRow:
    """`declared`: the base is the one that the adapter's config names."""

    repo_id: str
    subfolder: str
    declared: bool
    cells: Mapping[tuple[str, str], Cell]


@dataclass(frozen=True)
class Matrix:
    """`columns` newest first; a row has a cell, by digest and device, where a proof was run."""

    columns: Sequence[Column]
    rows: Sequence[MatrixRow]


def load_matrix(
    connection: sa.Connection,
    base: str,
    *,
    visible: frozenset[str] = frozenset(),
    limit: int = 100,
) -> Matrix:
    """Proofs of the listed records of a base, by any id that it goes by."""
    rows = connection.execute(
        sa.select(
            RepositoryRow.repo_id,
            RecordRow.subfolder,
            RecordRow.declared,
            ProofRow.id.label("proof_id"),
            ProofRow.outcome,
            ProofRow.device,
            ProofRow.finished_at,
            ProofRow.environment_digest,
            EnvironmentRow.document,
            EnvironmentRow.retired_at,
        )
        .join(
            ProofRow,
            (ProofRow.adapter_digest == RecordRow.adapter_content)
            & (ProofRow.subfolder == RecordRow.subfolder)
            & (ProofRow.base_digest == RecordRow.base_content),
        )
        .join(RepositoryRow, RepositoryRow.id == RecordRow.adapter_repository_id)
        .join(EnvironmentRow, EnvironmentRow.digest == ProofRow.environment_digest)
        .where(
            RecordRow.listed,
            RecordRow.base_repo_id.in_(repository_names(base)),
            *select_visible(visible),
        )
        .order_by(ProofRow.finished_at.desc(), ProofRow.id)
        .limit(10 * limit)
    ).all()
    columns: dict[tuple[str, str], Column] = {}
    cells: dict[tuple[str, str, bool], dict[tuple[str, str], Cell]] = {}
    for row in rows:
        place = (row.environment_digest, row.device)
        if place not in columns and len(columns) == _ENVIRONMENTS:
            continue
        columns.setdefault(place, Column(*place, row.document, row.retired_at))
        # The record's own name: a proof may have been run on the same content elsewhere.
        adapter = (row.repo_id, row.subfolder, row.declared)
        proof = Cell(row.outcome, row.proof_id, row.finished_at)
        cells.setdefault(adapter, {}).setdefault(place, proof)
    listed = [MatrixRow(*adapter, found) for adapter, found in sorted(cells.items())]
    return Matrix(list(columns.values()), listed[:limit])
