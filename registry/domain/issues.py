"""The catalogue of reasons: code, severity, title, cause, fix. Stable: no code is renamed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.domain.catalogue.errors import ERRORS
from registry.domain.catalogue.kinds import IssueKind, Severity
from registry.domain.catalogue.notes import NOTES
from registry.domain.catalogue.problems import PROBLEMS
from registry.domain.tensors import Shape

__all__ = ["CATALOGUE", "Issue", "IssueKind", "Severity", "make_issue", "sorted_issues"]

CATALOGUE: Mapping[str, IssueKind] = MappingProxyType(
    {kind.code: kind for kind in (*ERRORS, *NOTES, *PROBLEMS)}
)

_WEIGHT = {severity: weight for weight, severity in enumerate(Severity)}
_PLACE = {code: place for place, code in enumerate(CATALOGUE)}


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


def make_issue(
    code: str,
    message: str,
    *,
    severity: Severity | None = None,
    tensor: str | None = None,
    file_shape: Shape | None = None,
    base_shape: Shape | None = None,
    fix: str | None = None,
) -> Issue:
    """An issue of a catalogued code; severity and fix are the catalogue's unless given.

    Raises KeyError for a code that the catalogue does not have: that is a fault of ours.
    """
    kind = CATALOGUE[code]
    return Issue(
        code=code,
        severity=kind.severity if severity is None else severity,
        message=message,
        fix=kind.fix if fix is None else fix,
        tensor=tensor,
        file_shape=file_shape,
        base_shape=base_shape,
    )


def sorted_issues(issues: tuple[Issue, ...] | list[Issue]) -> tuple[Issue, ...]:
    """Errors first, then by the catalogue's order, then by tensor; equal issues once."""
    unique = dict.fromkeys(issues)
    return tuple(
        sorted(
            unique,
            key=lambda issue: (
                _WEIGHT[issue.severity],
                _PLACE.get(issue.code, len(_PLACE)),
                issue.tensor or "",
                issue.message,
            ),
        )
    )
