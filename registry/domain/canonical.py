"""Canonical JSON (RFC 8785) and the digests made of it.

Equal values give equal bytes on every machine, so a digest says what a value holds. Numbers with
a fraction are left out on purpose: nothing that is digested in the domain holds one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from registry.domain.refs import Digest

# RFC 8785 takes numbers as IEEE doubles; beyond this two integers would share one spelling.
_LARGEST_INTEGER = 2**53 - 1


def canonical_json(value: object) -> bytes:
    """The RFC 8785 bytes of a value made of str, int, bool, None, sequences and mappings.

    Raises TypeError for any other type or a key that is no string, ValueError for an integer
    beyond 2**53 - 1 and for text that is not Unicode (a lone surrogate).
    """
    text = json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8")


def sha256_digest(data: bytes) -> Digest:
    """`sha256:` and 64 lower-case hex digits."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def _ordered(value: object) -> object:
    """The same value with the keys of each mapping sorted by UTF-16 code units (section 3.2.3)."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        if abs(value) > _LARGEST_INTEGER:
            raise ValueError("an integer beyond 2**53 - 1 has no canonical form")
        return value
    if isinstance(value, Mapping):
        return {key: _ordered(value[key]) for key in sorted(value, key=_utf16)}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_ordered(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no canonical form here")


def _utf16(key: object) -> bytes:
    if not isinstance(key, str):
        raise TypeError("a key of a canonical object is a string")
    return key.encode("utf-16-be")
