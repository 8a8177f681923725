"""The catalogue of reasons: code, severity, title, cause, fix. Codes are stable, none is renamed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from registry.domain.tensors import Shape


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    ADVICE = "advice"


@dataclass(frozen=True)
class Issue:
    """One reason, with this adapter's own figures in `message`. The order of fields is printed."""

    code: str
    severity: Severity
    message: str
    fix: str | None = None
    tensor: str | None = None
    file_shape: Shape | None = None
    base_shape: Shape | None = None
