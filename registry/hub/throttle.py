"""When to ask the Hub: quota windows, `Retry-After`, and how long to keep trying."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Public by the library's documentation, yet not in the module's __all__.
from huggingface_hub.utils import parse_ratelimit_headers

# The Hub counts its API, its file resolvers and its pages apart.
API, RESOLVERS, PAGES = "api", "resolvers", "pages"

# Requests of others with the same token or address are counted too, so the last share of a window
# is left untouched rather than raced for.
_RESERVED_SHARE = 100
# Two reset times that differ by less belong to one window: the header counts whole seconds.
_SAME_WINDOW_SECONDS = 2.0
# A wait is stretched by up to this share, so that many readers do not come back at once.
_JITTER = 0.1


@dataclass(frozen=True)
class Timing:
    """Clock, sleep and chance, given from outside so that tests need not wait."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.SystemRandom().random


@dataclass(frozen=True)
class Patience:
    """How long one read may take, retries and waits for quota included. Seconds."""

    total: float = 60.0
    attempts: int = 6
    first_delay: float = 0.5
    longest_delay: float = 8.0

    def backoff(self, attempt: int, timing: Timing) -> float:
        """The wait after the failed `attempt` (0 for the first): doubled each time, jittered."""
        longest = min(self.longest_delay, self.first_delay * 2.0**attempt)
        return longest * (0.5 + 0.5 * timing.chance())


@dataclass
class _Window:
    remaining: int
    resets_at: float
    limit: int | None

    @property
    def reserve(self) -> int:
        return (self.limit or 0) // _RESERVED_SHARE


@dataclass(frozen=True)
class Left:
    """Requests that are left of `limit` (None: not told) for so many seconds more."""

    remaining: int
    limit: int | None
    seconds: float


@dataclass
class Quota:
    """What the `RateLimit` headers of earlier answers leave us, per bucket.

    Readers of one process that use one token share one; any thread may use it.
    """

    timing: Timing = field(default_factory=Timing)
    _windows: dict[str, _Window] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def wait(self, bucket: str) -> float:
        """Seconds to wait before the next request; 0 when there is quota or none is known."""
        window = self._windows.get(bucket)
        if window is None or window.remaining > window.reserve:
            return 0.0
        left = window.resets_at - self.timing.monotonic()
        return max(0.0, left) * (1.0 + _JITTER * self.timing.chance())

    def spend(self, bucket: str) -> None:
        """Count a request that is about to be sent; its answer will say what is left."""
        with self._lock:
            window = self._windows.get(bucket)
            if window is not None:
                window.remaining -= 1

    def left(self) -> dict[str, Left]:
        """By bucket, of the windows that are not over. A bucket that the Hub has told nothing of is
        unknown, and so is what a new window holds before its first answer."""
        now = self.timing.monotonic()
        found = {}
        with self._lock:
            for bucket in (API, RESOLVERS, PAGES):
                window = self._windows.get(bucket)
                if window is not None and window.resets_at > now:
                    remaining = max(0, window.remaining)
                    found[bucket] = Left(remaining, window.limit, window.resets_at - now)
        return found

    def note(self, headers: Mapping[str, str]) -> None:
        """Take over what an answer says of its bucket.

        Answers overtake each other: within one window the smallest figure is the newest.
        """
        info = parse_ratelimit_headers(headers)
        if info is None:
            return
        now = self.timing.monotonic()
        resets_at = now + info.reset_in_seconds
        with self._lock:
            known = self._windows.get(info.resource_type)
            if (
                known is None
                or known.resets_at <= now
                or resets_at > known.resets_at + _SAME_WINDOW_SECONDS
            ):
                self._windows[info.resource_type] = _Window(info.remaining, resets_at, info.limit)
            else:
                known.remaining = min(known.remaining, info.remaining)


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a 429 or 503 asks us to wait, None when it does not say.

    `Retry-After` as seconds or as an HTTP date; else the reset of a used-up quota window.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    if text:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            when = datetime.fromtimestamp(now, UTC)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return max(0.0, when.timestamp() - now)
    info = parse_ratelimit_headers(headers)
    if info is not None and info.remaining == 0:
        return float(info.reset_in_seconds)
    return None
