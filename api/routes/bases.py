"""Bases: which are recorded, and the adapters of one by status."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from api import schemas
from api.dependencies import CallerDep, DatabaseDep
from api.problems import ApiProblem
from api.routes.adapters import StatusName, page_answer
from registry.db.records import (
    BaseSummary,
    RecordFilter,
    Sort,
    find_base,
    list_bases,
    list_records,
)
from registry.domain.refs import make_reference

router = APIRouter(prefix="/v1", tags=["bases"])

_HEADERS = {"Cache-Control": "no-cache", "Vary": "Authorization, Accept-Encoding"}
_NOT_RECORDED: dict[int | str, dict[str, Any]] = {
    404: {"model": schemas.Problem, "description": "No visible record names this base"},
    422: {"model": schemas.Problem, "description": "The request cannot be read"},
}


def _document(base: BaseSummary) -> dict[str, Any]:
    return {
        "source": base.source,
        "repo_id": base.repo_id,
        "adapters": base.adapters,
        "statuses": dict(base.statuses),
        "scanned_at": base.scanned_at.isoformat(),
    }


@router.get(
    "/bases",
    name="list_bases",
    response_model=list[schemas.BaseSummary],
    responses={422: _NOT_RECORDED[422]},
)
def get_bases(
    request: Request,
    database: DatabaseDep,
    caller: CallerDep,
    q: Annotated[str | None, Query(max_length=255)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> JSONResponse:
    """Bases by name, with their adapters counted by status, in keyset pages."""
    schemas.refuse_nul(q=q)
    with database.reading() as connection:
        page = list_bases(connection, q=q, limit=limit, cursor=cursor, visible=caller.visible)
    headers = dict(_HEADERS)
    if page.next_cursor is not None:
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "cursor"]
        query.append(("cursor", page.next_cursor))
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return JSONResponse([_document(base) for base in page.bases], headers=headers)


@router.get(
    "/bases/{repo_id:path}/adapters",
    name="list_base_adapters",
    response_model=list[schemas.Summary],
    responses=_NOT_RECORDED,
)
def get_base_adapters(
    request: Request,
    repo_id: str,
    database: DatabaseDep,
    caller: CallerDep,
    status: StatusName | None = None,
    sort: Sort = Sort.NEWEST,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> JSONResponse:
    """Which adapters load on this base: ask with `status=compatible`."""
    base = _find(database, repo_id, caller.visible)
    wanted = RecordFilter(base=base.repo_id, status=status, visible=caller.visible)
    with database.reading() as connection:
        page = list_records(connection, wanted, sort=sort, limit=limit, cursor=cursor)
    return page_answer(request, page)


@router.get(
    "/bases/{repo_id:path}",
    name="get_base",
    response_model=schemas.BaseSummary,
    responses=_NOT_RECORDED,
)
def get_base(repo_id: str, database: DatabaseDep, caller: CallerDep) -> JSONResponse:
    """One base and its adapters counted by status; the id may hold one slash."""
    return JSONResponse(_document(_find(database, repo_id, caller.visible)), headers=_HEADERS)


def _find(database: DatabaseDep, repo_id: str, visible: frozenset[str]) -> BaseSummary:
    make_reference(repo_id)
    with database.reading() as connection:
        base = find_base(connection, repo_id, visible=visible)
    if base is None:
        raise ApiProblem("base-not-recorded", "No visible record names this base.")
    return base
