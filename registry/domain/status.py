"""Statuses and evidence of a record, their legal transitions, and the exit codes they lead to."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """What we say of an (adapter, base) pair."""

    QUEUED = "queued"
    PLANNED = "planned"
    REHEARSED = "rehearsed"
    COMPATIBLE = "compatible"
    INCOMPATIBLE = "incompatible"
    UNSUPPORTED = "unsupported"
    BLOCKED = "blocked"
    FAILED = "failed"
    STALE = "stale"


class Evidence(StrEnum):
    """What the status rests on."""

    NONE = "none"
    STATIC = "static"
    REHEARSED = "rehearsed"
    PROVEN = "proven"


_ANSWERS = frozenset(
    {
        Status.PLANNED,
        Status.REHEARSED,
        Status.COMPATIBLE,
        Status.INCOMPATIBLE,
        Status.UNSUPPORTED,
        Status.BLOCKED,
    }
)

# Which status may follow which as the *current* record of a pair. Nothing returns to queued or
# failed: once something is known, a failure of ours belongs to the operation, not to the record.
# A record may be superseded by one of its own status (new issues, another planner version).
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: _ANSWERS | {Status.QUEUED, Status.FAILED},
    Status.FAILED: _ANSWERS | {Status.QUEUED, Status.FAILED},
    Status.PLANNED: _ANSWERS | {Status.STALE},
    Status.REHEARSED: _ANSWERS | {Status.STALE},
    Status.COMPATIBLE: _ANSWERS | {Status.STALE},
    Status.INCOMPATIBLE: _ANSWERS | {Status.STALE},
    Status.UNSUPPORTED: _ANSWERS | {Status.STALE},
    Status.BLOCKED: _ANSWERS | {Status.STALE},
    Status.STALE: _ANSWERS | {Status.STALE},
}


def may_follow(earlier: Status | None, later: Status) -> bool:
    """True when a record of status `later` may supersede one of status `earlier` (None: none)."""
    if earlier is None:
        return later is not Status.STALE
    return later in TRANSITIONS[earlier]
