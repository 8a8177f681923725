"""What the local Hub was asked and what it sent, for assertions and for the bench's figures."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class LoggedRequest:
    """One answered request. `host` is "hub" or "cdn"; `bytes_sent` counts the body alone."""

    method: str
    path: str
    query: str
    host: str
    status: int
    bytes_sent: int
    range: str | None
    authorized: bool


class RequestLog:
    """Requests in the order in which their answers ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[LoggedRequest] = []

    def add(self, entry: LoggedRequest) -> None:
        with self._lock:
            self._entries.append(entry)

    def reset(self) -> None:
        with self._lock:
            self._entries.clear()

    @property
    def entries(self) -> tuple[LoggedRequest, ...]:
        with self._lock:
            return tuple(self._entries)

    def select(
        self,
        *,
        host: str | None = None,
        method: str | None = None,
        path: str = "",
        status: int | None = None,
    ) -> list[LoggedRequest]:
        """The requests that fit every given filter; `path` is a regular expression."""
        pattern = re.compile(path)
        return [
            entry
            for entry in self.entries
            if (host is None or entry.host == host)
            and (method is None or entry.method == method)
            and (status is None or entry.status == status)
            and pattern.search(entry.path)
        ]

    def count(
        self,
        *,
        host: str | None = None,
        method: str | None = None,
        path: str = "",
        status: int | None = None,
    ) -> int:
        return len(self.select(host=host, method=method, path=path, status=status))

    def bytes_sent(self, *, host: str | None = None, path: str = "") -> int:
        return sum(entry.bytes_sent for entry in self.select(host=host, path=path))
