"""Where a page ended, as an opaque text that the next request brings back."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime

from registry.errors import InvalidRequest

_MAX_LENGTH = 2048
_MAX_ID = 2**63 - 1


def write_cursor(sort: str, value: datetime | str, row_id: int) -> str:
    """The last row's place in the order. `sort` is part of it: another order has other places."""
    place = value.isoformat() if isinstance(value, datetime) else value
    text = json.dumps([sort, place, row_id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")


def parse_cursor(cursor: str, sort: str) -> tuple[str, int]:
    """Value and id where the page before ended. Raises InvalidRequest."""
    try:
        if len(cursor) > _MAX_LENGTH:
            raise ValueError("too long")
        padded = cursor + "=" * (-len(cursor) % 4)
        written_for, value, row_id = json.loads(base64.b64decode(padded, b"-_", validate=True))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise _invalid() from None
    if written_for != sort or not isinstance(value, str) or type(row_id) is not int:
        raise _invalid()
    if not 0 <= row_id <= _MAX_ID:
        raise _invalid()
    return value, row_id


def parse_moment(value: str) -> datetime:
    """The time in a cursor. Raises InvalidRequest."""
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _invalid() from None


def _invalid() -> InvalidRequest:
    return InvalidRequest("The cursor is not one that this list gave out.", field="cursor")
