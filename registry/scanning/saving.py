"""From readings to records: recorded answers are reused, new ones planned, all saved at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from registry import planning
from registry.db import checkpoints, records, visibility
from registry.db.records import StoredRecord, at_commits
from registry.db.session import Database
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.issues import CATALOGUE, Issue, make_issue
from registry.domain.plan import PLANNER_VERSION
from registry.domain.record import Evidence, Record, Status, decide_status
from registry.domain.refs import Reference, Source
from registry.errors import LoadplanError
from registry.hub import Snapshot
from registry.scanning.reading import Reading

# Statuses that hold no answer about content, so that content read now is planned anew.
_NOT_REUSED = frozenset({Status.QUEUED, Status.FAILED, Status.BLOCKED})
# The Hub shows us no such repository.
_NOT_SHOWN = "adapter-not-found"
_BASE_MISSING = frozenset({"base-undeclared", "base-local-path", "base-not-found"})
# How many recorded bases are tried, and how many are named, when an adapter's is not known.
_BASES_TRIED, _BASES_OFFERED = 50, 5


@dataclass(frozen=True)
class Scanned:
    """An answer. `failure` is what kept us from a new one when `record` is an earlier one.

    `adapter` and `base` are the facts that were read, None where nothing could be.
    """

    reference: Reference
    record: Record
    adapter: AdapterFacts | None = None
    base: BaseFacts | None = None
    failure: LoadplanError | None = None


def recall_base(database: Database, snapshot: Snapshot) -> BaseFacts | None:
    """The recorded facts of a base at this commit."""
    with database.reading() as connection:
        return checkpoints.load_base_at(
            connection, snapshot.source, snapshot.repo_id, snapshot.commit_sha
        )


def settle(database: Database, batch: Sequence[Reading], scanned_at: datetime) -> list[Scanned]:
    """Decide and save a batch. Planning happens before the transaction is opened, so that other
    writers do not wait for it."""
    with database.reading() as connection:
        digests = [one.adapter.ref.digest for one in batch if one.adapter is not None]
        known = records.find_known(connection, [each for each in digests if each is not None])
        decided = [(reading, _decide(connection, reading, known)) for reading in batch]
    return database.write(lambda session: _save_batch(session, decided, scanned_at))


def _decide(connection: Connection, reading: Reading, known: frozenset[str]) -> Scanned:
    """`known` are the contents of adapters that are recorded somewhere."""
    if reading.adapter is None:
        return _unread(connection, reading)
    if reading.base is None or reading.failure is not None:
        return _without_base(connection, reading)
    reused = _reused(connection, reading) if reading.adapter.ref.digest in known else None
    record = reused or planning.plan_pair(
        reading.adapter, reading.base, reading.issues, matched=reading.matched
    )
    return Scanned(reading.reference, record, reading.adapter, reading.base)


def _reused(connection: Connection, reading: Reading) -> Record | None:
    """What is recorded of equal content by this planner, printed at the commits read now."""
    assert reading.adapter is not None
    assert reading.base is not None
    adapter, base = reading.adapter, reading.base
    if adapter.ref.digest is None or base.ref.digest is None:
        return None
    stored = records.find_pair(
        connection, adapter.ref.digest, adapter.ref.subfolder, base.ref.digest
    )
    if stored is None or stored.planner_version != PLANNER_VERSION:
        return None
    if stored.record.status in _NOT_REUSED:
        return None
    record = planning.with_choice_notes(stored.record, reading.issues)
    if record.status is Status.STALE and not _is_retired(record):
        # The branch it was asked for by has moved on; here its content has been found again.
        status = decide_status(record.issues, evidence=record.evidence)
        record = replace(record, status=status)
    facts = replace(record.facts, other_adapters=adapter.other_adapters)
    return at_commits(replace(record, facts=facts), adapter.ref, base.ref)


def _is_retired(record: Record) -> bool:
    """Every proof that it stands on was run with versions that the operator has retired."""
    passed = [proof for proof in record.proofs if proof.outcome == "passed"]
    return record.evidence is Evidence.PROVEN and all(proof.is_retired for proof in passed)


def _unread(connection: Connection, reading: Reading) -> Scanned:
    """Nothing could be read: the Hub refused, or it failed and an earlier record may answer."""
    if reading.failure is None:
        record = planning.unread_record(reading.reference, reading.issues)
        if reading.commit_sha is not None:
            adapter = replace(record.adapter, commit_sha=reading.commit_sha)
            facts = replace(record.facts, other_adapters=reading.other_adapters)
            record = replace(record, adapter=adapter, facts=facts)
        return Scanned(reading.reference, record)
    earlier = _earlier(connection, reading)
    if earlier is not None:
        return Scanned(reading.reference, earlier.record, failure=reading.failure)
    record = planning.unread_record(reading.reference, (_failure_issue(reading.failure),))
    return Scanned(reading.reference, record)


def _without_base(connection: Connection, reading: Reading) -> Scanned:
    """The adapter's own files may decide; else the base blocks, or the Hub failed on it."""
    assert reading.adapter is not None
    issues = reading.issues
    if reading.failure is not None:
        earlier = _earlier(connection, reading)
        if earlier is not None:
            record = _stale_if_moved(earlier.record, reading.adapter)
            return Scanned(reading.reference, record, reading.adapter, failure=reading.failure)
        issues = (*issues, _failure_issue(reading.failure))
    issues = tuple(_with_offers(connection, reading.adapter, issue) for issue in issues)
    record = planning.plan_pair(
        reading.adapter,
        None,
        issues,
        base_ref=planning.unread_ref(reading.base_reference) if reading.base_reference else None,
    )
    return Scanned(reading.reference, record, reading.adapter)


