"""What a rehearsal makes of a record: the real PEFT's word on the plan, and where we disagreed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from registry.domain.issues import Issue, Severity, make_issue, sorted_issues
from registry.domain.naive_load import NaiveLoad
from registry.domain.record import Evidence, Record, Status, decide_status
from registry.domain.steps import LoadAdapter, Plan
from registry.domain.tensors import Layout

RunOutcome = Literal["landed", "faults", "raises", "unknown"]

_MAX_ERROR = 1_500
_NAMED = 3
# What PEFT and torch say, and which reason of ours it is. The first that fits decides.
_ERRORS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"size mismatch for "), "shape-mismatch"),
    (
        re.compile(r"NoMatchingPeftModule|Target modules? .*not found|No modules were targeted"),
        "targets-not-found",
    ),
    (re.compile(r"KeyError: .*modules_to_save"), "modules-to-save-missing"),
)
# Reasons that names and shapes show; the others (ids without a row, files) no rehearsal sees.
_IN_SHAPES = frozenset(
    {
        *("vocabulary-conflict", "shape-mismatch", "rank-mismatch", "empty-tensors"),
        *("tensors-missing", "tensors-unexpected", "modules-to-save-missing", "targets-not-found"),
        *("layers-outside-base", "dora-flag-missing", "key-names-nonstandard"),
    }
)


class Run(Protocol):
    """One load by the real PEFT on a base without weights."""

    @property
    def outcome(self) -> RunOutcome: ...
    @property
    def missing(self) -> tuple[str, ...]: ...
    @property
    def unexpected(self) -> tuple[str, ...]: ...
    @property
    def overwritten(self) -> tuple[str, ...]: ...
    @property
    def error(self) -> str | None: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def resize_left(self) -> str | None: ...


class Rehearsal(Protocol):
    """Both loads of one pair: as a user would, and along the plan."""

    @property
    def naive(self) -> Run: ...
    @property
    def along_plan(self) -> Run | None: ...
    @property
    def tree(self) -> Layout | None: ...
    @property
    def failure(self) -> str | None: ...


@dataclass(frozen=True)
class Disagreement:
    """The static plan and the rehearsal say different things: a fault of one, or a new code."""

    adapter: str
    base: str
    static: str
    rehearsed: str


def record_rehearsal(record: Record, rehearsal: Rehearsal) -> Record:
    """The record with the rehearsal's word. What the rehearsal could not judge is unsupported,
    never incompatible; a record without a plan only learns what a naive load does, and a rehearsal
    that failed on our side changes nothing.
    """
    if rehearsal.failure is not None:
        return record
    record = replace(record, naive_load=naive_load_of(rehearsal.naive))
    run = rehearsal.along_plan
    if record.plan is None or run is None:
        return record
    found = issues_of(run, record.plan)
    issues = sorted_issues(record.issues + found)
    status = decide_status(issues, evidence=Evidence.REHEARSED)
    landed = status is Status.REHEARSED
    return replace(
        record,
        status=status,
        evidence=Evidence.STATIC if run.outcome == "unknown" else Evidence.REHEARSED,
        plan=record.plan if landed else None,
        issues=issues,
    )


def naive_load_of(run: Run) -> NaiveLoad:
    """What a user would meet who knows of no plan."""
    match run.outcome:
        case "landed":
            return NaiveLoad("loads")
        case "raises":
            return NaiveLoad("raises", _cut(run.error))
        case "faults":
            return NaiveLoad("loads-wrong", _cut("; ".join(_fault_words(run))))
        case _:
            return NaiveLoad("unknown", _cut(run.error))


def issues_of(run: Run, plan: Plan) -> tuple[Issue, ...]:
    """Why a run along the plan did not land; empty when it did."""
    match run.outcome:
        case "landed":
            return ()
        case "raises":
            return (_issue_of_error(run.error or ""),)
        case "unknown":
            message = f"The rehearsal could not judge this pair: {_cut(run.error) or 'no reason'}"
            return (make_issue("peft-type-unsupported", message),)
        case _:
            return _issues_of_faults(run, plan)


def _issues_of_faults(run: Run, plan: Plan) -> tuple[Issue, ...]:
    declared = {
        name for step in plan.steps if isinstance(step, LoadAdapter) for name in step.overwrites
    }
    overwritten = tuple(name for name in run.overwritten if name not in declared)
    issues: list[Issue] = []
    if run.missing:
        message = f"Nothing fills {_names(run.missing)}: PEFT would start them fresh."
        issues.append(make_issue("tensors-missing", message, tensor=run.missing[0]))
    if run.unexpected:
        message = f"Nothing takes {_names(run.unexpected)}: PEFT drops them without a word."
        issues.append(make_issue("tensors-unexpected", message, tensor=run.unexpected[0]))
    if run.resize_left:
        message = f"After the resize {run.resize_left} still has the old vocabulary."
        issues.append(make_issue("resize-incomplete", message))
    if overwritten or not issues:
        named = overwritten or run.overwritten
        message = f"The file overwrites {_names(named)} of the base, which no plan declares."
        issues.append(make_issue("tensors-unexpected", message, tensor=next(iter(named), None)))
    return tuple(issues)


def _issue_of_error(error: str) -> Issue:
    code = next((code for pattern, code in _ERRORS if pattern.search(error)), None)
    if code is None:
        # An error that we do not know says that this cannot be loaded here, not why: unsupported.
        return make_issue("peft-type-unsupported", f"The real PEFT raised: {_cut(error)}")
    return make_issue(code, f"The real PEFT raised along the plan: {_cut(error)}")


def find_disagreement(
    record: Record, rehearsal: Rehearsal, *, spoken_for: float | None = None
) -> Disagreement | None:
    """Compare what the static rules alone said (`record`) with what the rehearsal found.

    They can only differ where both spoke. The rules say nothing of tensors whose modules they
    cannot make out: `spoken_for` is the share of the others, and where it is not known a forecast
    of the naive load stands for all. The rehearsal says nothing of reasons that are in no name and
    no shape.
    """
    run = rehearsal.along_plan if record.plan is not None else rehearsal.naive
    if rehearsal.failure is not None or run is None or run.outcome == "unknown":
        return None
    errors = {issue.code for issue in record.issues if issue.severity is Severity.ERROR}
    if record.plan is None and not errors & _IN_SHAPES:
        return None
    static = "a plan" if record.plan is not None else str(record.status)
    agrees = (run.outcome == "landed") == (record.plan is not None)
    naive = record.naive_load
    forecast = naive.outcome if naive is not None else "unknown"
    seen = naive_load_of(rehearsal.naive).outcome
    all_spoken = forecast != "unknown" and spoken_for in (None, 1.0)
    spoke = record.plan is None or all_spoken
    if (agrees or not spoke) and (forecast == seen or "unknown" in (forecast, seen)):
        return None
    words = run.error or "; ".join(_fault_words(run)) or run.outcome
    base = record.base.repo_id if record.base else ""
    return Disagreement(
        adapter=str(record.adapter.repo_id),
        base=str(base),
        static=f"{static}, naive load {forecast}",
        rehearsed=f"{_cut(words)}, naive load {seen}",
    )


def _fault_words(run: Run) -> list[str]:
    sets = (
        ("missing", run.missing),
        ("unexpected", run.unexpected),
        ("overwritten", run.overwritten),
    )
    return [f"{len(names)} {kind}: {_names(names)}" for kind, names in sets if names]


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_NAMED])
    more = len(names) - _NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= _MAX_ERROR:
        return text
    return text[:_MAX_ERROR] + "…"
