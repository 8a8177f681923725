"""What the catalogue says of one code."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry.domain.status import Status


class Severity(StrEnum):
    """How much an issue weighs. `error` means: no plan loads it as it stands."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    ADVICE = "advice"


@dataclass(frozen=True)
class IssueKind:
    """One code of the catalogue; also the text of its page `/problems/{code}`.

    `severity` is the default. `status` and `exit` are what an *error* of this code leads to;
    `status` is None for codes that never stand in a record (errors of the API and of our own).
    """

    code: str
    severity: Severity
    status: Status | None
    exit: int
    title: str
    cause: str
    fix: str
