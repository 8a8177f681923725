"""Exit codes: the contract's table, decided in one place for every command."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum

from registry import errors
from registry.domain.issues import Severity
from registry.domain.record import Record, Status


class Exit(IntEnum):
    MEETS = 0
    INCOMPATIBLE = 1
    USAGE = 2
    UNKNOWN = 3
    REFUSED = 4
    FAILURE = 5
    INTERRUPTED = 130


class Requirement(StrEnum):
    """What `--require` asks of a record. Each level contains the ones before it."""

    PLANNED = "planned"
    REHEARSED = "rehearsed"
    COMPATIBLE = "compatible"


_GATED = frozenset({"adapter-gated", "base-gated"})
_LEVEL = {Status.PLANNED: 1, Status.REHEARSED: 2, Status.STALE: 2, Status.COMPATIBLE: 3}
_NEEDED = {Requirement.PLANNED: 1, Requirement.REHEARSED: 2, Requirement.COMPATIBLE: 3}
# Of several records the worst decides; a failure of ours hides what the others may be.
_WORST_FIRST = (Exit.FAILURE, Exit.REFUSED, Exit.INCOMPATIBLE, Exit.UNKNOWN, Exit.MEETS)


def exit_of_record(record: Record, require: Requirement = Requirement.PLANNED) -> Exit:
    """A stale record meets planned and rehearsed: its evidence is kept and named."""
    if record.status is Status.INCOMPATIBLE:
        return Exit.INCOMPATIBLE
    if record.status is Status.FAILED:
        return Exit.FAILURE
    if record.status is Status.BLOCKED and any(
        issue.code in _GATED and issue.severity is Severity.ERROR for issue in record.issues
    ):
        return Exit.REFUSED
    met = _LEVEL.get(record.status, 0) >= _NEEDED[require]
    return Exit.MEETS if met else Exit.UNKNOWN


def exit_of_records(records: Iterable[Record]) -> Exit:
    found = {exit_of_record(record) for record in records}
    return next((code for code in _WORST_FIRST if code in found), Exit.MEETS)


def exit_of_error(error: errors.LoadplanError) -> Exit:
    """What kept us from an answer: the caller's words, the caller's access, or a failure."""
    if isinstance(error, errors.InvalidRequest | errors.SettingInvalid):
        return Exit.USAGE
    if isinstance(error, errors.RepositoryGated | errors.RepositoryDisabled):
        return Exit.REFUSED
    if isinstance(
        error,
        errors.RepositoryNotFound
        | errors.RevisionNotFound
        | errors.FileNotFound
        | errors.FileInvalid
        | errors.RunnerMissing
        | errors.SandboxMissing,
    ):
        return Exit.UNKNOWN
    return Exit.FAILURE
