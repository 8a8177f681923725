"""Ask for work: an operation and its first job in one transaction, so that neither is ever alone.

Whoever asks for what is already asked for is given the same operation; asking again for something
finished makes another, which runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from registry.db import operations
from registry.db.operations import Operation, State
from registry.db.proofs import Pair
from registry.db.session import Database, translated_errors
from registry.domain.canonical import canonical_json, sha256_digest
from registry.domain.refs import Digest, Reference, make_reference
from registry.jobs import Job, Jobs, Priority, Queue

# How many adapters one job of a crawl scans.
BATCH = 50
_DEFAULT_REVISION = "main"


def ask_scan(
    session: Session,
    jobs: Jobs,
    reference: Reference,
    base: Reference | None = None,
    *,
    priority: Priority,
    token_id: int | None = None,
) -> Operation:
    """A scan of one adapter, and its rehearsal where a worker is there for it."""
    request = pair_request(reference, base)
    key = f"scan:{_with_revision(reference)} {'' if base is None else base}"
    return _ask(session, jobs, Queue.SCAN, "scan", key, request, priority, token_id)


def ask_batch(
    session: Session, jobs: Jobs, references: Sequence[Reference], *, priority: Priority
) -> Operation:
    """A scan of many adapters in one job."""
    request = {"references": [pair_request(each, None) for each in references]}
    key = f"crawl:{sha256_digest(canonical_json(request))}"
    return _ask(session, jobs, Queue.SCAN, "crawl", key, request, priority, None)


def ask_rehearsals(
    session: Session, jobs: Jobs, pairs: Sequence[Pair], *, priority: int
) -> Operation:
    """Rehearsals of recorded pairs, one after the other in one job."""
    request = {"pairs": [pair_members(pair) for pair in pairs]}
    key = f"rehearse:{sha256_digest(canonical_json(request))}"
    return _ask(session, jobs, Queue.REHEARSE, "rehearse", key, request, priority, None)


def ask_proof(
    session: Session,
    jobs: Jobs,
    reference: Reference,
    base: Reference | None,
    pair: Pair,
    *,
    priority: Priority,
    token_id: int | None = None,
) -> Operation:
    """A proof of a recorded pair. `reference` and `base` say where its bytes are fetched from.

    The key begins with the base, so that one job can take all waiting proofs of a base.
    """
    request = {**pair_request(reference, base), "pair": pair_members(pair)}
    key = f"{proofs_of(pair.base_digest)}{pair.adapter_digest}:{pair.subfolder or ''}"
    return _ask(session, jobs, Queue.PROVE, "prove", key, request, priority, token_id)


def proofs_of(base: Digest) -> str:
    """What the keys of proofs on this base begin with."""
    return f"prove:{base}:"


def cancel(
    database: Database,
    jobs: Jobs,
    operation_id: str,
    *,
    also: Callable[[Session], None] = lambda session: None,
) -> Operation | None:
    """End an operation as cancelled; None when it was over already. What runs is not interrupted:
    nothing it finds is stored. `also` is written in the same transaction."""
    with database.transaction() as session:
        cancelled = operations.close(session, operation_id, State.CANCELLED)
        if cancelled is not None:
            also(session)
    if cancelled is not None:
        with translated_errors():
            jobs.cancel(operation_id)
    return cancelled


def pair_request(reference: Reference, base: Reference | None) -> dict[str, Any]:
    """A pair as the API takes it; members that are not given are left out."""
    members = {
        "repo_id": reference.repo_id,
        "revision": reference.revision,
        "subfolder": reference.subfolder,
        "base": None if base is None else str(base),
    }
    return {name: value for name, value in members.items() if value is not None}


def pair_members(pair: Pair) -> list[str | None]:
    """A pair inside a request."""
    return [pair.adapter_digest, pair.subfolder, pair.base_digest]


def read_pair(members: Sequence[str | None]) -> Pair:
    """The inverse of `pair_members`."""
    adapter, subfolder, base = members
    return Pair(Digest(adapter or ""), subfolder, Digest(base or ""))


def read_request(request: Any) -> tuple[Reference, Reference | None]:
    """The inverse of `pair_request`. Raises InvalidReference."""
    reference = make_reference(
        request["repo_id"], request.get("revision"), request.get("subfolder")
    )
    name, _, revision = request.get("base", "").partition("@")
    return reference, make_reference(name, revision or None) if name else None


def _ask(
    session: Session,
    jobs: Jobs,
    queue: Queue,
    kind: str,
    key: str,
    request: dict[str, Any],
    priority: int,
    token_id: int | None,
) -> Operation:
    operation, made = operations.ensure_operation(
        session,
        kind=kind,
        dedupe_key=key,
        request=request,
        priority=int(priority),
        requester_token_id=token_id,
    )
    if made:
        jobs.enqueue(session, Job(queue, operation.id, int(priority)))
    return operation


def _with_revision(reference: Reference) -> Reference:
    """No revision means the main branch: both words are one request."""
    revision = reference.revision or _DEFAULT_REVISION
    return Reference(reference.repo_id, revision, reference.subfolder, reference.source)
