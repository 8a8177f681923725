"""What an adapter's own files decide, whatever its base is.

While the base cannot be read (gated, undeclared, a local path) these reasons stand all the same:
contract section 2 puts them before "blocked on the base".
"""

from __future__ import annotations

from registry.domain.assembly import assemble
from registry.domain.base_model import BaseConfig
from registry.domain.expected import Expected
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.findings import Findings
from registry.domain.issues import Issue, sorted_issues
from registry.domain.labels import DEFAULT_LABELS
from registry.domain.landing import land_tensors
from registry.domain.notes import note_adapter

_DECIDED = frozenset(
    {
        *{"empty-tensors", "rank-mismatch", "dora-flag-missing", "tensors-missing"},
        "modules-to-save-missing",
    }
)
_NOTHING_KNOWN = BaseConfig(None, (), None, None, None, None, None)


def judge_adapter(adapter: AdapterFacts) -> tuple[Issue, ...]:
    """The adapter's problems, notes, and the faults that its config and header show by themselves.

    A subset of what `compute_plan` says of it on any base.
    """
    issues = list(adapter.problems)
    config = adapter.config
    if config is None:
        return sorted_issues(issues)
    issues += note_adapter(adapter, config)
    layout = adapter.weights.layout if adapter.weights is not None else None
    if layout is not None:
        findings = Findings()
        base = BaseFacts(adapter.ref, _NOTHING_KNOWN, None, None)
        assembly = assemble(adapter, base, config, _NOTHING_KNOWN, layout, None, findings)
        expected = Expected(assembly.pair.base, None, None, DEFAULT_LABELS)
        land_tensors(assembly.pair, expected, findings)
        issues += [issue for issue in findings.issues() if issue.code in _DECIDED]
    return sorted_issues(issues)
