"""The load plan: ordered steps, and `compute_plan`, which decides them from recorded facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.issues import Issue
from registry.domain.refs import Digest

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Side = Literal["input", "output"]

SCHEMA_VERSION = 1
# Raised whenever the same facts may lead to another plan or other issues.
PLANNER_VERSION = 1


@dataclass(frozen=True)
class LoadBase:
    auto_class: str
    repo_id: str
    revision: str
    kwargs: Mapping[str, str | int]


@dataclass(frozen=True)
class LoadTokenizer:
    of: Literal["adapter", "base"]
    repo_id: str
    revision: str
    length: int
    # Where in the repository the tokenizer lies; None for its root.
    subfolder: str | None = None


@dataclass(frozen=True)
class ResizeEmbeddings:
    rows: int


@dataclass(frozen=True)
class FillRows:
    side: Side
    first: int
    end: int


@dataclass(frozen=True)
class RenameKeys:
    renames: Mapping[str, str]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class LoadAdapter:
    """`overwrites` declares the base parameters that the file replaces, by their names in the
    plain base (`model.embed_tokens.weight`, `…q_proj.bias`), sorted: biases that the config trains,
    embeddings saved without being in modules_to_save. The loader refuses any other (rule 2).
    Printed as a member `overwrites` only when there are some.
    """

    repo_id: str
    revision: str
    subfolder: str | None
    kwargs: Mapping[str, str | int | bool] = field(default_factory=dict)
    overwrites: tuple[str, ...] = ()


Step = LoadBase | LoadTokenizer | ResizeEmbeddings | FillRows | RenameKeys | LoadAdapter


@dataclass(frozen=True)
class Plan:
    """Steps in the contract's order. `digest` says what is loaded, not where from."""

    digest: Digest
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Json]: ...


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


def plan_from_json(document: Mapping[str, object]) -> Plan:
    """The inverse of `Plan.to_json`. Raises InvalidRequest."""
