"""Exit codes: what a record, several records or an error make of a command."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum

from registry import errors
from registry.domain.record import Record, Status, exit_code


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


# Of several records the worst decides; a failure of ours hides what the others may be.
_WORST_FIRST = (Exit.FAILURE, Exit.REFUSED, Exit.INCOMPATIBLE, Exit.UNKNOWN, Exit.MEETS)


def exit_of_record(record: Record, require: Requirement = Requirement.PLANNED) -> Exit:
    return Exit(exit_code(record, Status(require.value)))


def exit_of_records(records: Iterable[Record]) -> Exit:
    found = {exit_of_record(record) for record in records}
    return next((code for code in _WORST_FIRST if code in found), Exit.MEETS)


def exit_of_error(error: errors.LoadplanError) -> Exit:
    """What kept us from an answer: the caller's words, the caller's access, or a failure."""
    if isinstance(error, errors.InvalidRequest | errors.SettingInvalid):
        return Exit.USAGE
    if isinstance(error, errors.ServerRefused):
        return _exit_of_refusal(error)
    if isinstance(error, errors.RepositoryGated | errors.RepositoryDisabled):
        return Exit.REFUSED
    if isinstance(
        error,
        errors.RepositoryNotFound
        | errors.RevisionNotFound
        | errors.FileNotFound
        | errors.FileInvalid
        | errors.RequirementNotMet
        | errors.RunnerMissing
        | errors.SandboxMissing,
    ):
        return Exit.UNKNOWN
    return Exit.FAILURE


def _exit_of_refusal(error: errors.ServerRefused) -> Exit:
    """What a server means: no access, nothing known, a wrong request, or a failure of its own."""
    match error.status:
        case 401 | 403:
            return Exit.REFUSED
        case 404:
            return Exit.UNKNOWN
        case 400 | 409 | 413 | 422:
            return Exit.USAGE
        case _:
            return Exit.FAILURE
