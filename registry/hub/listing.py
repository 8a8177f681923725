"""Lists of repositories, page by page, newest first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlencode, urlsplit

from registry.domain.refs import CommitSha, RepoId, is_commit_sha, is_repo_id, shown
from registry.errors import HubError, HubMirrorLimited, InvalidRequest
from registry.hub.answers import RouteMissing
from registry.hub.client import HubClient
from registry.hub.links import next_link
from registry.hub.reader import ListedRepository
from registry.hub.snapshots import parse_json

_PAGE = 1000
_MAX_PAGE_BYTES = 64 * 1024 * 1024
_ROUTE = "/api/models"


async def list_repositories(
    client: HubClient,
    *,
    author: str | None,
    base: str | None,
    tag: str | None,
    limit: int | None,
    since: str | None,
    page: str | None,
) -> AsyncIterator[ListedRepository]:
    """The rows, each once. A listing moves while it is read: what is pushed meanwhile comes to the
    top, so that a row may come again on the next page; it is left out then."""
    url = client.url(_first_page(author, base, tag, limit) if page is None else checked_page(page))
    seen: set[str] = set()
    while True:
        try:
            answer = await client.get(url, "the list of repositories", limit=_MAX_PAGE_BYTES)
            rows = parse_json(answer.body, "the list of repositories")
        except RouteMissing:
            raise HubMirrorLimited("The endpoint offers no list of repositories.") from None
        if not isinstance(rows, list):
            raise HubError("The Hub's list of repositories is no list.")
        here = url.raw_path_qs.removeprefix(client.url("").raw_path.rstrip("/"))
        for row in rows:
            listed = parse_row(row, here)
            if listed is None or listed.repo_id in seen:
                continue
            if since is not None and (listed.last_modified or since) < since:
                return
            seen.add(listed.repo_id)
            yield listed
            if limit is not None and len(seen) >= limit:
                return
        following = next_link(client, answer)
        if following is None or following == url:
            return
        url = following


def parse_row(row: object, page: str) -> ListedRepository | None:
    """One row; None for what names no repository."""
    if not isinstance(row, Mapping):
        return None
    repo_id, sha, modified = row.get("id"), row.get("sha"), row.get("lastModified")
    if not isinstance(repo_id, str) or not is_repo_id(repo_id):
        return None
    return ListedRepository(
        repo_id=RepoId(repo_id),
        commit_sha=CommitSha(sha) if isinstance(sha, str) and is_commit_sha(sha) else None,
        last_modified=modified if isinstance(modified, str) else None,
        private=row.get("private") is True,
        gated=row.get("gated") not in (None, False),
        page=page,
    )


def checked_page(page: str) -> str:
    """A page to go on at, as `ListedRepository.page` gave it. Raises InvalidRequest."""
    try:
        parts = urlsplit(page)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme or parts.netloc or parts.path != _ROUTE:
        raise InvalidRequest(f"{shown(page)} is no page of a list of repositories.", field="page")
    return page


def _first_page(author: str | None, base: str | None, tag: str | None, limit: int | None) -> str:
    query: list[tuple[str, str]] = []
    if tag:
        query.append(("filter", tag))
    if base:
        query.append(("filter", f"base_model:adapter:{base}"))
    if author:
        query.append(("author", author))
    query += [("sort", "lastModified"), ("direction", "-1")]
    query += [("expand", name) for name in ("sha", "lastModified", "private", "gated")]
    query.append(("limit", str(min(limit or _PAGE, _PAGE))))
    return f"{_ROUTE}?{urlencode(query)}"
