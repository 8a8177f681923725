"""The repositories, tokens and moves that the local Hub knows."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from tests.hub.content import Blob, Content, make_blob
from tests.hub.repository import Repository

FIRST_COMMIT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Account:
    """Who a token speaks for, and the private or gated repositories open to it."""

    user: str
    may_read: set[str] = field(default_factory=set)


class Store:
    """Every repository by id. Changes come from the test's thread, reads from the server's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clock = FIRST_COMMIT
        self.repositories: Mapping[str, Repository] = MappingProxyType({})
        self.moved: Mapping[str, str] = MappingProxyType({})
        self.accounts: dict[str, Account] = {}
        # sha256 -> content: the CDN serves by content alone.
        self.lfs: dict[str, Blob] = {}

    def repository(self, repo_id: str) -> Repository:
        """The repository, or KeyError."""
        return self.repositories[repo_id]

    def add_commit(
        self,
        repo_id: str,
        files: Mapping[str, Content | None],
        *,
        branch: str = "main",
        title: str = "Upload files",
        date: datetime | None = None,
        plain: Collection[str] = (),
    ) -> str:
        """Commit `files` (None removes a path), making the repository where it is new.

        `plain` names the paths kept in git itself though the Hub would send them to LFS.
        """
        changes = {
            path: None
            if content is None
            else make_blob(path, content, lfs=False if path in plain else None)
            for path, content in files.items()
        }
        self.lfs.update({blob.sha256: blob for blob in changes.values() if blob and blob.lfs})
        with self._lock:
            self._clock += timedelta(minutes=1)
            moment = date or self._clock
            repository = self.repositories.get(repo_id)
            if repository is None:
                repository = Repository(repo_id, created_at=moment)
            commit = repository.commit(changes, branch=branch, title=title, date=moment)
            self.repositories = MappingProxyType({**self.repositories, repo_id: repository})
        return commit.sha

    def set_ref(self, repo_id: str, name: str, revision: str, *, kind: str) -> None:
        """Point a branch or a tag (`kind`) at a revision."""
        repository = self.repository(repo_id)
        commit = repository.find_commit(revision)
        if commit is None:
            raise KeyError(revision)
        names = repository.branches if kind == "branch" else repository.tags
        changed = MappingProxyType({**names, name: commit.sha})
        if kind == "branch":
            repository.branches = changed
        else:
            repository.tags = changed

    def delete(self, repo_id: str) -> None:
        with self._lock:
            kept = {key: value for key, value in self.repositories.items() if key != repo_id}
            self.repositories = MappingProxyType(kept)

    def move(self, old: str, new: str) -> None:
        """Rename a repository; the old id answers with a redirect from now on."""
        with self._lock:
            kept = dict(self.repositories)
            repository = kept.pop(old)
            repository.repo_id = new
            kept[new] = repository
            self.repositories = MappingProxyType(kept)
            self.moved = MappingProxyType({**self.moved, old: new})

    def add_redirect(self, old: str, new: str) -> None:
        """Let `old`, which never held files here, answer with a redirect to `new`."""
        with self._lock:
            self.moved = MappingProxyType({**self.moved, old: new})

    def add_token(self, token: str, *, user: str, may_read: Collection[str] = ()) -> None:
        self.accounts[token] = Account(user, set(may_read))
