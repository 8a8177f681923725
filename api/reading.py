"""Records for readers: one lookup, kept in memory for a moment, and on while the database is away.

Records are append-only, so what is kept is never wrong, only older than it could be.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from registry.db.records import StoredRecord, find_record
from registry.db.session import Database
from registry.domain.refs import Reference
from registry.errors import DatabaseUnavailable

_KEPT = 4096
_FRESH_SECONDS = 2.0


@dataclass(frozen=True)
class Lookup:
    """What a reader asks for."""

    repo_id: str
    revision: str | None = None
    subfolder: str | None = None
    base_repo_id: str | None = None
    base_revision: str | None = None

    @classmethod
    def of(cls, adapter: Reference, base: Reference | None) -> Lookup:
        return cls(
            adapter.repo_id,
            adapter.revision,
            adapter.subfolder,
            base.repo_id if base else None,
            base.revision if base else None,
        )


@dataclass(frozen=True)
class Found:
    """A record and when it was read. `from_memory` while the database does not answer."""

    stored: StoredRecord
    read_at: float
    from_memory: bool = False


class RecordReader:
    """Finds records; safe to share between threads."""

    def __init__(
        self,
        database: Database,
        *,
        kept: int = _KEPT,
        fresh_seconds: float = _FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._kept = kept
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._found: OrderedDict[Lookup, Found] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, lookup: Lookup) -> Found | None:
        """What memory holds, if it is fresh. Never touches the database."""
        with self._lock:
            found = self._found.get(lookup)
            if found is None or self._clock() - found.read_at > self._fresh_seconds:
                return None
            self._found.move_to_end(lookup)
            return found

    def find(self, lookup: Lookup) -> Found | None:
        """The current record, None where there is none.

        While the database is away, what memory holds, however old; raises DatabaseUnavailable
        when it holds nothing.
        """
        try:
            with self._database.reading() as connection:
                stored = find_record(
                    connection,
                    repo_id=lookup.repo_id,
                    revision=lookup.revision,
                    subfolder=lookup.subfolder,
                    base_repo_id=lookup.base_repo_id,
                    base_revision=lookup.base_revision,
                )
        except DatabaseUnavailable:
            with self._lock:
                kept = self._found.get(lookup)
            if kept is None:
                raise
            return replace(kept, from_memory=True)
        with self._lock:
            if stored is None:
                self._found.pop(lookup, None)
                return None
            found = self._found[lookup] = Found(stored, self._clock())
            self._found.move_to_end(lookup)
            while len(self._found) > self._kept:
                self._found.popitem(last=False)
        return found

    def expire(self, repo_id: str) -> None:
        """What memory holds of this adapter is not fresh any more: somebody was told that work on
        it is over, and reads on. It is kept for while the database is away."""
        with self._lock:
            for lookup, found in list(self._found.items()):
                if lookup.repo_id == repo_id:
                    self._found[lookup] = replace(found, read_at=-math.inf)

    def forget(self) -> None:
        """Drop everything: a repository became private, and nobody may see it from memory."""
        with self._lock:
            self._found.clear()
