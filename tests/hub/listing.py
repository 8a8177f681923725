"""`GET /api/models`: filters, order and Link pages over every repository."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.hub.access import Refusal, identify, may_see
from tests.hub.api import describe_model, next_page, read_expand
from tests.hub.repository import Repository

MOST = 1000
ALWAYS = (
    *("_id", "id", "modelId", "likes", "trendingScore", "private", "downloads", "tags"),
    *("pipeline_tag", "library_name", "createdAt"),
)
FULL = ("author", "sha", "lastModified", "gated", "disabled", "siblings")
Key = tuple[float, str]


async def list_models(request: Request) -> Response:
    """The models that fit every filter, at most `limit`, from the cursor on."""
    hub = request.app.state.hub
    account = identify(request, hub.store)
    query = request.query_params
    sort = query.get("sort", "trendingScore")
    if sort not in SORTS:
        raise Refusal(400, None, f"Invalid sort parameter: {sort}")
    found = [
        (_sort_key(repository, sort), repository)
        for repository in hub.store.repositories.values()
        if not repository.disabled and may_see(repository, account) and _fits(repository, request)
    ]
    found.sort(key=lambda pair: pair[0])
    after = _read_cursor(query.get("cursor"))
    if after is not None:
        found = [pair for pair in found if pair[0] > after]
    try:
        limit = min(max(int(query.get("limit", MOST)), 1), MOST)
    except ValueError:
        raise Refusal(400, None, "Invalid limit") from None
    page = found[:limit]
    headers: dict[str, str] = {}
    if len(found) > limit:
        cursor = base64.urlsafe_b64encode(json.dumps(page[-1][0]).encode()).decode()
        headers = next_page(request, cursor)
    return JSONResponse([_describe(repository, request) for _, repository in page], headers=headers)


def _describe(repository: Repository, request: Request) -> dict[str, object]:
    whole = describe_model(repository, repository.head)
    expand = read_expand(request)
    names: tuple[str, ...] = ("_id", "id", *expand) if expand else ALWAYS
    if not expand and request.query_params.get("full", "").lower() in {"true", "1"}:
        names = (*names, *FULL)
    return {name: whole[name] for name in names if name in whole}


def _fits(repository: Repository, request: Request) -> bool:
    query = request.query_params
    author, search = query.get("author"), query.get("search")
    if author is not None and repository.author != author:
        return False
    if search is not None and search.lower() not in repository.repo_id.lower():
        return False
    gated = query.get("gated")
    if gated is not None and bool(repository.gated) != (gated.lower() == "true"):
        return False
    wanted = {name for value in query.getlist("filter") for name in value.split(",")}
    return wanted <= set(repository.all_tags)


def _last_modified(repository: Repository) -> datetime:
    return repository.head.date if repository.head else repository.created_at


SORTS: dict[str, Callable[[Repository], float]] = {
    "trendingScore": lambda _repository: 0.0,
    "lastModified": lambda repository: _last_modified(repository).timestamp(),
    "createdAt": lambda repository: repository.created_at.timestamp(),
    "downloads": lambda repository: float(repository.downloads),
    "likes": lambda repository: float(repository.likes),
}


def _sort_key(repository: Repository, sort: str) -> Key:
    """Descending by the field, then by id, so that a cursor names one place."""
    return (-SORTS[sort](repository), repository.repo_id)


def _read_cursor(value: str | None) -> Key | None:
    if value is None:
        return None
    try:
        number, repo_id = json.loads(base64.urlsafe_b64decode(value))
        return (float(number), str(repo_id))
    except ValueError:
        raise Refusal(400, None, "Invalid cursor") from None
