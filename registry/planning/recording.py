"""Put a rehearsal on record, wherever its pair was found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from sqlalchemy.orm import Session

from registry.db import checkpoints, plans, records
from registry.db.session import Database
from registry.domain.facts import BaseFacts
from registry.domain.record import Record
from registry.domain.refs import Digest
from registry.domain.steps import Plan
from registry.planning.pairs import choice_notes, with_choice_notes
from registry.planning.rehearsed import Rehearsal, Run

# Which endings of a base's own architecture a class builds. A tree of another class (a classifier
# on a causal base) has other heads, and is no fact of the base.
_OWN_CLASSES: Mapping[str, tuple[str, ...]] = {
    "AutoModelForCausalLM": ("ForCausalLM", "LMHeadModel"),
    "AutoModelForSeq2SeqLM": ("ForConditionalGeneration",),
    "AutoModelForMaskedLM": ("ForMaskedLM",),
    "AutoModelForSequenceClassification": ("ForSequenceClassification",),
    "AutoModelForTokenClassification": ("ForTokenClassification",),
    "AutoModelForQuestionAnswering": ("ForQuestionAnswering",),
    "AutoModel": ("Model",),
}


class Rehearsed(Rehearsal, Protocol):
    """A rehearsal with what it ran on."""

    @property
    def auto_class(self) -> str: ...
    @property
    def versions(self) -> Mapping[str, str]: ...


def save_rehearsed(
    database: Database,
    record: Record,
    base: BaseFacts,
    rehearsal: Rehearsed,
    *,
    plan: Plan | None,
    recorded_at: datetime,
) -> None:
    """The record, and the same word for the pair at every other place; both runs as they came; the
    base's module tree. `plan` is what was rehearsed: a record has none where it did not land.
    """

    def work(session: Session) -> None:
        _save_tree(session, base, rehearsal, recorded_at)
        _save_runs(session, record, plan, rehearsal, recorded_at)
        records.save_record(session, record, scanned_at=recorded_at)
        for other in _other_places(session, record):
            there = records.at_commits(
                with_choice_notes(record, choice_notes(other)), other.adapter, other.base
            )
            records.save_record(session, there, scanned_at=recorded_at)

    database.write(work)


def _save_runs(
    session: Session,
    record: Record,
    plan: Plan | None,
    rehearsal: Rehearsed,
    recorded_at: datetime,
) -> None:
    """Both runs as they came, so that a later rule can be tried on them without running again."""
    if record.base is None or record.adapter.digest is None or record.base.digest is None:
        return
    runs: list[tuple[Digest | None, Run]] = [(None, rehearsal.naive)]
    if rehearsal.along_plan is not None and plan is not None:
        runs.append((plan.digest, rehearsal.along_plan))
    for plan_digest, run in runs:
        plans.save_rehearsal(
            session,
            plans.StoredRehearsal(
                adapter_digest=record.adapter.digest,
                subfolder=record.adapter.subfolder,
                base_digest=record.base.digest,
                plan_digest=plan_digest,
                outcome=run.outcome,
                missing=run.missing,
                unexpected=run.unexpected,
                overwritten=run.overwritten,
                error=run.error,
                warnings=run.warnings,
                versions=rehearsal.versions,
                finished_at=recorded_at,
            ),
        )


def _other_places(session: Session, record: Record) -> list[Record]:
    if record.base is None or record.adapter.digest is None or record.base.digest is None:
        return []
    found = records.pair_records(
        session.connection(), record.adapter.digest, record.adapter.subfolder, record.base.digest
    )
    here = (record.adapter.repo_id, record.base.repo_id)
    return [
        stored.record
        for stored in found
        if stored.record.base is not None
        and (stored.record.adapter.repo_id, stored.record.base.repo_id) != here
    ]


def _save_tree(
    session: Session, base: BaseFacts, rehearsal: Rehearsed, recorded_at: datetime
) -> None:
    version = rehearsal.versions.get("transformers")
    if rehearsal.tree is None or base.ref.digest is None or version is None:
        return
    architectures = base.config.architectures if base.config else ()
    endings = _OWN_CLASSES.get(rehearsal.auto_class, ())
    if any(name.endswith(endings) for name in architectures[:1] if endings):
        checkpoints.save_base_tree(
            session, base.ref.digest, version, rehearsal.tree, recorded_at=recorded_at
        )
