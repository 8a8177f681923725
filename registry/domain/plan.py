"""The load plan, decided: `compute_plan` turns recorded facts into steps, issues and a forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

from registry.domain.adapter_config import AdapterConfig
from registry.domain.advice import advise
from registry.domain.assembly import Assembly, assemble, describe_pair
from registry.domain.base_model import BaseConfig
from registry.domain.expected import Expected
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.findings import Findings
from registry.domain.forecast import ModelNames, forecast_load
from registry.domain.issues import Issue, Severity, make_issue, sorted_issues
from registry.domain.labels import DEFAULT_LABELS
from registry.domain.landing import land_tensors
from registry.domain.naive_load import NaiveLoad
from registry.domain.notes import note_adapter, note_base, note_pair
from registry.domain.rows import RowDecision, decide_rows
from registry.domain.saved import note_dropped
from registry.domain.sizes import Sizes, measure_sizes
from registry.domain.steps import (
    LoadAdapter,
    LoadBase,
    LoadTokenizer,
    Plan,
    RenameKeys,
    ResizeEmbeddings,
    Step,
    compute_plan_digest,
)
from registry.domain.tensors import Layout

# Raised whenever the same facts may lead to another plan or other issues.
PLANNER_VERSION = 1


@dataclass(frozen=True)
class Planned:
    """The answer of `compute_plan`.

    `plan` is None when an issue of severity error applies. `spoken_for` is the share of the file's
    tensors about which the static rules could say something (0 to 1). `described` is what only
    both together tell, for the record's facts; None where one of them could not be read.
    """

    plan: Plan | None
    issues: tuple[Issue, ...]
    naive_load: NaiveLoad
    spoken_for: float
    described: Mapping[str, object] | None = None


def compute_plan(
    adapter: AdapterFacts, base: BaseFacts, matched: frozenset[str] | None = None
) -> Planned:
    """Decide the plan. Pure: equal facts give an equal answer in an equal order.

    `matched` is the set of module paths that the config's pattern strings match (found out in a
    child process with a time limit); None when the config has no pattern string or it is unknown.
    Nothing is raised: what keeps an adapter from being planned is an issue of severity error.
    """
    issues = [*adapter.problems, *base.problems]
    layout = adapter.weights.layout if adapter.weights is not None else None
    if adapter.config is not None:
        issues += note_adapter(adapter, adapter.config)
        if base.config is not None:
            issues += note_base(base, adapter.config, base.config)
    if adapter.config is None or layout is None or base.config is None:
        issues += _unread(adapter, base, issues)
        return Planned(None, sorted_issues(issues), NaiveLoad("unknown"), 0.0)
    layout = tuple(sorted(layout, key=attrgetter("name")))
    return _plan_read_pair(adapter, base, adapter.config, base.config, layout, matched, issues)


def _unread(adapter: AdapterFacts, base: BaseFacts, issues: list[Issue]) -> list[Issue]:
    """Without these facts there is no plan; the reader says why, and if it did not, we do."""
    if any(issue.severity is Severity.ERROR for issue in issues):
        return []
    if adapter.config is None:
        return [make_issue("config-invalid", "The adapter's config could not be read.")]
    if adapter.weights is None:
        return [make_issue("weights-missing", "No adapter weights could be read.")]
    if adapter.weights.layout is None:
        return [make_issue("header-invalid", "The header of the weights could not be read.")]
    return [make_issue("base-architecture-unknown", "The base has no config that could be read.")]


def _plan_read_pair(
    adapter: AdapterFacts,
    base: BaseFacts,
    config: AdapterConfig,
    base_config: BaseConfig,
    layout: Layout,
    matched: frozenset[str] | None,
    issues: list[Issue],
) -> Planned:
    findings = Findings()
    assembly = assemble(adapter, base, config, base_config, layout, matched, findings)
    rows = decide_rows(
        assembly.input_side, assembly.output_side, assembly.tokens, base_config.model_type
    )
    labels = base_config.num_labels
    expected = Expected(
        assembly.pair.base,
        rows.rows,
        assembly.labels,
        DEFAULT_LABELS if labels is None else labels,
    )
    if not any(issue.code == "vocabulary-conflict" for issue in rows.issues):
        land_tensors(assembly.pair, expected, findings)
    note_dropped(assembly.pair, expected, assembly.naming.originals, findings)
    _check_labels(assembly, findings)
    _note_overwrites(assembly, findings)
    issues = [*issues, *rows.issues, *findings.issues(), *note_pair(adapter, base, assembly)]
    base_bytes = base.weights.size_bytes if base.weights is not None else None
    sizes = measure_sizes(assembly.pair, rows.rows, assembly.dtype, base_bytes)
    issues += _advise(assembly, sizes, rows)
    naive = _forecast(assembly, rows, findings)
    spoken_for = 1.0 - len(findings.unspoken) / len(layout) if layout else 1.0
    found = sorted_issues(issues)
    plan = None
    if not any(issue.severity is Severity.ERROR for issue in found):
        plan = _compose(adapter, base, assembly, rows, findings)
    return Planned(plan, found, naive, spoken_for, describe_pair(assembly, sizes))


def _check_labels(assembly: Assembly, findings: Findings) -> None:
    """The classifier's rows say num_labels, unless the base comes with a classifier of its own."""
    labels = assembly.labels
    if labels is None:
        return
    spec = assembly.pair.base.tree.parameters.get(f"{labels.module}.weight")
    own = None if spec is None or assembly.pair.base.tree.exact else spec.shape
    if own is not None and own != labels.shape:
        findings.add(
            "shape-mismatch",
            labels.tensor,
            f"has {labels.labels} labels; the base comes with a classifier of {own[0]}.",
            labels.shape,
            own,
        )
        return
    findings.add(
        "labels-from-file",
        labels.tensor,
        f"has {labels.labels} rows: the base is loaded with num_labels={labels.labels}.",
        labels.shape,
    )


