"""The plan of a reference, scanned in this process: what `load_adapter("acme/chat-lora")` asks.

The loader may not import the scanner; it finds this function through an entry point of the
installed package (group `loadplan.plan_source`).
"""

from __future__ import annotations

from registry.cli.opening import load_settings, opened_database
from registry.cli.scanning import scan_one
from registry.domain.issues import Severity
from registry.domain.refs import parse_reference
from registry.domain.steps import Plan
from registry.errors import RequirementNotMet


def plan_for(reference: str) -> Plan:
    """Scan with the settings of the environment. Raises RequirementNotMet where there is no plan,
    InvalidReference, and whatever kept the scan from an answer."""
    asked = parse_reference(reference, allow_local=True)
    settings = load_settings()
    with opened_database(settings) as database:
        record = scan_one(settings, database, asked, None).record
    if record.plan is None:
        errors = [issue for issue in record.issues if issue.severity is Severity.ERROR]
        codes = ", ".join(dict.fromkeys(issue.code for issue in errors))
        raise RequirementNotMet(
            f"{reference} is {record.status}: {codes}.", status=record.status.value
        )
    return record.plan
