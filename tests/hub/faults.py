"""Faults that a test injects into the local Hub's answers, per route pattern."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime


@dataclass(frozen=True)
class Answer:
    """Answer with this status instead of the true answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"injected fault"


@dataclass(frozen=True)
class Delay:
    """Answer truly, but only after `seconds`."""

    seconds: float


@dataclass(frozen=True)
class Drop:
    """Close the connection before a byte of the answer is sent."""


@dataclass(frozen=True)
class Truncate:
    """Promise the whole body, send `at` bytes of it, close the connection."""

    at: int


@dataclass(frozen=True)
class WholeFile:
    """Ignore the Range header: 200 and the whole file."""


@dataclass(frozen=True)
class WrongRange:
    """Answer a range with a Content-Range (and bytes) that begins `shift` bytes later."""

    shift: int = 1


@dataclass(frozen=True)
class Endless:
    """Answer 200 without a length and send `chunk` every `pause` seconds, for ever."""

    chunk: bytes = b" "
    pause: float = 0.05


Fault = Answer | Delay | Drop | Truncate | WholeFile | WrongRange | Endless


def rate_limited(retry_after: int | datetime | None = None, *, bucket: str | None = None) -> Answer:
    """429, with Retry-After as an integer, as an HTTP date or not at all.

    With `bucket` the quota header says that nothing is left of it.
    """
    headers: dict[str, str] = {}
    if isinstance(retry_after, datetime):
        headers["Retry-After"] = format_datetime(retry_after.astimezone(UTC), usegmt=True)
    elif retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if bucket is not None:
        seconds = retry_after if isinstance(retry_after, int) else 1
        headers["RateLimit"] = f'"{bucket}";r=0;t={seconds}'
    return Answer(429, headers, b'{"error":"We had to rate limit you"}')


@dataclass
class Rule:
    """A fault, the requests it hits and how often it still does."""

    fault: Fault
    path: re.Pattern[str]
    method: str | None = None
    host: str | None = None
    times: int | None = None
    hits: int = 0

    def matches(self, method: str, path: str, host: str) -> bool:
        return (
            (self.times is None or self.hits < self.times)
            and (self.method is None or self.method == method)
            and (self.host is None or self.host == host)
            and self.path.search(path) is not None
        )


class Faults:
    """The rules in force. The first that matches a request decides, and counts the hit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def inject(
        self,
        fault: Fault,
        *,
        path: str = "",
        method: str | None = None,
        host: str | None = None,
        times: int | None = None,
    ) -> Rule:
        """Put a fault in force. `path` is a regular expression searched in the request's path,
        `host` is "hub" or "cdn", `times` how many requests it hits before it wears off."""
        rule = Rule(fault, re.compile(path), method, host, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def take(self, method: str, path: str, host: str) -> Fault | None:
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules:
                if rule.matches(method, path, host):
                    rule.hits += 1
                    return rule.fault
        return None
