"""From facts to the record of a pair."""

from __future__ import annotations

from dataclasses import replace

from registry.domain.alone import judge_adapter
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.issues import Issue, Severity, sorted_issues
from registry.domain.naive_load import NaiveLoad
from registry.domain.plan import compute_plan
from registry.domain.record import (
    Evidence,
    Record,
    RecordFacts,
    Status,
    decide_evidence,
    decide_status,
)
from registry.domain.refs import CheckpointRef, CommitSha, Reference, RepoId, Source, is_commit_sha
from registry.domain.summary import compute_facts
from registry.planning.choosing import DEFAULT_REVISION

# Notes on how a base was chosen: they belong to the request, not to the content of the pair.
_CHOICE_NOTES = frozenset({"base-differs-from-declared", "base-local-path"})
# The share of tensors that the rules must speak for before a base is offered.
_SPOKEN_FOR = 0.5
_PLAN_KEPT = frozenset({Status.PLANNED, Status.REHEARSED, Status.COMPATIBLE, Status.STALE})


def plan_pair(
    adapter: AdapterFacts,
    base: BaseFacts | None,
    issues: tuple[Issue, ...] = (),
    *,
    matched: frozenset[str] | None = None,
    base_ref: CheckpointRef | None = None,
) -> Record:
    """The record that facts alone lead to. `issues` are those of finding the base.

    Without `base` the adapter's own files may still decide; `base_ref` then names what was asked
    for. `matched` is what the config's patterns match in the base (see `compute_plan`).
    """
    if base is None:
        found = sorted_issues(judge_adapter(adapter) + issues)
        plan, naive, described = None, NaiveLoad("unknown"), None
    else:
        planned = compute_plan(adapter, base, matched)
        found = sorted_issues(planned.issues + issues)
        plan, naive, described = planned.plan, planned.naive_load, planned.described
        base_ref = base.ref
    status = decide_status(found)
    return Record(
        adapter=adapter.ref,
        base=base_ref,
        status=status,
        evidence=decide_evidence(status, Evidence.STATIC),
        facts=compute_facts(adapter, base, described),
        plan=plan if status in _PLAN_KEPT else None,
        issues=found,
        naive_load=naive,
    )


def unread_record(reference: Reference, issues: tuple[Issue, ...]) -> Record:
    """The record of an adapter that could not be read at all: blocked, unsupported or failed."""
    status = decide_status(issues, adapter_found=False)
    return Record(
        adapter=unread_ref(reference),
        base=None,
        status=status,
        evidence=decide_evidence(status, Evidence.NONE),
        facts=RecordFacts(),
        plan=None,
        issues=issues,
        naive_load=NaiveLoad("unknown"),
    )


def unread_ref(reference: Reference) -> CheckpointRef:
    """What was asked for, when no commit could be found out."""
    hub = reference.source is Source.HUB
    revision = (reference.revision or DEFAULT_REVISION) if hub else None
    commit = CommitSha(revision) if revision and is_commit_sha(revision) else None
    return CheckpointRef(
        reference.source, RepoId(reference.repo_id), revision, commit, None, reference.subfolder
    )


def with_choice_notes(record: Record, notes: tuple[Issue, ...]) -> Record:
    """A recorded answer with the notes of how its base was chosen this time."""
    earlier = choice_notes(record)
    kept = tuple(issue for issue in record.issues if issue not in earlier)
    return replace(record, issues=sorted_issues(kept + notes))


def choice_notes(record: Record) -> tuple[Issue, ...]:
    """What the record says of how its base was chosen."""
    return tuple(
        issue
        for issue in record.issues
        if issue.severity is Severity.INFO and issue.code in _CHOICE_NOTES
    )


def shapes_fit(adapter: AdapterFacts, base: BaseFacts) -> bool:
    """True when a plan exists and the rules could speak for most of the file: a base to offer."""
    planned = compute_plan(adapter, base)
    return planned.plan is not None and planned.spoken_for > _SPOKEN_FOR
