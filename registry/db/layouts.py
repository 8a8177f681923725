"""Layouts: the tensors of a header, stored once however many checkpoints share them."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.base import write_document
from registry.db.models import LayoutRow, LayoutTensorRow
from registry.db.name_runs import NameRun, fold, unfold
from registry.db.upsert import find_or_insert, insert
from registry.domain.canonical import sha256_digest
from registry.domain.tensors import Layout, once_per_layout


def compute_layout_digest(layout: Layout) -> str:
    """Of names, dtypes and shapes, in the layout's order."""
    tensors = [[tensor.name, tensor.dtype, tensor.shape] for tensor in layout]
    return sha256_digest(write_document(tensors).encode("ascii"))


def find_layouts(session: Session, layouts: Iterable[Layout]) -> None:
    """Look many up in one statement, so that `save_layout` need not look for each."""
    digests = {_digested(layout)[1] for layout in layouts}
    cache = _ids(session)
    asked = sorted(digests - cache.keys())
    if asked:
        found = session.connection().execute(_KNOWN, {"digests": asked})
        cache.update({row.digest: row.id for row in found})


def save_layout(session: Session, layout: Layout) -> int:
    """The id of the layout's row; its tensors are written where it is new."""
    layout, digest = _digested(layout)
    cache = _ids(session)
    if digest in cache:
        return cache[digest]
    layout_id, is_new = find_or_insert(
        session, LayoutRow, {"digest": digest}, {"tensor_count": len(layout)}
    )
    runs = fold(layout) if is_new else []
    if runs:
        connection = session.connection()
        connection.execute(
            insert(connection, LayoutTensorRow),
            [
                {
                    "layout_id": layout_id,
                    "position": position,
                    "name": run.name,
                    "members": run.members,
                    "dtype": run.dtype,
                    "shape": run.shape,
                }
                for position, run in enumerate(runs)
            ],
        )
    cache[digest] = layout_id
    return layout_id


@once_per_layout
def _digested(layout: Layout) -> tuple[Layout, str]:
    """Sorted, and its digest."""
    # By name alone, which is unique; comparing whole tensors costs ten times as much.
    ordered = tuple(sorted(layout, key=attrgetter("name")))
    return ordered, compute_layout_digest(ordered)


def _ids(session: Session) -> dict[str, int]:
    ids: dict[str, int] = session.info.setdefault("layouts", {})
    return ids


_KNOWN = sa.select(LayoutRow.digest, LayoutRow.id).where(
    LayoutRow.digest.in_(sa.bindparam("digests", expanding=True))
)


def load_layout(connection: sa.Connection, layout_id: int) -> Layout:
    """The tensors of a layout, sorted by name."""
    rows = connection.execute(
        sa.select(
            LayoutTensorRow.name,
            LayoutTensorRow.members,
            LayoutTensorRow.dtype,
            LayoutTensorRow.shape,
        ).where(LayoutTensorRow.layout_id == layout_id)
    )
    return unfold(
        NameRun(name, members, dtype, tuple(shape)) for name, members, dtype, shape in rows
    )
