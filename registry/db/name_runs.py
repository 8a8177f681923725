"""Tensors that differ in layer and expert numbers alone, folded into one run and back.

`model.layers.0.mlp.up_proj.weight` … `model.layers.31.…` of one dtype and shape become one run
named `model.layers.*.mlp.up_proj.weight` with members `[[[[0, 31]]]]`. Lossless for any names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from operator import attrgetter

from registry.domain.tensors import Layout, Shape, TensorSpec

# A whole segment, without leading zeros: only such a number is read back as it was written.
# It is searched for from dot to dot, so a name is given one in front.
_NUMBER = re.compile(r"\.(0|[1-9][0-9]{0,8})(?=\.|$)")
_DOT, _PLACE = ".", "*"

# Inclusive ranges of numbers, [[first, last], …]: what one `*` stands for.
Ranges = list[list[int]]
# One block is a choice of ranges for each `*`, all combinations of which are members.
Members = list[list[Ranges]]


@dataclass(frozen=True)
class NameRun:
    """Tensors of one dtype and shape. `members` is None where `name` is a tensor's own name."""

    name: str
    members: Members | None
    dtype: str
    shape: Shape


def fold(layout: Layout) -> list[NameRun]:
    """The runs of a layout, in the order of their first tensors."""
    # Whether there are numbers is part of the key: a name may itself hold the sign that we put in.
    runs: dict[tuple[str, bool, str, Shape], list[tuple[int, ...]]] = {}
    for name, dtype, shape in layout:
        pattern, numbers = _without_numbers(name)
        runs.setdefault((pattern, bool(numbers), dtype, shape), []).append(numbers)
    return [
        NameRun(name, _blocks(sorted(set(numbers))) if numbered else None, dtype, shape)
        for (name, numbered, dtype, shape), numbers in runs.items()
    ]


# Layouts of one base have the same names with other shapes.
@lru_cache(maxsize=16_384)
def _without_numbers(name: str) -> tuple[str, tuple[int, ...]]:
    if _PLACE in name:
        return name, ()
    pieces = _NUMBER.split(_DOT + name)
    return (_DOT + _PLACE).join(pieces[::2])[len(_DOT) :], tuple(map(int, pieces[1::2]))


def unfold(runs: Iterable[NameRun]) -> Layout:
    """The layout again, sorted by name."""
    tensors = [tensor for run in runs for tensor in _tensors(run)]
    return tuple(sorted(tensors, key=attrgetter("name")))


def _tensors(run: NameRun) -> Iterator[TensorSpec]:
    if run.members is None:
        yield TensorSpec(run.name, run.dtype, run.shape)
        return
    pieces = run.name.split(_PLACE)
    for block in run.members:
        for numbers in product(*(_numbers(ranges) for ranges in block)):
            name = pieces[0] + "".join(
                f"{number}{piece}" for number, piece in zip(numbers, pieces[1:], strict=True)
            )
            yield TensorSpec(name, run.dtype, run.shape)


def _blocks(members: Sequence[tuple[int, ...]]) -> Members:
    """Sorted, distinct tuples of one length as few products of ranges."""
    if len(members[0]) == 1:
        return [[_ranges([number for (number,) in members])]]
    tails: dict[int, list[tuple[int, ...]]] = {}
    for first, *rest in members:
        tails.setdefault(first, []).append(tuple(rest))
    sharing: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for first, rests in tails.items():
        sharing.setdefault(tuple(rests), []).append(first)
    return [
        [_ranges(firsts), *block] for rests, firsts in sharing.items() for block in _blocks(rests)
    ]


def _ranges(numbers: Sequence[int]) -> Ranges:
    ranges: Ranges = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def _numbers(ranges: Ranges) -> Iterator[int]:
    for first, last in ranges:
        yield from range(first, last + 1)
