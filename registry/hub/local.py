"""`LocalReader`: checkpoints in local folders, through the same interface as the Hub's."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.refs import CommitSha, Reference, RepoId, Source, shown
from registry.domain.tensors import LENGTH_BYTES, header_length
from registry.errors import FileInvalid, HeaderInvalid, InvalidRequest
from registry.errors import RepositoryNotFound as FolderNotFound
from registry.hub import checkpoints
from registry.hub.local_ids import compute_commit, identify_file, open_regular, read_lfs_rules
from registry.hub.reader import ListedRepository, Piece
from registry.hub.slices import read_slice
from registry.hub.snapshots import (
    ADAPTER_CONFIG,
    FileEntry,
    Snapshot,
    is_plain_path,
    prefix_of,
)
from registry.hub.tokenizers import TOKENIZER_FILES, TokenizerCache, Tokenizers

_MAX_FILES = 20_000
_MAX_DEPTH = 6
_MAX_DESCRIBED = 64 * 1024 * 1024


@dataclass
class LocalFiles:
    """The `Files` of this machine's folders.

    Symbolic links are followed wherever they lead, since a snapshot folder of huggingface_hub's
    cache consists of them; what is not a regular file in the end is not there.
    """

    _ids: dict[tuple[str, int, int], str] = field(default_factory=dict)

    async def resolve(self, reference: Reference) -> Snapshot:
        """The folder as it is now. `commit_sha` covers the files of the reference's sub-folder.

        Raises RepositoryNotFound where there is no such folder or it cannot be listed.
        """
        return await asyncio.to_thread(self._resolve, reference)

    async def locate(self, snapshot: Snapshot, path: str) -> FileEntry | None:
        entry = snapshot.find(path)
        if entry is None or entry.content_id is not None:
            return entry
        return await asyncio.to_thread(self._identify, snapshot, entry)

    async def read_whole(self, snapshot: Snapshot, entry: FileEntry, limit: int) -> bytes:
        piece = await self.read_span(snapshot, entry, 0, limit + 1)
        if len(piece.data) > limit:
            raise FileInvalid(
                f"{piece.total} bytes of {shown(entry.path)}; at most {limit} are read."
            )
        return piece.data

    async def read_span(self, snapshot: Snapshot, entry: FileEntry, start: int, end: int) -> Piece:
        path = Path(snapshot.repo_id) / entry.path
        return await asyncio.to_thread(_read_piece, path, start, end)

    def _resolve(self, reference: Reference) -> Snapshot:
        folder = os.path.abspath(reference.repo_id)
        try:
            entries = tuple(_walk(Path(folder)))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise FolderNotFound(f"The folder {shown(folder)} cannot be read: {reason}.") from None
        bare = Snapshot(RepoId(folder), CommitSha(""), entries, source=Source.LOCAL)
        commit = self._compute_commit(bare, reference.subfolder)
        return Snapshot(RepoId(folder), commit, entries, source=Source.LOCAL)

    def _compute_commit(self, snapshot: Snapshot, subfolder: str | None) -> CommitSha:
        prefix = prefix_of(subfolder)
        described = {ADAPTER_CONFIG, checkpoints.BASE_CONFIG, checkpoints.GENERATION_CONFIG}
        described |= set(TOKENIZER_FILES)
        parts: dict[str, bytes] = {}
        for name in sorted(snapshot.names_in(subfolder)):
            entry = snapshot.by_path[prefix + name]
            path = Path(snapshot.repo_id) / entry.path
            if name in described or name.endswith(".index.json"):
                parts[name] = _read_piece(path, 0, _MAX_DESCRIBED).data
            elif name.endswith(".safetensors"):
                parts[name] = _read_header(path)
            elif name in ("adapter_model.bin", "pytorch_model.bin"):
                # A pickle has no header to stand for it; its content does.
                parts[name] = (self._identify(snapshot, entry).content_id or "").encode()
        return compute_commit(parts)

    def _identify(self, snapshot: Snapshot, entry: FileEntry) -> FileEntry:
        path = Path(snapshot.repo_id) / entry.path
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in self._ids:
            rules = read_lfs_rules(Path(snapshot.repo_id))
            self._ids[key] = identify_file(path, entry.path, status.st_size, rules)
        return FileEntry(entry.path, status.st_size, self._ids[key])


class LocalReader:
    """Reads `Source.LOCAL` references. `repo_id` is the folder's absolute path."""

    def __init__(self, *, tokenizers: TokenizerCache | None = None) -> None:
        self._files = LocalFiles()
        self._tokenizers = Tokenizers(tokenizers)

    async def resolve(self, reference: Reference) -> Snapshot:
        return await self._files.resolve(_on_disk(reference))

    async def find_adapters(self, reference: Reference) -> tuple[str | None, ...]:
        return await checkpoints.find_adapters(self._files, _on_disk(reference))

    async def read_adapter(self, reference: Reference) -> AdapterFacts:
        return await checkpoints.read_adapter(self._files, self._tokenizers, _on_disk(reference))

    async def read_base(self, reference: Reference) -> BaseFacts:
        return await checkpoints.read_base(self._files, self._tokenizers, _on_disk(reference))

    async def read_file(
        self, snapshot: Snapshot, path: str, start: int = 0, end: int | None = None
    ) -> bytes:
        return await read_slice(self._files, snapshot, path, start, end)

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
        """Folders have no list of repositories. Raises InvalidRequest."""
        raise InvalidRequest("Local folders cannot be listed; name one.")


def _on_disk(reference: Reference) -> Reference:
    if reference.source is not Source.LOCAL:
        raise InvalidRequest(f"{reference} is not a local folder.")
    return reference


def _walk(root: Path) -> Iterator[FileEntry]:
    """The regular files below a folder, nearest first.

    Hidden folders, unreadable sub-folders and what lies very deep or beyond the cap are left out.
    """
    waiting = deque([(root, _scan(root), 0)])
    count = 0
    while waiting and count < _MAX_FILES:
        folder, items, depth = waiting.popleft()
        for item in items:
            if item.is_dir():
                if not item.name.startswith(".") and depth < _MAX_DEPTH:
                    with suppress(OSError):
                        waiting.append((folder / item.name, _scan(folder / item.name), depth + 1))
                continue
            path = Path(item.path).relative_to(root).as_posix()
            if item.is_file() and is_plain_path(path):
                count += 1
                yield FileEntry(path, item.stat().st_size, None)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as items:
        return sorted(items, key=lambda item: item.name)


def _read_piece(path: Path, start: int, end: int) -> Piece:
    with open_regular(path) as file:
        file.seek(start)
        return Piece(file.read(max(0, end - start)), os.fstat(file.fileno()).st_size)


def _read_header(path: Path) -> bytes:
    """The header's bytes; of a file that is no safetensors, its first bytes."""
    prefix = _read_piece(path, 0, LENGTH_BYTES).data
    try:
        return _read_piece(path, 0, LENGTH_BYTES + header_length(prefix)).data
    except HeaderInvalid:
        return _read_piece(path, 0, 1024).data
