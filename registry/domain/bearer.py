"""The text of an access token: `lp_`, 30 random characters, 6 that check them.

The check lets a secret scanner tell a token from a lookalike and lets a typing error be said
without a look into the database. It is no protection: the 30 characters are.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable

from registry.errors import InvalidRequest

SCOPES = ("scan", "prove", "admin")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM, _CHECK = 30, 6
_FORM = re.compile(rf"lp_([0-9A-Za-z]{{{_RANDOM}}})([0-9A-Za-z]{{{_CHECK}}})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}")
_PATTERN = re.compile(r"\*|[A-Za-z0-9_][A-Za-z0-9._-]*/(?:\*|[A-Za-z0-9_][A-Za-z0-9._-]*)")


def make_token(pick: Callable[[str], str]) -> str:
    """A new token; `pick` draws one character, and must draw it from a secure source."""
    secret = "".join(pick(_DIGITS) for _ in range(_RANDOM))
    return f"lp_{secret}{_check_of(secret)}"


def is_well_formed(token: str) -> bool:
    """True when form and check agree; says nothing of whether the token exists."""
    match = _FORM.fullmatch(token)
    return match is not None and _check_of(match[1]) == match[2]


def hash_token(token: str) -> str:
    """What is stored. 178 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def checked_name(name: str) -> str:
    """Raises InvalidRequest unless a person can tell tokens apart by it."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest("A token's name is 1 to 64 letters, digits and ._@- .", field="name")
    return name


def checked_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Sorted, each once. Raises InvalidRequest for an unknown one, or for none."""
    given = sorted(set(scopes))
    unknown = [scope for scope in given if scope not in SCOPES]
    if unknown or not given:
        raise InvalidRequest(
            f"Scopes are {', '.join(SCOPES)}; given: {', '.join(given) or 'none'}.", field="scope"
        )
    return tuple(given)


def checked_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """Private repositories a token may see: `namespace/name`, `namespace/*` or `*`."""
    given = sorted(set(patterns))
    wrong = [pattern for pattern in given if not _PATTERN.fullmatch(pattern)]
    if wrong:
        raise InvalidRequest(f"{wrong[0]!r} names no repository, namespace/* or *.", field="sees")
    return tuple(given)


def _check_of(secret: str) -> str:
    number, characters = zlib.crc32(secret.encode()), []
    for _ in range(_CHECK):
        number, digit = divmod(number, len(_DIGITS))
        characters.append(_DIGITS[digit])
    return "".join(reversed(characters))
