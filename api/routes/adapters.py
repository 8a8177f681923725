"""Records by name: lists, the record, its plan, tensors and proofs; manifests of many plans."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import JSONResponse, Response

from api import answers, schemas
from api.callers import Caller
from api.dependencies import (
    CallerDep,
    DatabaseDep,
    FoundDep,
    LookupDep,
    RecordsDep,
    not_recorded,
)
from api.problems import problem_document
from api.reading import Lookup, RecordReader
from registry.db.checkpoints import load_adapter, load_base
from registry.db.records import Page, RecordFilter, Sort, list_records
from registry.errors import LoadplanError
from registry.planning import compare_tensors

router = APIRouter(prefix="/v1", tags=["adapters"])

MAX_MANIFEST: Final = 1000
StatusName = Literal[
    "queued",
    "planned",
    "rehearsed",
    "compatible",
    "incompatible",
    "unsupported",
    "blocked",
    "failed",
    "stale",
]
_NOT_RECORDED: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": schemas.Problem, "description": "Absent, never scanned or not visible"},
    422: {"model": schemas.Problem, "description": "The request cannot be read"},
}
_INVALID: Final[dict[int | str, dict[str, Any]]] = {
    422: {"model": schemas.Problem, "description": "The request cannot be read"}
}
Text = Annotated[str | None, Query(max_length=255)]


@router.get(
    "/adapters", name="list_adapters", response_model=list[schemas.Summary], responses=_INVALID
)
def list_adapters(
    request: Request,
    database: DatabaseDep,
    caller: CallerDep,
    base: Text = None,
    status: StatusName | None = None,
    peft_type: Text = None,
    issue: Text = None,
    author: Text = None,
    q: Text = None,
    sort: Sort = Sort.NEWEST,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> JSONResponse:
    """Summaries, newest first, in keyset pages (`Link: rel="next"`)."""
    schemas.refuse_nul(base=base, peft_type=peft_type, issue=issue, author=author, q=q)
    wanted = RecordFilter(base, status, peft_type, issue, q, author, caller.visible)
    with database.reading() as connection:
        page = list_records(connection, wanted, sort=sort, limit=limit, cursor=cursor)
    return page_answer(request, page)


def page_answer(request: Request, page: Page) -> JSONResponse:
    """Summaries with the address of the next page."""
    documents = [
        answers.summary_document(stored.record, stored.scanned_at.isoformat())
        for stored in page.records
    ]
    headers = {"Cache-Control": "no-cache", "Vary": "Authorization, Accept-Encoding"}
    if page.next_cursor is not None:
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "cursor"]
        query.append(("cursor", page.next_cursor))
        headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
    return JSONResponse(documents, headers=headers)


@router.get(
    "/adapters/{namespace}/{name}",
    name="get_record",
    response_model=schemas.RecordBody,
    responses=_NOT_RECORDED,
)
async def get_record(request: Request, found: FoundDep) -> Response:
    """Everything known of an adapter on a base: by default the declared one, at `main`."""
    return answers.record_answer(request, found, found.stored.record.to_json())


@router.get(
    "/adapters/{namespace}/{name}/plan",
    name="get_plan",
    response_model=schemas.PlanBody,
    responses=_NOT_RECORDED,
)
async def get_plan(request: Request, found: FoundDep) -> Response:
    """The load plan and why there is none where there is none; 200 whenever a record exists."""
    return answers.record_answer(request, found, answers.plan_document(found.stored.record))


@router.get(
    "/adapters/{namespace}/{name}/proofs",
    name="get_proofs",
    response_model=list[dict[str, Any]],
    responses=_NOT_RECORDED,
)
async def get_proofs(request: Request, found: FoundDep) -> Response:
    """Every proof of the record's plan, with its gates and measurements."""
    proofs = [proof.to_json() for proof in found.stored.record.proofs]
    return answers.record_answer(request, found, proofs)


@router.get(
    "/adapters/{namespace}/{name}/tensors",
    name="get_tensors",
    response_model=list[schemas.TensorRow],
    responses=_NOT_RECORDED,
)
def get_tensors(
    request: Request, lookup: LookupDep, found: FoundDep, database: DatabaseDep
) -> Response:
    """Each tensor of the file beside the base's shape, differences first."""
    record = found.stored.record
    rows: list[dict[str, Any]] = []
    if record.adapter.digest is not None:
        with database.reading() as connection:
            adapter = load_adapter(connection, record.adapter.digest, record.adapter.subfolder)
            base_digest = record.base.digest if record.base else None
            base = load_base(connection, base_digest) if base_digest else None
        if adapter is not None:
            rows = [dict(pair.to_json()) for pair in compare_tensors(adapter, base)]
    pinned = answers.is_pinned(lookup.revision, lookup.base_revision)
    cache = answers.FOR_EVER if pinned else answers.SHORT
    return answers.record_answer(request, found, rows, cache=cache)


@router.post(
    "/plans",
    name="post_plans",
    response_model=list[schemas.PlanAnswer],
    responses={
        413: {"model": schemas.Problem, "description": "The body is too large"},
        **_INVALID,
    },
)
def post_plans(
    request: Request,
    records: RecordsDep,
    caller: CallerDep,
    pairs: Annotated[list[schemas.PairRequest], Body(max_length=MAX_MANIFEST)],
) -> JSONResponse:
    """A deploy manifest: one answer per pair, in order. Open, and without side effect."""
    return JSONResponse(
        [_manifest_answer(request, pair, records, caller) for pair in pairs],
        headers={"Cache-Control": "no-cache"},
    )


def _manifest_answer(
    request: Request, pair: schemas.PairRequest, records: RecordReader, caller: Caller
) -> dict[str, Any]:
    asked = pair.model_dump(exclude_none=True)
    try:
        schemas.refuse_nul(**pair.model_dump())
        lookup = Lookup.of(pair.reference(), pair.base_reference())
    except LoadplanError as error:
        problem = problem_document(request, "invalid-request", error.message, error.fields)
        return {"request": asked, "record": None, "problem": problem}
    found = records.remembered(lookup) or records.find(lookup)
    if found is None or not caller.sees(found.stored):
        absent = not_recorded(lookup)
        problem = problem_document(request, absent.problem_code, absent.message, absent.fields)
        return {"request": asked, "record": None, "problem": problem}
    return {"request": asked, "record": found.stored.record.to_json(), "problem": None}
