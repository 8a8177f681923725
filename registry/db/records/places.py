"""A record printed for another place where the same content was found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from registry.domain.record import Proof, Record
from registry.domain.refs import CheckpointRef
from registry.domain.steps import LoadAdapter, LoadBase, LoadTokenizer, Step


def at_commits(record: Record, adapter: CheckpointRef, base: CheckpointRef | None) -> Record:
    """The same answer with these references: the plan's steps name their commits, and proofs made
    elsewhere say where. The plan keeps its digest, which says what is loaded, not where from."""
    if (record.adapter, record.base) == (adapter, base):
        return record
    plan = record.plan
    if plan is not None and base is not None:
        plan = replace(plan, steps=tuple(_pinned(step, adapter, base) for step in plan.steps))
    proofs = record.proofs
    if _place(record.adapter, record.base) != _place(adapter, base):
        proofs = tuple(_inherited(proof, record) for proof in proofs)
    return replace(record, adapter=adapter, base=base, plan=plan, proofs=proofs)


def content_of(document: dict[str, Any]) -> dict[str, Any]:
    """A printed record without what says where and under which name of a commit it was found: two
    records are equal content when these are equal."""
    content = dict(document)
    for whose in ("adapter", "base"):
        if content[whose] is not None:
            content[whose] = _without(content[whose], "revision", "commit_sha")
    if content["plan"] is not None:
        steps = [_without(step, "revision") for step in content["plan"]["steps"]]
        content["plan"] = {**content["plan"], "steps": steps}
    content["proofs"] = [_without(proof, "inherited_from") for proof in content["proofs"]]
    return content


def _without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: member for name, member in document.items() if name not in names}


def _pinned(step: Step, adapter: CheckpointRef, base: CheckpointRef) -> Step:
    match step:
        case LoadBase():
            whose = base
        case LoadAdapter():
            whose = adapter
        case LoadTokenizer():
            whose = adapter if step.of == "adapter" else base
        case _:
            return step
    revision = step.revision if whose.commit_sha is None else whose.commit_sha
    return replace(step, repo_id=whose.repo_id, revision=revision)


def _place(adapter: CheckpointRef, base: CheckpointRef | None) -> tuple[object, ...]:
    refs = (adapter,) if base is None else (adapter, base)
    return tuple((ref.source, ref.repo_id, ref.commit_sha) for ref in refs)


def _inherited(proof: Proof, record: Record) -> Proof:
    if proof.inherited_from is not None or record.base is None:
        return proof
    places = {"adapter": record.adapter, "base": record.base}
    return replace(
        proof,
        inherited_from={
            whose: {"repo_id": ref.repo_id, "commit_sha": ref.commit_sha}
            for whose, ref in places.items()
        },
    )
