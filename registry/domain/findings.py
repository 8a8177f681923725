"""What the rules find, collected: reasons by code, and what a plain load would stumble over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from registry.domain.issues import Issue, Severity, make_issue
from registry.domain.refs import shown
from registry.domain.tensors import Shape


class FaultKind(StrEnum):
    """What `PeftModel.from_pretrained` alone does, in the order in which it stops."""

    NO_TARGET = "no-target"
    KEY_ERROR = "key-error"
    MISMATCH = "mismatch"
    SILENT = "silent"


@dataclass(frozen=True)
class Fault:
    """One thing that a plain load meets. `key` is the name as PEFT's message has it."""

    kind: FaultKind
    key: str
    module: str = ""
    file_shape: Shape | None = None
    model_shape: Shape | None = None


@dataclass(frozen=True)
class Finding:
    """One tensor (or module) that speaks for an issue code."""

    tensor: str
    text: str
    file_shape: Shape | None = None
    base_shape: Shape | None = None


@dataclass
class Findings:
    """Collected while the rules run; `issues()` says each code once, with its first tensor.

    `naive_may_raise` is True with a saved module whose shape in the base is not known: a plain load
    stops there when it is another, whatever else would go wrong in silence.
    """

    by_code: dict[tuple[str, Severity | None], list[Finding]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    overwritten: set[str] = field(default_factory=set)
    unspoken: set[str] = field(default_factory=set)
    naive_unknown: bool = False
    naive_may_raise: bool = False

    def add(
        self,
        code: str,
        tensor: str,
        text: str,
        file_shape: Shape | None = None,
        base_shape: Shape | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Note one tensor under a code. `text` follows the tensor's name in the message."""
        found = self.by_code.setdefault((code, severity), [])
        found.append(Finding(tensor, text, file_shape, base_shape))

    def fault(
        self,
        kind: FaultKind,
        key: str,
        module: str = "",
        file_shape: Shape | None = None,
        model_shape: Shape | None = None,
    ) -> None:
        self.faults.append(Fault(kind, key, module, file_shape, model_shape))

    def silent(self, key: str) -> None:
        """PEFT goes on without a word (or with a mere warning): the load would be wrong."""
        self.fault(FaultKind.SILENT, key)

    def has(self, code: str) -> bool:
        return any(known == code for known, _ in self.by_code)

    def issues(self) -> list[Issue]:
        return [
            _to_issue(code, severity, found)
            for (code, severity), found in sorted(
                self.by_code.items(), key=lambda item: (item[0][0], str(item[0][1]))
            )
        ]


def _to_issue(code: str, severity: Severity | None, found: Iterable[Finding]) -> Issue:
    ordered = sorted(found, key=lambda finding: (finding.tensor, finding.text))
    first = ordered[0]
    others = len({finding.tensor for finding in ordered}) - 1
    more = f" And {others} more." if others else ""
    name = f"{shown(first.tensor, 200)} " if first.tensor else ""
    return make_issue(
        code,
        f"{name}{first.text}{more}",
        severity=severity,
        tensor=first.tensor or None,
        file_shape=first.file_shape,
        base_shape=first.base_shape,
    )
