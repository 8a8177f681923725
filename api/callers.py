"""Who asks, what they may do, and which private repositories they may see."""

from __future__ import annotations

from dataclasses import dataclass

from registry.db.records import StoredRecord


@dataclass(frozen=True)
class Caller:
    """Nobody in particular unless a token says otherwise.

    `visible` holds the operator's grants: a repository id, a namespace followed by `/*`, or `*`.
    """

    token_id: int | None = None
    name: str = ""
    scopes: frozenset[str] = frozenset()
    visible: frozenset[str] = frozenset()

    def sees(self, found: StoredRecord) -> bool:
        """True for public records, and for private ones that every repository's grant covers."""
        if not found.private:
            return True
        record = found.record
        names = [record.adapter.repo_id] + ([record.base.repo_id] if record.base else [])
        # One of the two may be public; which one is private is not worth another read, and a
        # grant for the adapter alone must not disclose a private base.
        return all(self._granted(name) for name in names)

    def _granted(self, repo_id: str) -> bool:
        namespace = repo_id.split("/", 1)[0]
        return bool(self.visible & {"*", repo_id, f"{namespace}/*"})


ANYONE = Caller()
