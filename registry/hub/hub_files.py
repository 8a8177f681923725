"""Bytes of Hub repositories: pinned snapshots, small files whole, weights by range."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from urllib.parse import quote

from yarl import URL

from registry.domain.refs import Reference, shown
from registry.errors import (
    FileInvalid,
    FileNotFound,
    HubError,
    HubMirrorLimited,
    RepositoryGated,
    RepositoryNotFound,
    TransientHubError,
)
from registry.hub.answers import Answer, RouteMissing
from registry.hub.bodies import Span
from registry.hub.client import HubClient
from registry.hub.links import next_link
from registry.hub.mirrors import file_of_answer, pin_by_probe, with_computed_id
from registry.hub.reader import Piece
from registry.hub.snapshots import FileEntry, Snapshot, parse_info, parse_json, parse_tree
from registry.hub.together import LARGE

_MAX_INFO = 64 * 1024 * 1024
_MAX_TREE_PAGES = 100
_KEPT_SNAPSHOTS = 256
# A snapshot of more files is not kept: a few such repositories would fill the memory.
_KEPT_FILES = 2000
_LFS_POINTER = b"version https://git-lfs"
_MAX_COMPUTED = 16 * 1024 * 1024
DEFAULT_REVISION = "main"


class HubFiles:
    """The `Files` of one Hub or mirror. Snapshots of explicit commits are asked for once."""

    def __init__(self, client: HubClient) -> None:
        self._client = client
        self._snapshots: OrderedDict[tuple[str, str], Snapshot] = OrderedDict()
        self._probed: OrderedDict[tuple[str, str, str], FileEntry | None] = OrderedDict()

    async def resolve(self, reference: Reference) -> Snapshot:
        revision = reference.revision or DEFAULT_REVISION
        kept = self._snapshots.get((reference.repo_id, revision))
        if kept is not None:
            return kept
        try:
            snapshot = await self._fetch_info(reference, revision)
        except (RouteMissing, RepositoryNotFound) as error:
            # Some mirrors have no API, and some call everything "not found" that they lack.
            snapshot = await pin_by_probe(self._client, reference, revision, error)
        self._keep(reference.repo_id, snapshot)
        return snapshot

    async def locate(self, snapshot: Snapshot, path: str) -> FileEntry | None:
        entry = snapshot.find(path)
        if entry is None and snapshot.complete:
            return None
        if entry is not None and entry.content_id is not None and entry.size is not None:
            return entry
        key = (snapshot.repo_id, snapshot.commit_sha, path)
        if key not in self._probed:
            self._probed[key] = await self._probe(snapshot, path)
            if len(self._probed) > _KEPT_FILES:
                self._probed.popitem(last=False)
        return self._probed[key]

    async def read_whole(self, snapshot: Snapshot, entry: FileEntry, limit: int) -> bytes:
        body = (await self._whole(snapshot, entry, limit)).body
        short = entry.size is not None and len(body) != entry.size
        if short and not body.startswith(_LFS_POINTER):
            raise TransientHubError(
                f"{len(body)} bytes where the list of files says {entry.size}: "
                f"{_what(snapshot, entry.path)}."
            )
        return body

    async def _whole(self, snapshot: Snapshot, entry: FileEntry, limit: int) -> Answer:
        what = _what(snapshot, entry.path)
        if entry.size is not None and entry.size > limit:
            raise FileInvalid(f"{entry.size} bytes for {what}; at most {limit} are read.")
        if not (entry.in_lfs or snapshot.private or snapshot.gated or not snapshot.complete):
            # One hop instead of two; the documented route of the Hub's file cache.
            route = f"/api/resolve-cache/models/{snapshot.repo_id}/{snapshot.commit_sha}/"
            url = self._client.url(route + quote(entry.path))
            try:
                return await self._pinned(snapshot, url, what, limit)
            except (FileNotFound, RepositoryNotFound, RouteMissing):
                # Mirrors do not offer it; `resolve` has the last word.
                pass
        return await self._pinned(snapshot, self._resolve_url(snapshot, entry), what, limit)

    async def read_span(self, snapshot: Snapshot, entry: FileEntry, start: int, end: int) -> Piece:
        if start >= end or entry.size == 0:
            return Piece(b"", entry.size)
        url = self._resolve_url(snapshot, entry)
        answer = await self._pinned(
            snapshot, url, _what(snapshot, entry.path), end - start, Span(start, end)
        )
        return Piece(b"" if answer.status == 416 else answer.body, answer.total)

    def _resolve_url(self, snapshot: Snapshot, entry: FileEntry) -> URL:
        return resolve_url(self._client, snapshot.repo_id, snapshot.commit_sha, entry.path)

    async def _pinned(
        self, snapshot: Snapshot, url: URL, what: str, limit: int, span: Span | None = None
    ) -> Answer:
        """GET, and make sure that the answer is of the snapshot's commit."""
        try:
            answer = await self._client.get(url, what, limit=limit, span=span)
        except RepositoryNotFound:
            # The repository was found a moment ago: this is how mirrors call a missing file.
            if snapshot.private:
                raise
            raise FileNotFound(f"No such file: {what}.") from None
        said = answer.seen.get("x-repo-commit")
        if said is not None and said != snapshot.commit_sha:
            raise HubError(f"The answer is of commit {shown(said)}, not of the one asked: {what}.")
        return answer

    async def _fetch_info(self, reference: Reference, revision: str) -> Snapshot:
        what = _asked(reference)
        url = self._client.url(
            f"/api/models/{reference.repo_id}/revision/{quote(revision, safe='')}?blobs=true"
        )
        answer = await self._client.get(url, what, limit=_MAX_INFO)
        try:
            if len(answer.body) > LARGE:
                document = await asyncio.to_thread(parse_json, answer.body, what)
            else:
                document = parse_json(answer.body, what)
        except HubError:
            # A page for people instead of the API, as a mirror's front page.
            raise RouteMissing(f"The endpoint's answer is no JSON: {what}.") from None
        snapshot = parse_info(document, reference)
        if snapshot is None:
            raise RouteMissing(f"The endpoint's answer lacks commit or files: {what}.")
        if any(entry.content_id is None for entry in snapshot.files):
            return await self._with_tree(snapshot)
        return snapshot

    async def _with_tree(self, snapshot: Snapshot) -> Snapshot:
        """Sizes and content ids from the tree route, where a mirror drops them from the info."""
        path = f"/api/models/{snapshot.repo_id}/tree/{snapshot.commit_sha}?recursive=true"
        url: URL | None = self._client.url(path)
        entries: list[FileEntry] = []
        what = _what(snapshot, "the list of files")
        for _ in range(_MAX_TREE_PAGES):
            if url is None:
                break
            try:
                answer = await self._client.get(url, what, limit=_MAX_INFO)
                entries.extend(parse_tree(parse_json(answer.body, what)))
            except (HubMirrorLimited, FileNotFound, RepositoryNotFound):
                # Each file is asked for by itself then, see `locate`.
                return snapshot
            url = next_link(self._client, answer)
        if not entries:
            return snapshot
        return Snapshot(
            repo_id=snapshot.repo_id,
            commit_sha=snapshot.commit_sha,
            files=tuple(entries),
            private=snapshot.private,
            gated=snapshot.gated,
        )

    async def _probe(self, snapshot: Snapshot, path: str) -> FileEntry | None:
        """One file's size and content id from the headers of `resolve`."""
        what = _what(snapshot, path)
        url = resolve_url(self._client, snapshot.repo_id, snapshot.commit_sha, path)
        try:
            answer = await self._client.head(url, what)
        except RepositoryGated:
            raise
        except (FileNotFound, RepositoryNotFound, RouteMissing):
            return None
        entry = file_of_answer(answer, path)
        if entry.content_id is not None or (entry.size or 0) > _MAX_COMPUTED:
            return entry
        if path.endswith((".safetensors", ".bin")):
            return entry
        return with_computed_id(entry, await self.read_whole(snapshot, entry, _MAX_COMPUTED))

    def _keep(self, asked_id: str, snapshot: Snapshot) -> None:
        if len(snapshot.files) > _KEPT_FILES:
            return
        for repo_id in {asked_id, snapshot.repo_id}:
            self._snapshots[(repo_id, snapshot.commit_sha)] = snapshot
        while len(self._snapshots) > _KEPT_SNAPSHOTS:
            self._snapshots.popitem(last=False)


def resolve_url(client: HubClient, repo_id: str, revision: str, path: str) -> URL:
    """`/{id}/resolve/{revision}/{path}`; a slash in the revision stays inside its segment."""
    return client.url(f"/{repo_id}/resolve/{quote(revision, safe='')}/{quote(path)}")


def _what(snapshot: Snapshot, path: str) -> str:
    return f"{snapshot.repo_id} {shown(path)} at {snapshot.commit_sha[:12]}"


def _asked(reference: Reference) -> str:
    return shown(str(reference)).strip("'")
