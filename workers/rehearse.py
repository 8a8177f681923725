"""Rehearse a pair: the plan run by the real PEFT on a base without weights, in a warm child."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from registry.domain.adapter_config import AdapterConfig
from registry.domain.base_model import BaseConfig
from registry.domain.classes import choose_auto_class
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.keys import parse_key
from registry.domain.steps import LoadBase, Plan
from registry.domain.tensors import Layout, TensorSpec
from registry.errors import ChildFailed, InvalidRequest
from registry.sandbox import Isolation, Limits, Usage, WarmChild

_MODULE = "workers.child.rehearse"
# A 70B shape takes two seconds; a hostile config could take any time.
_SECONDS = 60.0
# Imports alone take a third of a gigabyte, with a CUDA build of torch several times that.
_MEMORY_BYTES = 6 << 30
_OUTPUT_BYTES = 64 << 20
_MOST_TENSORS = 200_000
RunOutcome = Literal["landed", "faults", "raises", "unknown"]


@dataclass(frozen=True)
class RehearsalRun:
    """One load without weights.

    `landed`: every tensor found its place and nothing else was touched, but for what the plan or
    the config's `bias` declares. `faults`: PEFT raised nothing, and one of the sets says
    otherwise, or the resize is incomplete. `raises`: PEFT raised `error`. `unknown`: the base
    cannot be built, or the load needs values that a rehearsal does not have.

    The sets are those of domain rule 2, harmless members left out, declared ones kept: adapter
    tensors of the model that nothing was loaded into; file tensors without a place; base
    parameters (by their names in the plain base) that the file replaced. `resize_left` says what
    still has the old vocabulary dimension after the resize.
    """

    outcome: RunOutcome
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()
    error: str | None = None
    warnings: tuple[str, ...] = ()
    resize_left: str | None = None


@dataclass(frozen=True)
class Rehearsal:
    """`naive` is `PeftModel.from_pretrained` alone on the plain base; `along_plan` the plan, None
    when there is none. `tree` is the plain base's state as `auto_class` builds it, None when it
    cannot be built. `failure` is set when the child gave no answer: our failure, and both runs
    are unknown.
    """

    naive: RehearsalRun
    along_plan: RehearsalRun | None
    tree: Layout | None
    auto_class: str
    versions: Mapping[str, str]
    failure: str | None = None


class Rehearser:
    """Owns the warm child. Threads may share one; their rehearsals take turns.

    A child that hangs, grows or dies costs one answer; the next question gets a new child.
    """

    def __init__(
        self,
        isolation: Isolation,
        *,
        seconds: float = _SECONDS,
        memory_bytes: int = _MEMORY_BYTES,
    ) -> None:
        limits = Limits(seconds, memory_bytes, output_bytes=_OUTPUT_BYTES)
        self._child = WarmChild(_MODULE, limits, isolation=isolation)

    def start(self) -> None:
        """Import everything now, so that the first rehearsal need not wait for it."""
        self._child.start()

    def rehearse(self, adapter: AdapterFacts, base: BaseFacts, plan: Plan | None) -> Rehearsal:
        """Blocks; call it from a thread when in an event loop.

        Raises InvalidRequest when the facts lack a config or a header: there is nothing to
        rehearse then.
        """
        question = make_question(adapter, base, plan)
        try:
            answer = json.loads(self._child.ask(json.dumps(question).encode()))
        except ChildFailed as error:
            unknown = RehearsalRun("unknown", error=error.message)
            return Rehearsal(
                naive=unknown,
                along_plan=unknown if plan is not None else None,
                tree=None,
                auto_class=str(question["auto_class"]),
                versions={},
                failure=error.message,
            )
        return read_answer(answer, str(question["auto_class"]))

    def usage(self) -> Usage | None:
        """What the child has and had of the machine; None when none is alive."""
        return self._child.usage()

    def close(self) -> None:
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def make_question(adapter: AdapterFacts, base: BaseFacts, plan: Plan | None) -> dict[str, Any]:
    """What the child needs, from recorded facts alone. Raises InvalidRequest."""
    layout = adapter.weights.layout if adapter.weights else None
    if adapter.config is None or layout is None or base.config is None:
        raise InvalidRequest("Only a pair whose configs and header are known can be rehearsed.")
    if len(layout) > _MOST_TENSORS:
        raise InvalidRequest(f"A file of {len(layout)} tensors is not rehearsed.")
    load = next((step for step in plan.steps if isinstance(step, LoadBase)), None) if plan else None
    kwargs = load.kwargs if load else {}
    return {
        "config": dict(adapter.config.raw),
        "tensors": [[spec.name, spec.dtype, list(spec.shape)] for spec in layout],
        "base": dict(base.config.raw),
        "auto_class": load.auto_class if load else _class_for(adapter.config, base.config, layout),
        "dtype": kwargs.get("dtype", base.config.dtype),
        "num_labels": kwargs.get("num_labels"),
        "plan": plan.to_json() if plan else None,
    }


def _class_for(config: AdapterConfig, base: BaseConfig, layout: Layout) -> str:
    """For a pair that has no plan to say it: the class that the planner would choose."""
    modules = [parse_key(spec.name, config.peft_type).module for spec in layout]
    return choose_auto_class(config.task_type, base, modules)


def read_answer(answer: Mapping[str, Any], auto_class: str) -> Rehearsal:
    tree, along = answer["tree"], answer["along_plan"]
    return Rehearsal(
        naive=_read_run(answer["naive"]),
        along_plan=_read_run(along) if along is not None else None,
        tree=None if tree is None else tuple(TensorSpec(n, d, tuple(s)) for n, d, s in tree),
        auto_class=auto_class,
        versions=answer["versions"],
    )


def _read_run(run: Mapping[str, Any]) -> RehearsalRun:
    return RehearsalRun(
        outcome=run["outcome"],
        missing=tuple(run["missing"]),
        unexpected=tuple(run["unexpected"]),
        overwritten=tuple(run["overwritten"]),
        error=run["error"],
        warnings=tuple(run["warnings"]),
        resize_left=run["resize_left"],
    )
