"""What every reader of checkpoints offers, and what it must bring along to be one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.refs import CommitSha, Reference, RepoId
from registry.hub.snapshots import FileEntry, Snapshot


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file, and the whole file's size where the answer tells it."""

    data: bytes
    total: int | None


class Files(Protocol):
    """Bytes of one source's snapshots: the part of reading that differs between sources."""

    async def resolve(self, reference: Reference) -> Snapshot:
        """Pin a reference to a commit. Raises the access errors of `registry.errors`."""
        ...

    async def locate(self, snapshot: Snapshot, path: str) -> FileEntry | None:
        """The file with its content id, None when the snapshot has no such file."""
        ...

    async def read_whole(self, snapshot: Snapshot, entry: FileEntry, limit: int) -> bytes:
        """The whole file. Raises FileInvalid when it is longer than `limit` bytes."""
        ...

    async def read_span(self, snapshot: Snapshot, entry: FileEntry, start: int, end: int) -> Piece:
        """Bytes `start` up to, not including, `end`; fewer where the file ends before."""
        ...


@dataclass(frozen=True)
class ListedRepository:
    """One row of a listing. `page` resumes a listing at the page that held this row."""

    repo_id: RepoId
    commit_sha: CommitSha | None
    last_modified: str | None
    private: bool
    gated: bool
    page: str | None = None


class Reader(Protocol):
    """Reads checkpoints without their weights; every read is pinned to one commit.

    Raises only classes of `registry.errors`: access and network faults, NotAPeftAdapter and
    ForeignFormat where a folder holds no adapter_config.json. What is wrong with a file of a
    checkpoint that was found stands in `facts.problems`, with what could be read kept.
    """

    async def resolve(self, reference: Reference) -> Snapshot:
        """The commit behind a reference and its files."""
        ...

    async def find_adapters(self, reference: Reference) -> tuple[str | None, ...]:
        """The folders that hold an adapter, the root (None) first, at most 32."""
        ...

    async def read_adapter(self, reference: Reference) -> AdapterFacts:
        """Everything known of the adapter in the reference's folder."""
        ...

    async def read_base(self, reference: Reference) -> BaseFacts:
        """Everything known of a base model; a sub-folder of the reference is not looked at."""
        ...

    async def read_file(
        self, snapshot: Snapshot, path: str, start: int = 0, end: int | None = None
    ) -> bytes:
        """Bytes `start` up to, not including, `end`; without `end` to the file's end.

        At most 64 MiB. Raises FileNotFound, FileInvalid for more.
        """
        ...

    def list_repositories(
        self,
        *,
        author: str | None = None,
        base: str | None = None,
        tag: str | None = "peft",
        limit: int | None = None,
        since: str | None = None,
        page: str | None = None,
    ) -> AsyncIterator[ListedRepository]:
        """Repositories, most recently modified first; used as `async for`.

        `since` (a `last_modified`) ends it at what is not newer; `page` goes on at a page that an
        earlier listing had reached.
        """
        ...
