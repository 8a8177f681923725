"""`resolve`, the resolve cache and the CDN: how the Hub sends a file or a part of it."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from tests.hub.access import (
    Asked,
    Refusal,
    check_files_open,
    find_commit,
    find_repository,
    no_entry,
)
from tests.hub.content import Blob
from tests.hub.faults import WholeFile, WrongRange
from tests.hub.repository import Commit

CHUNK = 256 * 1024
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class FileAnswer:
    """A file's bytes from `start` to `end`, sent in chunks and never held whole in memory."""

    def __init__(
        self, blob: Blob, headers: dict[str, str], status: int, start: int, end: int
    ) -> None:
        self.blob, self.status, self.start, self.end = blob, status, start, end
        self.headers = {**headers, "Content-Length": str(end - start)}
        self.headers.setdefault("Content-Type", "application/octet-stream")

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        raw = [(k.lower().encode(), v.encode("latin-1")) for k, v in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        position = self.end if scope["method"] == "HEAD" else self.start
        while self.end - position > CHUNK:
            body = self.blob.read(position, position + CHUNK)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            position += CHUNK
        await send({"type": "http.response.body", "body": self.blob.read(position, self.end)})


async def resolve(request: Request) -> FileAnswer | Response:
    """`/{repo}/resolve/{revision}/{path}`: where the file is, or the file itself."""
    hub = request.app.state.hub
    asked, commit, path, blob = _find_file(request)
    headers = _commit_headers(request, commit)
    if not hub.profile.redirects:
        return _serve(request, blob, headers)
    linked = {
        **headers,
        "X-Linked-Etag": f'"{blob.content_id}"',
        "X-Linked-Size": str(blob.size),
        "Accept-Ranges": "bytes",
    }
    if blob.lfs:
        location = cdn_location(hub.cdn_url, path, blob)
        return _redirect(302, location, linked)
    if asked.served_directly or blob.size == 0 or not hub.profile.api:
        return _serve(request, blob, headers)
    where = f"/api/resolve-cache/models/{asked.repository.repo_id}/{commit.sha}/{quote(path)}"
    location = f"{where}?{quote(request.url.path, safe='')}=&etag=%22{blob.oid}%22"
    return _redirect(307, location, linked)


async def resolve_cache(request: Request) -> FileAnswer | Response:
    """`/api/resolve-cache/models/{repo}/{sha}/{path}`: the file itself; LFS is at the CDN."""
    _, commit, path, blob = _find_file(request)
    headers = _commit_headers(request, commit)
    hub = request.app.state.hub
    if blob.lfs and hub.profile.redirects:
        linked = {"X-Linked-Etag": f'"{blob.content_id}"', "X-Linked-Size": str(blob.size)}
        location = cdn_location(hub.cdn_url, path, blob)
        return _redirect(302, location, {**headers, **linked, "Accept-Ranges": "bytes"})
    return _serve(request, blob, headers)


async def cdn(request: Request) -> FileAnswer | Response:
    """`/cdn/{sha256}`: an LFS file by its content, for who holds the signed address."""
    sha256 = request.path_params["sha256"]
    if request.query_params.get("Signature") != sign(sha256):
        return PlainTextResponse("AccessDenied", 403)
    blob = request.app.state.hub.store.lfs.get(sha256)
    return _serve(request, blob, {}) if blob else PlainTextResponse("NoSuchKey", 404)


def cdn_location(cdn_url: str, path: str, blob: Blob) -> str:
    name = quote(path.rsplit("/", 1)[-1], safe="")
    return f"{cdn_url}/cdn/{blob.sha256}?filename={name}&Signature={sign(blob.sha256)}"


def sign(sha256: str) -> str:
    """What makes a CDN address valid; a client that loses the query is refused."""
    return hashlib.sha256(f"local hub {sha256}".encode()).hexdigest()[:32]


def _find_file(request: Request) -> tuple[Asked, Commit, str, Blob]:
    asked = find_repository(request, request.app.state.hub.store)
    check_files_open(asked)
    commit = find_commit(asked, request.path_params["revision"])
    path = unquote(request.path_params["path"])
    blob = commit.files.get(path)
    if blob is None:
        raise no_entry(commit)
    return asked, commit, path, blob


def _commit_headers(request: Request, commit: Commit) -> dict[str, str]:
    if not request.app.state.hub.profile.commit_header:
        return {}
    return {"X-Repo-Commit": commit.sha}


def _redirect(status: int, location: str, headers: dict[str, str]) -> Response:
    return PlainTextResponse(
        f"Redirecting to {location}", status, headers={**headers, "Location": location}
    )


def _serve(request: Request, blob: Blob, headers: dict[str, str]) -> FileAnswer:
    """The whole file, or the range asked for."""
    hub = request.app.state.hub
    fault = request.scope.get("hub.fault")
    headers = {**headers, "ETag": f'"{blob.content_id}"'}
    asked_range = request.headers.get("range")
    if not hub.profile.ranges:
        return FileAnswer(blob, headers, 200, 0, blob.size)
    headers["Accept-Ranges"] = "bytes"
    if asked_range is None or isinstance(fault, WholeFile):
        return FileAnswer(blob, headers, 200, 0, blob.size)
    start, end = parse_range(asked_range, blob.size)
    if isinstance(fault, WrongRange):
        start, end = start + fault.shift, min(end + fault.shift, blob.size)
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
    return FileAnswer(blob, headers, 206, start, end)


def parse_range(value: str, size: int) -> tuple[int, int]:
    """A Range header as (start, end), end excluded, or the refusal 416."""
    match = RANGE.fullmatch(value)
    if match is not None:
        first, last = match.groups()
        if first and int(first) < size and (not last or int(last) >= int(first)):
            return int(first), min(int(last) + 1, size) if last else size
        if not first and last and int(last) > 0 and size > 0:
            return max(size - int(last), 0), size
    raise Refusal(416, None, "Range Not Satisfiable", {"Content-Range": f"bytes */{size}"})
