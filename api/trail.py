"""The audit trail: which token asked for what. Written in the transaction that does it, so that
nothing is done without its line and no line is there for what was not done."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from api.callers import Caller
from registry.asking import read_request
from registry.db.operations import Operation
from registry.db.tokens import save_audit


def note(
    session: Session,
    request_id: str,
    caller: Caller,
    action: str,
    subject: str,
    outcome: str = "done",
) -> None:
    """Append one line."""
    save_audit(
        session,
        at=datetime.now(UTC),
        action=action,
        subject=subject,
        outcome=outcome,
        request_id=request_id,
        token_id=caller.token_id,
        token_name=caller.name,
    )


def note_asked(session: Session, request_id: str, caller: Caller, operation: Operation) -> None:
    """A scan or a proof was asked for; also where somebody else's operation does it already."""
    adapter, base = read_request(operation.request)
    subject = str(adapter) if base is None else f"{adapter} on {base}"
    note(session, request_id, caller, operation.kind, subject, f"operation {operation.id}")
