"""What a proof makes of a record, and putting it there: wherever the pair was found, once.

A passed proof of exactly the record's plan, on a device that the operator accepts, is the one thing
that makes a record compatible. A failure of ours is listed and changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from registry.db import proofs, records
from registry.db.proofs import Pair
from registry.domain.issues import CATALOGUE, Issue, Severity, make_issue, sorted_issues
from registry.domain.record import Evidence, Proof, Record, Status, decide_status
from registry.domain.refs import CheckpointRef, Digest

# What a gate that failed says of the adapter.
_GATE_CODES: Mapping[str, str] = {
    "landed": "tensors-missing",
    "nothing_else": "tensors-missing",
    "finite": "weights-not-finite",
    "effect": "no-effect",
    "forward": "weights-not-finite",
}


def record_proof(record: Record, proof: Proof, *, accepted: Collection[str]) -> Record:
    """The record with one more proof of its plan, the newest first.

    `accepted` are the devices whose passed proof makes a record compatible. A failed gate makes it
    incompatible whatever ran it. A proof of a retired environment is listed and changes nothing.
    """
    proven = replace(record, proofs=(proof, *record.proofs))
    if record.plan is None or proof.is_retired:
        return proven
    issues = sorted_issues((*_without_proof_notes(record), *_notes(proof)))
    if proof.outcome == "error":
        return replace(proven, issues=issues)
    if proof.outcome == "failed":
        issues = sorted_issues((*issues, *_failed_gates(proof)))
        status = decide_status(issues, evidence=Evidence.PROVEN)
        return replace(proven, issues=issues, status=status, evidence=Evidence.PROVEN, plan=None)
    if proof.device.partition(" ")[0] not in accepted:
        return replace(proven, issues=issues)
    status = decide_status(issues, evidence=Evidence.PROVEN)
    return replace(proven, issues=issues, status=status, evidence=Evidence.PROVEN)


def save_proven(
    session: Session,
    record: Record,
    proof: Proof,
    *,
    accepted: Collection[str],
    recorded_at: datetime,
) -> bool:
    """Append a proof of `record`'s plan and say so at every place of its pair.

    False where a proof of this id is there: a job that runs twice counts once.
    """
    adapter, base, plan = record.adapter, record.base, record.plan
    assert adapter.digest is not None
    assert base is not None
    assert base.digest is not None
    assert plan is not None
    made = proofs.save_proof(session, proof, adapter=adapter, base=base, plan_digest=plan.digest)
    if not made:
        return False
    (proof,) = with_retirement(session.connection(), [proof])
    found = records.pair_records(
        session.connection(), adapter.digest, adapter.subfolder, base.digest
    )
    for stored in found:
        there = stored.record
        # A record of another plan is proven by none of this one's runs.
        if there.plan is None or there.plan.digest != plan.digest:
            continue
        here = _at(there, proof, adapter, base)
        proven = record_proof(there, here, accepted=accepted)
        records.save_record(session, proven, scanned_at=recorded_at)
    return True


def retire_environment(
    session: Session, digest: str, *, retired_at: datetime, reason: str
) -> list[Pair]:
    """Proofs of these versions hold no longer: records that stand on them become stale. Gives the
    pairs, which are to be proven again."""
    lost = proofs.retire_environment(session, digest, retired_at=retired_at, reason=reason)
    for pair in lost:
        for stored in _records_of(session, pair):
            if stored.record.status is Status.COMPATIBLE:
                # The evidence is kept: its proofs say since when they count no longer.
                listed = with_retirement(session.connection(), stored.record.proofs)
                stale = replace(stored.record, status=Status.STALE, proofs=listed)
                records.save_record(session, stale, scanned_at=retired_at)
    return lost


def with_retirement(connection: Connection, told: Iterable[Proof]) -> tuple[Proof, ...]:
    """The proofs, each of which says so where its environment was retired."""
    retired = proofs.load_retired(connection)
    return tuple(
        replace(proof, environment={**proof.environment, **note})
        if (note := retired.get(proofs.environment_digest(proof.environment)))
        else proof
        for proof in told
    )


def _records_of(session: Session, pair: Pair) -> list[records.StoredRecord]:
    return list(
        records.pair_records(
            session.connection(),
            Digest(pair.adapter_digest),
            pair.subfolder,
            Digest(pair.base_digest),
        )
    )


def _at(there: Record, proof: Proof, adapter: CheckpointRef, base: CheckpointRef) -> Proof:
    """The proof as it stands beside equal content elsewhere: it says where it was run."""
    run = [(ref.repo_id, ref.commit_sha) for ref in (adapter, base)]
    places = [there.adapter, there.base or base]
    if [(ref.repo_id, ref.commit_sha) for ref in places] == run:
        return proof
    where: Mapping[str, Any] = {
        whose: {"repo_id": ref.repo_id, "commit_sha": ref.commit_sha}
        for whose, ref in (("adapter", adapter), ("base", base))
    }
    return replace(proof, inherited_from=where)


def _failed_gates(proof: Proof) -> list[Issue]:
    issues = []
    for gate, code in _GATE_CODES.items():
        check = proof.checks.get(gate)
        if isinstance(check, Mapping) and check.get("outcome") == "failed":
            reason = check.get("reason") or "no reason was given"
            issues.append(make_issue(code, f"The proof's gate {gate} failed: {reason}"))
    # A failed proof without a failed gate would leave the record without a reason.
    return issues or [make_issue("tensors-missing", "The proof failed.")]


def _notes(proof: Proof) -> list[Issue]:
    """Warnings of the run, and what kept it from a verdict. Unknown codes are left out."""
    noted = proof.checks.get("notes")
    given = [*noted] if isinstance(noted, list | tuple) else []
    error = proof.checks.get("error")
    if proof.outcome == "error" and isinstance(error, Mapping):
        given.append(error)
    issues = []
    for note in given:
        if not isinstance(note, Mapping):
            continue
        kind = CATALOGUE.get(str(note.get("code")))
        if kind is not None and kind.severity is not Severity.ERROR:
            issues.append(make_issue(kind.code, str(note.get("message"))))
    return issues


_PROOF_NOTES = frozenset({"proof-out-of-memory", "proof-timeout", "sandbox-missing"})


def _without_proof_notes(record: Record) -> list[Issue]:
    """What an earlier run could not do is no word on this one."""
    return [issue for issue in record.issues if issue.code not in _PROOF_NOTES]
