"""Layouts: the tensors of a header, stored once however many checkpoints share them."""

from __future__ import annotations

from operator import attrgetter

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.base import write_document
from registry.db.models import LayoutRow, LayoutTensorRow
from registry.db.name_runs import NameRun, fold, unfold
from registry.db.upsert import find_or_insert, insert
from registry.domain.canonical import sha256_digest
from registry.domain.tensors import Layout


def compute_layout_digest(layout: Layout) -> str:
    """Of names, dtypes and shapes, in the layout's order."""
    tensors = [[tensor.name, tensor.dtype, tensor.shape] for tensor in layout]
    return sha256_digest(write_document(tensors).encode("ascii"))


def save_layout(session: Session, layout: Layout) -> int:
    """The id of the layout's row; its tensors are written where it is new."""
    # By name alone, which is unique; comparing whole tensors costs ten times as much.
    layout = tuple(sorted(layout, key=attrgetter("name")))
    digest = compute_layout_digest(layout)
    cache: dict[str, int] = session.info.setdefault("layouts", {})
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