def _stale_if_moved(record: Record, adapter: AdapterFacts) -> Record:
    """The earlier answer, as one for content that the branch asked for no longer has."""
    moved = record.adapter.digest is not None and record.adapter.digest != adapter.ref.digest
    return replace(record, status=Status.STALE) if moved and record.plan else record


def _earlier(connection: Connection, reading: Reading) -> StoredRecord | None:
    """What is known from before of this reference; a failure recorded earlier is no knowledge."""
    reference, base = reading.reference, reading.asked_base
    stored = records.find_record(
        connection,
        source=reference.source,
        repo_id=reference.repo_id,
        revision=reference.revision,
        subfolder=reference.subfolder,
        base_repo_id=base.repo_id if base else None,
        base_revision=base.revision if base else None,
    )
    if stored is None or stored.record.status in (Status.FAILED, Status.QUEUED):
        return None
    return stored


def _failure_issue(failure: LoadplanError) -> Issue:
    kind = CATALOGUE.get(failure.code)
    code = failure.code if kind is not None and kind.status is Status.FAILED else "hub-error"
    return make_issue(code, failure.message, fix=failure.fix)


def _with_offers(connection: Connection, adapter: AdapterFacts, issue: Issue) -> Issue:
    """Recorded bases whose shapes fit are named beside a missing base; none is ever assumed."""
    if issue.code not in _BASE_MISSING or adapter.weights is None:
        return issue
    candidates = checkpoints.list_recorded_bases(connection, limit=_BASES_TRIED)
    fitting = [base.ref.repo_id for base in candidates if planning.shapes_fit(adapter, base)]
    if not fitting:
        return issue
    named = ", ".join(fitting[:_BASES_OFFERED])
    return replace(issue, message=f"{issue.message} Recorded bases whose shapes fit: {named}.")


def _save_batch(
    session: Session, decided: Sequence[tuple[Reading, Scanned]], scanned_at: datetime
) -> list[Scanned]:
    """What is new through and through at once, then the others one by one."""
    fresh = [
        answer for _, answer in decided if answer.adapter is not None and answer.failure is None
    ]
    for base in {id(answer.base): answer.base for answer in fresh}.values():
        if base is not None:
            _note_readable(session, base, scanned_at)
            checkpoints.save_base(session, base)
    found = [records.Found(one.adapter, one.record) for one in fresh if one.adapter is not None]
    saved = {
        id(answer)
        for answer, done in zip(
            fresh, records.save_new(session, found, scanned_at=scanned_at), strict=True
        )
        if done
    }
    return [
        answer if id(answer) in saved else _save(session, reading, answer, scanned_at)
        for reading, answer in decided
    ]


def _save(session: Session, reading: Reading, answer: Scanned, scanned_at: datetime) -> Scanned:
    """Facts and record. Between planning and this moment another process may have learnt more of
    the same pair, by a rehearsal or a proof: then its answer stands."""
    _note_access(session, reading, answer, scanned_at)
    if answer.adapter is not None:
        checkpoints.save_adapter(session, answer.adapter)
    if answer.base is not None:
        checkpoints.save_base(session, answer.base)
    if answer.failure is not None:
        if answer.adapter is not None:
            # Where the branch is now is known, though not what to say of it.
            checkpoints.save_ref(session, answer.adapter.ref, seen_at=scanned_at)
        return answer
    if answer.base is not None:
        newer = _reused(session.connection(), reading)
        answer = answer if newer is None else replace(answer, record=newer)
    records.save_record(session, answer.record, scanned_at=scanned_at)
    return answer


def _note_access(session: Session, reading: Reading, answer: Scanned, scanned_at: datetime) -> None:
    """Who may see the repositories, said before anything of them is written.

    An adapter that the Hub does not show us is missing or private, and it does not say which: its
    name is kept from public view until it is read.
    """
    reference = reading.reference
    if reference.source is Source.HUB and any(issue.code == _NOT_SHOWN for issue in reading.issues):
        visibility.hide(session, reference.repo_id, access="missing", checked_at=scanned_at)
    for facts in (answer.adapter, answer.base):
        if facts is not None:
            _note_readable(session, facts, scanned_at)


def _note_readable(session: Session, facts: AdapterFacts | BaseFacts, scanned_at: datetime) -> None:
    if facts.ref.source is Source.HUB:
        visibility.note_access(
            session,
            facts.ref.repo_id,
            access="readable",
            private=facts.private,
            gated=facts.gated,
            checked_at=scanned_at,
        )
