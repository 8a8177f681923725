"""`/api/models/{repo}` and what hangs below it, and `/api/whoami-v2`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from urllib.parse import parse_qsl, unquote, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.hub.access import (
    Refusal,
    check_files_open,
    find_commit,
    find_repository,
    identify,
    no_entry,
)
from tests.hub.content import Blob
from tests.hub.repository import Commit, Repository, hub_time

TREE_PAGE, EXPANDED_TREE_PAGE, COMMIT_PAGE = 1000, 50, 50


async def model_info(request: Request) -> Response:
    """`/api/models/{repo}[/revision/{revision}]`."""
    asked = find_repository(request, request.app.state.hub.store)
    commit = find_commit(asked, request.path_params.get("revision", "main"))
    expand = read_expand(request)
    blobs = request.query_params.get("blobs", "").lower() in {"true", "1"}
    whole = describe_model(asked.repository, commit, blobs=blobs)
    if expand:
        whole = {key: whole[key] for key in ("_id", "id", *expand) if key in whole}
    return JSONResponse(whole)


def describe_model(
    repository: Repository, commit: Commit | None, *, blobs: bool = False
) -> dict[str, object]:
    """Everything the Hub says of a model, before a caller's choice of fields."""
    return {
        "_id": hashlib.sha256(repository.repo_id.encode()).hexdigest()[:24],
        "id": repository.repo_id,
        "modelId": repository.repo_id,
        "author": repository.author,
        "sha": commit.sha if commit else None,
        "lastModified": hub_time(commit.date if commit else repository.created_at),
        "createdAt": hub_time(repository.created_at),
        "private": repository.private,
        "gated": repository.gated,
        "disabled": repository.disabled,
        "downloads": repository.downloads,
        "likes": repository.likes,
        "trendingScore": 0,
        "tags": list(repository.all_tags),
        "pipeline_tag": repository.pipeline_tag,
        "library_name": repository.library_name,
        "usedStorage": sum(blob.size for blob in commit.files.values()) if commit else 0,
        "spaces": [],
        "siblings": _siblings(commit, blobs) if commit else [],
    }


def read_expand(request: Request) -> list[str]:
    query = request.query_params
    return query.getlist("expand") + query.getlist("expand[]")


def _siblings(commit: Commit, blobs: bool) -> list[dict[str, object]]:
    if not blobs:
        return [{"rfilename": path} for path in sorted(commit.files)]
    return [
        {"rfilename": path, "size": blob.size, "blobId": blob.oid}
        | ({"lfs": _lfs(blob) | {"sha256": blob.sha256}} if blob.lfs else {})
        for path, blob in sorted(commit.files.items())
    ]


def _lfs(blob: Blob) -> dict[str, object]:
    return {"size": blob.size, "pointerSize": len(blob.pointer)}


async def tree(request: Request) -> Response:
    """`/api/models/{repo}/tree/{revision}[/{path}]`, in Link pages."""
    asked = find_repository(request, request.app.state.hub.store)
    commit = find_commit(asked, request.path_params["revision"])
    folder = unquote(request.path_params.get("path", "")).strip("/")
    if folder and folder not in commit.folders:
        raise no_entry(commit)
    query = request.query_params
    recursive = query.get("recursive", "").lower() in {"true", "1"}
    expand = query.get("expand", "").lower() in {"true", "1"}
    prefix = f"{folder}/" if folder else ""
    below = [
        path
        for path in sorted({*commit.files, *commit.folders})
        if path.startswith(prefix) and (recursive or "/" not in path[len(prefix) :])
    ]
    most = EXPANDED_TREE_PAGE if expand else TREE_PAGE
    start, size = _read_page(request, most)
    entries = [_entry(asked.repository, commit, path, expand) for path in below[start:][:size]]
    return JSONResponse(entries, headers=next_page(request, start + size, len(below)))


async def paths_info(request: Request) -> Response:
    """`POST /api/models/{repo}/paths-info/{revision}`: the named paths, unknown ones left out."""
    asked = find_repository(request, request.app.state.hub.store)
    commit = find_commit(asked, request.path_params["revision"])
    form = parse_qsl((await request.body()).decode(), keep_blank_values=True)
    expand = any(key == "expand" and value.lower() == "true" for key, value in form)
    paths = [value for key, value in form if key == "paths"]
    known = [path for path in paths if path in commit.files or path in commit.folders]
    return JSONResponse([_entry(asked.repository, commit, path, expand) for path in known])


