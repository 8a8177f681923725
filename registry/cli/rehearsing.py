"""The rehearsal on this machine: the real PEFT in a child process, its word put on record."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

from registry.cli.opening import isolation_of
from registry.cli.terminal import print_message
from registry.domain.record import Record
from registry.errors import LoadplanError

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.db.session import Database
    from registry.scanning import Scanned

_RUNNER = ("torch", "transformers", "peft", "accelerate")


def missing_packages() -> list[str]:
    """Packages of the runner extra that this installation lacks. Nothing is imported."""
    return [name for name in _RUNNER if find_spec(name) is None]


def rehearse(settings: Settings, database: Database, scanned: Scanned) -> Record:
    """Run the plan with the real PEFT in a child process. What keeps us from it is ours: the
    record stays planned, and stderr says why."""
    missing = missing_packages()
    if missing:
        print_message(
            "note",
            f"Not rehearsed: {', '.join(missing)} not installed.",
            "To rehearse here: pip install 'loadplan[runner]'",
        )
        return scanned.record
    if scanned.adapter is None or scanned.base is None:
        print_message("note", "Not rehearsed: the files could not be read now.")
        return scanned.record
    try:
        return _rehearse(settings, database, scanned)
    except LoadplanError as error:
        print_message("warning", f"Not rehearsed: {error.message}", error.fix)
        return scanned.record


def _rehearse(settings: Settings, database: Database, scanned: Scanned) -> Record:
    from registry.planning import record_rehearsal, save_rehearsed
    from workers.rehearse import Rehearser

    assert scanned.adapter is not None
    assert scanned.base is not None
    with Rehearser(isolation_of(settings)) as rehearser:
        rehearsal = rehearser.rehearse(scanned.adapter, scanned.base, scanned.record.plan)
    if rehearsal.failure is not None:
        print_message("warning", f"Not rehearsed: {rehearsal.failure}")
        return scanned.record
    record = record_rehearsal(scanned.record, rehearsal)
    save_rehearsed(
        database,
        record,
        scanned.base,
        rehearsal,
        plan=scanned.record.plan,
        recorded_at=datetime.now(UTC),
    )
    return record
