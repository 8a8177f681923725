"""The Hub's request quotas: fixed windows per bucket, told in headers on every answer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Quotas:
    """How many requests each bucket allows in one window of `window` seconds.

    The defaults never run out in a test that does not want them to. The Hub's own for an
    anonymous address: `Quotas(api=500, resolvers=3000)`.
    """

    api: int = 1_000_000
    resolvers: int = 1_000_000
    window: int = 300
    _used: dict[str, int] = field(default_factory=dict, repr=False)
    _began: float = field(default=0.0, repr=False)

    def spend(self, bucket: str) -> tuple[bool, dict[str, str]]:
        """Count one request. Returns whether it was within the quota, and the headers."""
        now = time.monotonic()
        if now - self._began >= self.window:
            self._began = now
            self._used = {}
        limit = self.api if bucket == "api" else self.resolvers
        used = self._used.get(bucket, 0) + 1
        self._used[bucket] = used
        left = max(limit - used, 0)
        reset = max(1, round(self.window - (now - self._began)))
        headers = {
            "RateLimit": f'"{bucket}";r={left};t={reset}',
            "RateLimit-Policy": f'"fixed window";"{bucket}";q={limit};w={self.window}',
        }
        return used <= limit, headers