def _entry(repository: Repository, commit: Commit, path: str, expand: bool) -> dict[str, object]:
    blob = commit.files.get(path)
    if blob is None:
        return {"type": "directory", "oid": commit.folders[path], "size": 0, "path": path}
    entry: dict[str, object] = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if blob.lfs:
        entry["lfs"] = _lfs(blob) | {"oid": blob.sha256}
    if expand:
        last = repository.commits[commit.changed_by[path]]
        entry["lastCommit"] = {"id": last.sha, "title": last.title, "date": hub_time(last.date)}
        safe = {"status": "safe"}
        entry["securityFileStatus"] = safe | {"avScan": safe, "pickleImportScan": None}
    return entry


async def commits(request: Request) -> Response:
    """`/api/models/{repo}/commits/{revision}`, newest first, in Link pages."""
    asked = find_repository(request, request.app.state.hub.store)
    history = asked.repository.history(find_commit(asked, request.path_params["revision"]))
    start, size = _read_page(request, COMMIT_PAGE)
    described = [
        {
            "id": commit.sha,
            "title": commit.title,
            "message": "",
            "authors": [{"user": commit.author, "avatar": ""}],
            "date": hub_time(commit.date),
        }
        for commit in history[start : start + size]
    ]
    headers = next_page(request, start + size, len(history))
    return JSONResponse(described, headers={**headers, "X-Total-Count": str(len(history))})


async def refs(request: Request) -> Response:
    """`/api/models/{repo}/refs`: branches, tags and, when asked for, pull requests."""
    repository = find_repository(request, request.app.state.hub.store).repository
    pulls = {name: sha for name, sha in repository.branches.items() if name.startswith("refs/pr/")}
    heads = {name: sha for name, sha in repository.branches.items() if name not in pulls}
    body: dict[str, Sequence[object]] = {
        "branches": [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}
            for name, sha in heads.items()
        ],
        "tags": [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": sha}
            for name, sha in repository.tags.items()
        ],
        "converts": [],
    }
    if request.query_params.get("include_prs"):
        body["pullRequests"] = [
            {"name": name.removeprefix("refs/"), "ref": name, "targetCommit": sha}
            for name, sha in pulls.items()
        ]
    return JSONResponse(body)


async def auth_check(request: Request) -> Response:
    """`/api/models/{repo}/auth-check`: whether the caller may read the files."""
    check_files_open(find_repository(request, request.app.state.hub.store))
    return Response(status_code=200)


async def discussions(request: Request) -> Response:
    """`/api/models/{repo}/discussions`: none; libraries ask before they convert weights."""
    find_repository(request, request.app.state.hub.store)
    return JSONResponse({"discussions": [], "count": 0, "start": 0, "numClosedDiscussions": 0})


async def whoami(request: Request) -> Response:
    """`/api/whoami-v2`: the account of the token."""
    account = identify(request, request.app.state.hub.store)
    if account is None:
        raise Refusal(401, None, "Invalid username or password.")
    token = {"displayName": "local", "role": "read"}
    return JSONResponse(
        {
            "type": "user",
            "id": account.user,
            "name": account.user,
            "fullname": account.user,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def _read_page(request: Request, most: int) -> tuple[int, int]:
    """Where the page begins and how many entries it may hold."""
    query = request.query_params
    try:
        start, size = int(query.get("cursor", "0")), int(query.get("limit", most))
    except ValueError:
        raise Refusal(400, None, "Invalid cursor or limit") from None
    return max(start, 0), min(max(size, 1), most)


def next_page(request: Request, cursor: int | str, total: int | None = None) -> dict[str, str]:
    """The Link header to the page at `cursor`, unless `total` says that there is none."""
    if total is not None and int(cursor) >= total:
        return {}
    kept = [(key, value) for key, value in request.query_params.multi_items() if key != "cursor"]
    query = urlencode([*kept, ("cursor", str(cursor))])
    url = f"{request.app.state.hub.url}{request.url.path}?{query}"
    return {"Link": f'<{url}>; rel="next"'}
