"""A plan as the steps that this package carries out, each at most once and in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from registry.domain.steps import (
    FillRows,
    LoadAdapter,
    LoadBase,
    LoadTokenizer,
    Plan,
    RenameKeys,
    ResizeEmbeddings,
)
from registry.errors import InvalidRequest

_ORDER = (LoadBase, LoadTokenizer, ResizeEmbeddings, FillRows, RenameKeys, LoadAdapter)
_REPEATABLE = _ORDER.index(FillRows)
_StepType = TypeVar("_StepType")


@dataclass(frozen=True)
class Steps:
    base: LoadBase
    tokenizer: LoadTokenizer | None
    resize: ResizeEmbeddings | None
    fills: tuple[FillRows, ...]
    rename: RenameKeys | None
    adapter: LoadAdapter


def steps_of(plan: Plan) -> Steps:
    """Raises InvalidRequest when the plan lacks a step, repeats one or has another order."""
    places = [_ORDER.index(type(step)) for step in plan.steps]
    repeated = {place for place in places if places.count(place) > 1} - {_REPEATABLE}
    if places != sorted(places) or repeated:
        raise InvalidRequest("The plan's steps are repeated or out of order.")
    base, adapter = _first(plan, LoadBase), _first(plan, LoadAdapter)
    if base is None or adapter is None:
        raise InvalidRequest("The plan has no load_base or no load_adapter step.")
    return Steps(
        base=base,
        tokenizer=_first(plan, LoadTokenizer),
        resize=_first(plan, ResizeEmbeddings),
        fills=tuple(step for step in plan.steps if isinstance(step, FillRows)),
        rename=_first(plan, RenameKeys),
        adapter=adapter,
    )


def _first(plan: Plan, kind: type[_StepType]) -> _StepType | None:
    return next((step for step in plan.steps if isinstance(step, kind)), None)
