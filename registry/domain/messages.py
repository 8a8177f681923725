"""Messages to subscribers: which change of a record is told, and the thin body that tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlencode

from registry.domain.record import Record, Status
from registry.domain.refs import Reference

# Standard Webhooks asks for less than 20 kB; names, digests and codes stay far below it.
MAX_BYTES = 20_000
_MOST_CODES = 50


class MessageType(StrEnum):
    """What subscribers are told of. More may be added, none renamed."""

    PROVEN = "plan.proven"
    INCOMPATIBLE = "plan.incompatible"
    CHANGED = "plan.changed"
    STALE = "record.stale"
    SCAN_FAILED = "scan.failed"
    TEST = "subscription.test"


@dataclass(frozen=True)
class Before:
    """How an adapter stood on this base before: its newest other record."""

    status: Status
    plan_digest: str | None


def message_type(record: Record, before: Before | None) -> MessageType | None:
    """What a new record is told as; None where a subscriber learns nothing from it."""
    plan = record.plan.digest if record.plan else None
    if record.status is Status.COMPATIBLE:
        known = before is not None and before.status is Status.COMPATIBLE
        return None if known and before and before.plan_digest == plan else MessageType.PROVEN
    if record.status is Status.INCOMPATIBLE:
        known = before is not None and before.status is Status.INCOMPATIBLE
        return None if known else MessageType.INCOMPATIBLE
    if plan is not None and before is not None and before.plan_digest not in (None, plan):
        return MessageType.CHANGED
    return None


def record_data(record: Record) -> dict[str, Any]:
    """Whose record it is and how it stands; the plan itself is read where `url` says."""
    document = record.to_json()
    codes = sorted({issue.code for issue in record.issues})
    return {
        "adapter": document["adapter"],
        "base": document["base"],
        "status": record.status.value,
        "evidence": record.evidence.value,
        "plan_digest": record.plan.digest if record.plan else None,
        "issues": codes[:_MOST_CODES],
        "url": record_path(
            Reference(record.adapter.repo_id, record.adapter.commit_sha, record.adapter.subfolder),
            record.base.repo_id if record.base else None,
        ),
    }


def record_path(reference: Reference, base: str | None) -> str:
    """Where the service answers for a pair."""
    path = "/v1/adapters/" + "/".join(quote(part, safe="") for part in reference.repo_id.split("/"))
    asked = {"revision": reference.revision, "subfolder": reference.subfolder, "base": base}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    return f"{path}?{query}" if query else path


def write_message(kind: MessageType, at: datetime, data: Mapping[str, Any]) -> str:
    """The body that is signed and sent."""
    body = {"type": kind.value, "timestamp": at.isoformat(), "data": data}
    return json.dumps(body, ensure_ascii=True, separators=(",", ":"))


def names_in(body: str) -> frozenset[str]:
    """The repositories that a body names."""
    data = json.loads(body)["data"]
    sides = (data.get("adapter"), data.get("base"))
    return frozenset(str(side["repo_id"]) for side in sides if side)
