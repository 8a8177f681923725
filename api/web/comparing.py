"""Two records side by side: what differs in verdict, plan, config, tokenizer and tensors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from api.web.steps import show_steps
from api.web.tensors import mark_dims
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.record import Record, RecordFacts
from registry.domain.tensors import Layout, TensorSpec
from registry.domain.tokenizer import TokenizerFacts
from registry.planning import compare_tensors

_MOST_ROWS: Final = 300
_LONGEST: Final = 300
# Facts that stand in lines of their own elsewhere on the page.
_TOLD_ELSEWHERE: Final = frozenset({"dtypes", "ranks", "other_adapters"})


@dataclass(frozen=True)
class Side:
    """One of the two."""

    record: Record
    adapter: AdapterFacts | None
    base: BaseFacts | None


@dataclass(frozen=True)
class Line:
    """One thing that differs; None: the side has it not."""

    name: str
    left: str | None
    right: str | None


def compare_sides(left: Side, right: Side) -> dict[str, Any]:
    """The lines of each table; empty ones are said to be equal."""
    tensors = list(_tensors(left, right))
    return {
        "verdict": _verdict(left.record, right.record),
        "plan": _plan(left.record, right.record),
        "issues": _issues(left.record, right.record),
        "config": _lines(_config(left.adapter), _config(right.adapter)),
        "base_config": _lines(_config(left.base), _config(right.base)),
        "tokenizer": _tokenizers(
            left.adapter.tokenizer if left.adapter else None,
            right.adapter.tokenizer if right.adapter else None,
        ),
        "base_tokenizer": _tokenizers(
            left.base.tokenizer if left.base else None,
            right.base.tokenizer if right.base else None,
        ),
        "tensors": tensors[:_MOST_ROWS],
        "tensors_left_out": max(0, len(tensors) - _MOST_ROWS),
        "same_content": left.record.adapter.digest == right.record.adapter.digest is not None,
    }


def compare_bases(left: BaseFacts | None, right: BaseFacts | None) -> list[Line]:
    """What changed in a base when it moved, in few lines."""
    lines = _lines(_config(left), _config(right))
    lines += _tokenizers(left.tokenizer if left else None, right.tokenizer if right else None)
    before, after = _layout(left), _layout(right)
    gone, new = before.keys() - after.keys(), after.keys() - before.keys()
    changed = [name for name in before.keys() & after.keys() if before[name] != after[name]]
    for name, count in (("removed", gone), ("added", new), ("of other shape or dtype", changed)):
        if count:
            first = ", ".join(sorted(count)[:3])
            lines.append(Line(f"tensors {name}", f"{len(count):,}", first))
    if left is not None and right is not None and left.weights and right.weights and not lines:
        same = left.weights.files == right.weights.files
        lines.append(Line("weights", "the same" if same else "other values in the same shapes", ""))
    return lines


def _verdict(left: Record, right: Record) -> list[Line]:
    told = [Line("status", left.status.value, right.status.value)]
    told.append(Line("evidence", left.evidence.value, right.evidence.value))
    for entry in fields(RecordFacts):
        if entry.name not in _TOLD_ELSEWHERE:
            values = [_written(getattr(record.facts, entry.name)) for record in (left, right)]
            told.append(Line(entry.name.replace("_", " "), *values))
    naive = [record.naive_load.outcome if record.naive_load else "—" for record in (left, right)]
    told.append(Line("without the plan", *naive))
    return [line for line in told if line.left != line.right]


def _plan(left: Record, right: Record) -> list[Line]:
    """Steps by their place; what they say is compared, where they fetch from is not."""
    columns = [
        [f"{step.title}. {step.why}" for step in show_steps(record.plan)] if record.plan else []
        for record in (left, right)
    ]
    if columns[0] == columns[1]:
        return []
    longest = max(map(len, columns))
    padded = [[*column, *[None] * (longest - len(column))] for column in columns]
    return [
        Line(f"step {place + 1}", *pair) for place, pair in enumerate(zip(*padded, strict=True))
    ]


def _issues(left: Record, right: Record) -> list[Line]:
    sides = [{(i.code, i.tensor): i.message for i in record.issues} for record in (left, right)]
    return [
        Line(code if tensor is None else f"{code} {tensor}", sides[0].get(key), sides[1].get(key))
        for key in sorted(sides[0].keys() | sides[1].keys(), key=str)
        for code, tensor in [key]
        if sides[0].get(key) != sides[1].get(key)
    ][:_MOST_ROWS]


def _config(facts: AdapterFacts | BaseFacts | None) -> Mapping[str, object]:
    return {} if facts is None or facts.config is None else facts.config.raw


def _lines(left: Mapping[str, object], right: Mapping[str, object]) -> list[Line]:
    return [
        Line(
            name,
            _written(left[name]) if name in left else None,
            _written(right[name]) if name in right else None,
        )
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name) or (name in left) != (name in right)
    ]


def _tokenizers(left: TokenizerFacts | None, right: TokenizerFacts | None) -> list[Line]:
    if left == right:
        return []
    sides = [_tokenizer(facts) for facts in (left, right)]
    return _lines(*sides)


def _tokenizer(facts: TokenizerFacts | None) -> dict[str, object]:
    if facts is None:
        return {"tokenizer": "none of its own"}
    return {
        "length": facts.length,
        "largest id": facts.largest_id,
        "base vocabulary size": facts.base_vocabulary_size,
        "added tokens": [token.content for token in facts.added_tokens[:40]],
        "added tokens, number": len(facts.added_tokens),
        **{name.replace("_", " "): text for name, text in facts.special_tokens.items()},
        "chat template": facts.chat_template,
    }


def _layout(facts: AdapterFacts | BaseFacts | None) -> dict[str, TensorSpec]:
    layout: Layout | None = facts.weights.layout if facts and facts.weights else None
    return {spec.name: spec for spec in layout or ()}


def _tensors(left: Side, right: Side) -> Iterable[dict[str, Any]]:
    """Tensors of the file that differ, or that the two bases ask for in different shapes."""
    before, after = _layout(left.adapter), _layout(right.adapter)
    asked = [
        {pair.name: pair.base_shape for pair in compare_tensors(side.adapter, side.base)}
        if side.adapter
        else {}
        for side in (left, right)
    ]
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        bases = asked[0].get(name), asked[1].get(name)
        if one == other and bases[0] == bases[1]:
            continue
        yield {
            "name": name,
            "left": _marked(one, other),
            "right": _marked(other, one),
            "dtypes": [one.dtype if one else None, other.dtype if other else None],
            "bases": [
                None if mine is None else mark_dims(mine, theirs)
                for mine, theirs in (bases, bases[::-1])
            ],
        }


def _marked(spec: TensorSpec | None, other: TensorSpec | None) -> Any:
    if spec is None:
        return None
    return mark_dims(spec.shape, None if other is None else other.shape)


def _written(value: object) -> str:
    if value is None:
        return "—"
    if isinstance(value, str):
        text = value
    elif isinstance(value, Sequence | Mapping | bool):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = f"{value:,}" if isinstance(value, int) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
