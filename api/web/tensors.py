"""Tensors as people look at them: what differs one by one, the rest folded by layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from registry.domain.tensors import Shape
from registry.planning.comparing import TensorPair

MOST_DIFFERING: Final = 200
MOST_FOLDED: Final = 400
_NUMBER: Final = re.compile(r"(?<=\.)\d+(?=\.)")
_PLACE: Final = "*"

# A size, and whether the other side has another one there.
Dims = tuple[tuple[int, bool], ...]


@dataclass(frozen=True)
class TensorLine:
    """One row of the table: a tensor, or `count` of one shape whose names differ in numbers."""

    name: str
    dtype: str
    file: Dims
    base: Dims | None
    differs: bool | None
    count: int = 1
    said: str = ""


@dataclass(frozen=True)
class TensorTable:
    """`differing` are shown, `rest` is folded. `left_out` were too many to show."""

    total: int
    differing: Sequence[TensorLine]
    rest: Sequence[TensorLine]
    left_out: int


def mark_dims(shape: Shape, other: Shape | None) -> Dims:
    """Each size, marked where the other shape has another. Of shapes with different numbers of
    dimensions every size is marked."""
    if other is None:
        return tuple((size, False) for size in shape)
    if len(shape) != len(other):
        return tuple((size, True) for size in shape)
    return tuple((size, size != there) for size, there in zip(shape, other, strict=True))


def make_table(pairs: Iterable[TensorPair]) -> TensorTable:
    """Differences first and one by one, so that each can be read."""
    listed = list(pairs)
    differing = [_line(pair) for pair in listed if pair.differs]
    folded = _fold(pair for pair in listed if not pair.differs)
    shown = differing[:MOST_DIFFERING]
    left_out = len(differing) - len(shown)
    left_out += sum(line.count for line in folded[MOST_FOLDED:])
    return TensorTable(len(listed), shown, folded[:MOST_FOLDED], left_out)


def say_difference(shape: Shape, other: Shape) -> str:
    """The difference in words: `rows +1,004`."""
    if len(shape) != len(other):
        return f"{len(shape)} dimensions, not {len(other)}"
    names = ("rows", "columns") if len(shape) == 2 else ("size",)
    return ", ".join(
        f"{names[axis] if axis < len(names) else f'axis {axis}'} {size - there:+,}"
        for axis, (size, there) in enumerate(zip(shape, other, strict=True))
        if size != there
    )


def _line(pair: TensorPair, name: str | None = None, count: int = 1) -> TensorLine:
    base = pair.base_shape
    return TensorLine(
        name or pair.name,
        pair.dtype,
        mark_dims(pair.shape, base),
        None if base is None else mark_dims(base, pair.shape),
        pair.differs,
        count,
        say_difference(pair.shape, base) if base is not None and pair.differs else "",
    )


def _fold(pairs: Iterable[TensorPair]) -> list[TensorLine]:
    runs: dict[tuple[str, str, Shape, Shape | None], list[TensorPair]] = {}
    for pair in pairs:
        pattern = _NUMBER.sub(_PLACE, pair.name)
        runs.setdefault((pattern, pair.dtype, pair.shape, pair.base_shape), []).append(pair)
    return [
        _line(run[0], run[0].name if len(run) == 1 else pattern, len(run))
        for (pattern, *_), run in runs.items()
    ]