def _note_overwrites(assembly: Assembly, findings: Findings) -> None:
    declared = assembly.pair.config.bias != "none"
    for parameter in sorted(findings.overwritten):
        findings.add("base-overwritten", parameter, "of the base is replaced by the file's tensor.")
        if not (declared and parameter.endswith(".bias")):
            findings.silent(parameter)


def _advise(assembly: Assembly, sizes: Sizes, rows: RowDecision) -> list[Issue]:
    own = assembly.input_side.base_rows or assembly.output_side.base_rows
    new_rows = rows.rows - own if rows.rows is not None and own is not None else 0
    return advise(sizes, new_rows)


def _forecast(assembly: Assembly, rows: RowDecision, findings: Findings) -> NaiveLoad:
    pair = assembly.pair
    trained = assembly.tokens.trained_ids
    own = assembly.input_side.base_rows
    index = (trained[-1], own) if trained and own is not None and trained[-1] >= own else None
    if any(issue.code == "vocabulary-conflict" for issue in rows.issues):
        _note_row_mismatches(assembly, findings)
    wrong = any(issue.code == "new-rows-untrained" for issue in rows.issues)
    names = ModelNames(pair.config.task_type, pair.base.input_embedding, pair.base.output_head)
    return forecast_load(findings, names, index=index, wrong=wrong)


def _note_row_mismatches(assembly: Assembly, findings: Findings) -> None:
    """With contradicting rows nothing is landed; what a plain load would say is still known."""
    expected = Expected(assembly.pair.base, None, None, DEFAULT_LABELS)
    land_tensors(assembly.pair, expected, Findings(faults=findings.faults))


def _compose(
    adapter: AdapterFacts,
    base: BaseFacts,
    assembly: Assembly,
    rows: RowDecision,
    findings: Findings,
) -> Plan:
    """The steps in the contract's order; a step that is not needed is left out."""
    kwargs: dict[str, str | int] = {"dtype": assembly.dtype}
    if assembly.labels is not None:
        kwargs["num_labels"] = assembly.labels.labels
    base_sha, adapter_sha = str(base.ref.commit_sha), str(adapter.ref.commit_sha)
    steps: list[Step] = [LoadBase(assembly.auto_class, base.ref.repo_id, base_sha, kwargs)]
    own, theirs = adapter.tokenizer, base.tokenizer
    if own is not None and own.length is not None:
        where = adapter.ref.subfolder
        steps.append(LoadTokenizer("adapter", adapter.ref.repo_id, adapter_sha, own.length, where))
    elif own is None and theirs is not None and theirs.length is not None:
        steps.append(LoadTokenizer("base", base.ref.repo_id, base_sha, theirs.length))
    if rows.rows is not None:
        steps.append(ResizeEmbeddings(rows.rows))
    steps += rows.fills
    if assembly.naming.renames or assembly.naming.dropped:
        renames = dict(sorted(assembly.naming.renames.items()))
        steps.append(RenameKeys(renames, assembly.naming.dropped))
    steps.append(
        LoadAdapter(
            adapter.ref.repo_id,
            adapter_sha,
            adapter.ref.subfolder,
            overwrites=tuple(sorted(findings.overwritten)),
        )
    )
    digest = compute_plan_digest(adapter.ref.digest, base.ref.digest, tuple(steps))
    return Plan(digest, tuple(steps))
