"""The layout as a picture: a row per module, a column per layer, a cell for what the file holds.

The picture is drawn in attributes alone, since the policy allows no inline style, and everything
that it shows stands in a table behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from registry.domain.keys import Part, parse_key
from registry.domain.tensors import Shape
from registry.planning.comparing import TensorPair

CELL_WIDTH: Final = 30
CELL_HEIGHT: Final = 20
GAP: Final = 2
_LABEL_CHARACTER: Final = 7
_MOST_MODULES, _MOST_LAYERS = 40, 160
# The first number between dots is the layer; experts and blocks inside it are folded.
_LAYER: Final = re.compile(r"^(.*?)\.(\d+)\.(.+)$")
_NUMBER: Final = re.compile(r"(?<=\.)\d+(?=\.|$)")
_WORDS: Final = {
    "match": "fits",
    "differs": "differs from the base",
    "unknown": "base shape not known",
    "gap": "not in the file",
}


@dataclass(frozen=True)
class Cell:
    """One module of one layer. `text` is its rank, or its dtype where it has none."""

    state: str
    text: str
    x: int
    y: int
    title: str


@dataclass(frozen=True)
class Row:
    """`outside` stands for modules in no layer (embeddings, head)."""

    label: str
    y: int
    cells: Sequence[Cell]
    outside: bool


@dataclass(frozen=True)
class Picture:
    """`layers` are the numbers along the top with their places, `numbers` those of all columns,
    `said` is the picture in one sentence."""

    width: int
    height: int
    left: int
    layers: Sequence[tuple[int, int]]
    numbers: Sequence[int]
    rows: Sequence[Row]
    said: str
    states: Sequence[tuple[str, str]]
    left_out: int


@dataclass
class _Module:
    ranks: set[int]
    dtypes: set[str]
    states: set[bool | None]
    shapes: list[str]


def draw(pairs: Iterable[TensorPair], peft_type: str) -> Picture | None:
    """None where the file holds nothing that belongs to a module."""
    modules = _collect(pairs, peft_type)
    if not modules:
        return None
    numbers = sorted({layer for _, layer in modules if layer is not None})
    every = list(range(numbers[0], numbers[-1] + 1)) if numbers else []
    layers = every[:_MOST_LAYERS]
    labels = sorted({label for label, layer in modules if layer is not None})
    outside = sorted({label for label, layer in modules if layer is None})
    shown = [*((label, False) for label in labels), *((label, True) for label in outside)]
    left_out = max(0, len(shown) - _MOST_MODULES) + max(0, len(every) - len(layers))
    shown = shown[:_MOST_MODULES]
    left = _LABEL_CHARACTER * max(min(len(label), 34) for label, _ in shown) + 12
    rows = []
    for place, (label, alone) in enumerate(shown):
        y = 22 + place * (CELL_HEIGHT + GAP)
        columns: list[int | None] = [None] if alone else list(layers)
        cells = [
            _cell(modules.get((label, layer)), label, layer, left, column, y)
            for column, layer in enumerate(columns)
        ]
        rows.append(Row(label, y, cells, alone))
    step = 1 if len(layers) <= 48 else 4
    marks = [
        (layer, left + column * (CELL_WIDTH + GAP) + CELL_WIDTH // 2)
        for column, layer in enumerate(layers)
        if column % step == 0
    ]
    used = {cell.state for row in rows for cell in row.cells}
    return Picture(
        width=left + max(1, len(layers)) * (CELL_WIDTH + GAP) + GAP,
        height=22 + len(shown) * (CELL_HEIGHT + GAP) + GAP,
        left=left,
        layers=marks,
        numbers=layers,
        rows=rows,
        said=_say(labels, outside, layers, rows),
        states=[(state, word) for state, word in _WORDS.items() if state in used],
        left_out=left_out,
    )


def _collect(
    pairs: Iterable[TensorPair], peft_type: str
) -> Mapping[tuple[str, int | None], _Module]:
    found: dict[tuple[str, int | None], _Module] = {}
    for pair in pairs:
        key = parse_key(pair.name, peft_type)
        module = key.module or pair.name
        match = _LAYER.match(module)
        label, layer = (match[3], int(match[2])) if match else (module, None)
        if layer is not None and layer > 100_000:
            label, layer = module, None
        label = _NUMBER.sub("*", label)
        entry = found.setdefault((label, layer), _Module(set(), set(), set(), []))
        entry.dtypes.add(pair.dtype)
        entry.states.add(pair.differs)
        entry.shapes.append(f"{key.part.value} {_written(pair.shape)}")
        rank = _rank(key.part, pair.shape)
        if rank is not None:
            entry.ranks.add(rank)
    return found


def _rank(part: Part, shape: Shape) -> int | None:
    if part in (Part.LORA_A, Part.LORA_EMBEDDING_A) and shape:
        return shape[0]
    return None


def _cell(
    module: _Module | None, label: str, layer: int | None, left: int, column: int, y: int
) -> Cell:
    x = left + column * (CELL_WIDTH + GAP)
    where = label if layer is None else f"layer {layer}, {label}"
    if module is None:
        return Cell("gap", "", x, y, f"{where}: {_WORDS['gap']}")
    state = "differs" if True in module.states else "unknown" if None in module.states else "match"
    text = "/".join(map(str, sorted(module.ranks))) or "/".join(sorted(module.dtypes))
    shapes = ", ".join(module.shapes[:4]) + (", …" if len(module.shapes) > 4 else "")
    title = f"{where}: {shapes} {'/'.join(sorted(module.dtypes))}; {_WORDS[state]}"
    return Cell(state, text, x, y, title)


def _say(
    labels: Sequence[str], outside: Sequence[str], layers: Sequence[int], rows: Sequence[Row]
) -> str:
    count = {
        state: sum(cell.state == state for row in rows for cell in row.cells) for state in _WORDS
    }
    parts = []
    if labels:
        parts.append(f"{len(labels)} modules in layers {layers[0]} to {layers[-1]}")
    if outside:
        parts.append(f"{len(outside)} outside the layers")
    told = [f"{number} {_WORDS[state]}" for state, number in count.items() if number]
    return f"{' and '.join(parts)}: {', '.join(told)}."


def _written(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "scalar"
