"""The load plan, decided: `compute_plan` turns recorded facts into steps, issues and a forecast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.issues import Issue
from registry.domain.steps import (
    SCHEMA_VERSION,
    FillRows,
    Json,
    LoadAdapter,
    LoadBase,
    LoadTokenizer,
    Plan,
    RenameKeys,
    ResizeEmbeddings,
    Side,
    Step,
    compute_plan_digest,
    plan_from_json,
)

__all__ = [
    "PLANNER_VERSION",
    "SCHEMA_VERSION",
    "FillRows",
    "Json",
    "LoadAdapter",
    "LoadBase",
    "LoadTokenizer",
    "NaiveLoad",
    "Plan",
    "Planned",
    "RenameKeys",
    "ResizeEmbeddings",
    "Side",
    "Step",
    "compute_plan",
    "compute_plan_digest",
    "plan_from_json",
]

# Raised whenever the same facts may lead to another plan or other issues.
PLANNER_VERSION = 1


@dataclass(frozen=True)
class NaiveLoad:
    """What `PeftModel.from_pretrained` alone would do."""

    outcome: Literal["loads", "raises", "loads-wrong", "unknown"]
    error: str | None = None


@dataclass(frozen=True)
class Planned:
    """The answer of `compute_plan`.

    `plan` is None when an issue of severity error applies. `spoken_for` is the share of the file's
    tensors about which the static rules could say something (0 to 1).
    """

    plan: Plan | None
    issues: tuple[Issue, ...]
    naive_load: NaiveLoad
    spoken_for: float


def compute_plan(
    adapter: AdapterFacts, base: BaseFacts, matched: frozenset[str] | None = None
) -> Planned:
    """Decide the plan. Pure: equal facts give an equal answer in an equal order.

    `matched` is the set of module paths that the config's pattern strings match (found out in a
    child process with a time limit); None when the config has no pattern string or it is unknown.
    """
    return Planned(None, adapter.problems + base.problems, NaiveLoad("unknown"), 0.0)
