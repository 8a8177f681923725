"""Failures that subscribers are told of: a scan that gave no answer leaves no new record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from registry.asking import read_request
from registry.db import announcing, operations
from registry.db.operations import Operation
from registry.db.session import Database
from registry.domain.messages import MessageType, record_path
from registry.domain.refs import Reference

# Announced once however often it is seen, so the window need only be longer than a pause of ours.
_WINDOW = timedelta(hours=1)
_MOST = 200


def announce_failures(database: Database, *, now: datetime | None = None) -> int:
    """Tell of scans that ended as failed lately; how many messages were put up."""
    since = (now or datetime.now(UTC)) - _WINDOW
    with database.reading() as connection:
        failed = operations.list_failed(connection, kind="scan", since=since, limit=_MOST)
    return database.write(lambda session: _announce(session, failed)) if failed else 0


def _announce(session: Session, failed: Sequence[Operation]) -> int:
    return sum(
        announcing.announce(
            session, MessageType.SCAN_FAILED, f"msg_{operation.id}", _failure_data(operation)
        )
        for operation in failed
    )


def _failure_data(operation: Operation) -> dict[str, Any]:
    reference, base = read_request(operation.request)
    problem = operation.problem or {}
    return {
        "adapter": _named(reference),
        "base": None if base is None else _named(base),
        "operation": f"/v1/operations/{operation.id}",
        "problem": {"code": problem.get("code"), "detail": problem.get("detail")},
        "url": record_path(reference, None if base is None else base.repo_id),
    }


def _named(reference: Reference) -> dict[str, Any]:
    return {
        "source": reference.source.value,
        "repo_id": reference.repo_id,
        "revision": reference.revision,
        "subfolder": reference.subfolder,
    }
