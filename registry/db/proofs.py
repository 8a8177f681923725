"""Proofs: append-only, by what was run; environments, which hold until they are retired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from registry.db.base import write_document
from registry.db.documents import to_document
from registry.db.models import EnvironmentRow, ProofRow
from registry.db.upsert import insert
from registry.domain.canonical import sha256_digest
from registry.domain.record import RETIRED_AT, Proof
from registry.domain.refs import CheckpointRef, CommitSha, Digest


@dataclass(frozen=True)
class Environment:
    """Versions that proofs hold for. A retired environment's proofs no longer count."""

    digest: str
    versions: Mapping[str, Any]
    first_seen_at: datetime
    retired_at: datetime | None
    retired_reason: str | None


@dataclass(frozen=True)
class Pair:
    """What a record, a plan and a proof are keyed by."""

    adapter_digest: Digest
    subfolder: str | None
    base_digest: Digest


def environment_digest(environment: Mapping[str, Any]) -> str:
    return sha256_digest(write_document(dict(environment)).encode("ascii"))


def save_proof(
    session: Session,
    proof: Proof,
    *,
    adapter: CheckpointRef,
    base: CheckpointRef,
    plan_digest: Digest,
) -> bool:
    """Append a proof run at these commits; False where its id is there already, so that a job that
    runs twice counts once."""
    assert adapter.digest is not None
    assert base.digest is not None
    connection = session.connection()
    finished_at = datetime.fromisoformat(proof.finished_at)
    environment = environment_digest(proof.environment)
    connection.execute(
        insert(connection, EnvironmentRow).on_conflict_do_nothing(),
        {
            "digest": environment,
            "document": dict(proof.environment),
            "first_seen_at": finished_at,
        },
    )
    places = {"adapter": adapter, "base": base}
    made = connection.execute(
        insert(connection, ProofRow).on_conflict_do_nothing().returning(ProofRow.id),
        {
            "id": proof.id,
            "adapter_digest": adapter.digest,
            "subfolder": adapter.subfolder or "",
            "base_digest": base.digest,
            "plan_digest": plan_digest,
            "environment_digest": environment,
            "device": proof.device,
            "outcome": proof.outcome,
            "found_at": {
                whose: {"repo_id": ref.repo_id, "commit_sha": ref.commit_sha}
                for whose, ref in places.items()
            },
            "document": to_document(proof),
            "finished_at": finished_at,
        },
    )
    return made.first() is not None


def load_proofs(
    connection: sa.Connection,
    pair: Pair,
    *,
    adapter_commit: CommitSha | None = None,
    base_commit: CommitSha | None = None,
) -> list[Proof]:
    """Proofs of a pair, newest first. Those run at other commits than the ones given say at which
    in `inherited_from`."""
    rows = connection.execute(
        sa.select(ProofRow.document, ProofRow.found_at)
        .where(
            ProofRow.adapter_digest == pair.adapter_digest,
            ProofRow.subfolder == (pair.subfolder or ""),
            ProofRow.base_digest == pair.base_digest,
        )
        .order_by(ProofRow.finished_at.desc(), ProofRow.id)
    )
    proofs = []
    for document, found_at in rows:
        proof = Proof(**document)
        here = adapter_commit in (None, found_at["adapter"]["commit_sha"]) and base_commit in (
            None,
            found_at["base"]["commit_sha"],
        )
        proofs.append(proof if here else replace(proof, inherited_from=found_at))
    return proofs


def load_environments(connection: sa.Connection) -> list[Environment]:
    """Every environment that a proof was run in, the newest first."""
    rows = connection.execute(
        sa.select(
            EnvironmentRow.digest,
            EnvironmentRow.document,
            EnvironmentRow.first_seen_at,
            EnvironmentRow.retired_at,
            EnvironmentRow.retired_reason,
        ).order_by(EnvironmentRow.first_seen_at.desc(), EnvironmentRow.digest)
    )
    return [Environment(*row) for row in rows]


def count_passed(connection: sa.Connection) -> dict[str, int]:
    """Passed proofs by the digest of their environment."""
    rows = connection.execute(
        sa.select(ProofRow.environment_digest, sa.func.count())
        .where(ProofRow.outcome == "passed")
        .group_by(ProofRow.environment_digest)
    )
    return {row[0]: row[1] for row in rows}


def load_retired(connection: sa.Connection) -> dict[str, dict[str, str]]:
    """What the proofs of each retired environment say: since when they count no longer, and why."""
    return {
        each.digest: {
            RETIRED_AT: each.retired_at.isoformat(),
            "retired_reason": each.retired_reason or "",
        }
        for each in load_environments(connection)
        if each.retired_at is not None
    }


def retire_environment(
    session: Session, digest: str, *, retired_at: datetime, reason: str
) -> list[Pair]:
    """Proofs in this environment count no longer. The pairs that had a passed one in it and have
    none in another; empty where it was retired before."""
    retired = session.execute(
        sa.update(EnvironmentRow)
        .where(EnvironmentRow.digest == digest, EnvironmentRow.retired_at.is_(None))
        .values(retired_at=retired_at, retired_reason=reason)
        .returning(EnvironmentRow.digest)
    ).all()
    if not retired:
        return []
    pair = (ProofRow.adapter_digest, ProofRow.subfolder, ProofRow.base_digest)
    passed = sa.select(*pair).where(ProofRow.outcome == "passed")
    standing = passed.join(
        EnvironmentRow, EnvironmentRow.digest == ProofRow.environment_digest
    ).where(EnvironmentRow.retired_at.is_(None))
    lost = passed.where(ProofRow.environment_digest == digest).except_(standing)
    return [
        Pair(Digest(adapter), subfolder or None, Digest(base))
        for adapter, subfolder, base in session.execute(lost)
    ]
