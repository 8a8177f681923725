"""One repository at one commit: files, content ids, and how the Hub's JSON says so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from registry.domain.refs import CommitSha, Reference, RepoId, Source, is_commit_sha, is_repo_id
from registry.errors import HubError, RepositoryDisabled

_MAX_PATH = 1024
_HEX = frozenset("0123456789abcdef")
_LFS_ID_LENGTH = 64
_BLOB_ID_LENGTH = 40
ADAPTER_CONFIG = "adapter_config.json"
MAX_ADAPTERS = 32


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a snapshot.

    `content_id` is the sha256 of a file kept in LFS, else the git blob oid, in lower-case hex;
    None where a listing does not say. `size` in bytes, None likewise.
    """

    path: str
    size: int | None
    content_id: str | None

    @property
    def in_lfs(self) -> bool:
        """True where the Hub redirects to its content delivery host instead of answering."""
        return self.content_id is not None and len(self.content_id) == _LFS_ID_LENGTH


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit. `repo_id` is the id that the Hub answers with.

    `complete` is False where the endpoint offers no listing: a file that is not in `files` may
    """

    repo_id: RepoId
    commit_sha: CommitSha
    files: tuple[FileEntry, ...]
    private: bool = False
    gated: bool = False
    source: Source = Source.HUB
    complete: bool = True

    @cached_property
    def by_path(self) -> Mapping[str, FileEntry]:
        return {entry.path: entry for entry in self.files}

    def find(self, path: str) -> FileEntry | None:
        return self.by_path.get(path)

    def names_in(self, subfolder: str | None) -> frozenset[str]:
        """The names of the files that lie directly in a folder; None is the root."""
        prefix = prefix_of(subfolder)
        return frozenset(
            path.removeprefix(prefix)
            for path in self.by_path
            if path.startswith(prefix) and "/" not in path[len(prefix) :]
        )


def prefix_of(subfolder: str | None) -> str:
    return f"{subfolder}/" if subfolder else ""


def adapter_folders(snapshot: Snapshot) -> tuple[str | None, ...]:
    """The folders that hold an adapter_config.json, the root (None) first, at most 32.

    Paths that no reference could name are left out.
    """
    suffix = f"/{ADAPTER_CONFIG}"
    folders = sorted(
        path.removesuffix(suffix) for path in snapshot.by_path if path.endswith(suffix)
    )
    root = (None,) if ADAPTER_CONFIG in snapshot.by_path else ()
    return (*root, *folders)[:MAX_ADAPTERS]


def parse_info(document: object, reference: Reference) -> Snapshot | None:
    """The answer of `/api/models/{id}/revision/{rev}?blobs=true`.

    None when it lacks what makes it one (a commit and a list of files), as some mirrors' answers
    do. Raises HubError when another commit than the one asked for is answered,
    RepositoryDisabled.
    """
    if not isinstance(document, Mapping):
        return None
    sha, siblings = document.get("sha"), document.get("siblings")
    if not isinstance(sha, str) or not is_commit_sha(sha) or not isinstance(siblings, list):
        return None
    asked = reference.revision
    if asked is not None and is_commit_sha(asked) and asked != sha:
        raise HubError(f"The Hub answers with commit {sha} where {asked} was asked for.")
    if document.get("disabled") is True:
        raise RepositoryDisabled
    said_id = document.get("id")
    named = isinstance(said_id, str) and is_repo_id(said_id)
    return Snapshot(
        repo_id=RepoId(str(said_id) if named else reference.repo_id),
        commit_sha=CommitSha(sha),
        files=_entries(siblings, path_key="rfilename", id_key="blobId"),
        private=document.get("private") is True,
        gated=document.get("gated") not in (None, False),
    )


def parse_tree(document: object) -> tuple[FileEntry, ...]:
    """One page of `/api/models/{id}/tree/{sha}?recursive=true`; what is not a file is left out."""
    rows = document if isinstance(document, list) else []
    files = [row for row in rows if isinstance(row, Mapping) and row.get("type") == "file"]
    return _entries(files, path_key="path", id_key="oid")


def parse_json(body: bytes, what: str) -> object:
    """JSON of the Hub's API. Raises HubError for anything else, however deep or broken."""
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        raise HubError(f"The Hub's answer for {what} is not JSON.") from None
    return document


def clean_content_id(text: object) -> str | None:
    """A content id out of an ETag or a JSON value, None when it is neither kind of hash."""
    if not isinstance(text, str):
        return None
    bare = text.strip().removeprefix("W/").strip('"').lower()
    if len(bare) in (_LFS_ID_LENGTH, _BLOB_ID_LENGTH) and _HEX.issuperset(bare):
        return bare
    return None


def clean_size(value: object) -> int | None:
    """A file's size in bytes out of a JSON value or a header, None when it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**60:
        return None
    return value


def _entries(rows: Iterable[object], *, path_key: str, id_key: str) -> tuple[FileEntry, ...]:
    entries: dict[str, FileEntry] = {}
    for row in rows:
        if not isinstance(row, Mapping):
            continue
        path = row.get(path_key)
        if not isinstance(path, str) or not is_plain_path(path):
            continue
        lfs = row.get("lfs")
        linked = lfs if isinstance(lfs, Mapping) else {}
        content_id = clean_content_id(linked.get("sha256") or linked.get("oid"))
        size = clean_size(linked.get("size")) if content_id else None
        entries[path] = FileEntry(
            path,
            size if size is not None else clean_size(row.get("size")),
            content_id or clean_content_id(row.get(id_key)),
        )
    return tuple(entries.values())


def is_plain_path(path: str) -> bool:
    """True for a path that names a file inside the repository and can stand in a message."""
    return (
        0 < len(path) <= _MAX_PATH
        and path.isprintable()
        and "\\" not in path
        and not any(part in ("", ".", "..") for part in path.split("/"))
    )
