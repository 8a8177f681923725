"""Work: scans and proofs asked for, operations watched and cancelled."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api import schemas, trail
from api.asking import Asking, AskingDep, not_found
from api.callers import Caller
from api.dependencies import CallerDep, DatabaseDep, RecordsDep, not_recorded, require_scope
from api.problems import ApiProblem, problem_document, request_id_of
from api.reading import Found, Lookup, RecordReader
from api.sight import is_open_to, may_follow
from registry.asking import ask_proof, ask_scan, cancel
from registry.db.operations import DONE, Event, Operation, State, load_operation
from registry.db.proofs import Pair
from registry.db.session import Database
from registry.domain.refs import Reference
from registry.errors import InvalidReference
from registry.jobs import Priority

router = APIRouter(prefix="/v1", tags=["operations"])

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": schemas.Problem, "description": "No token, or one that is not known"},
    403: {"model": schemas.Problem, "description": "The token lacks the scope"},
    409: {"model": schemas.Problem, "description": "The Idempotency-Key's request is in flight"},
    422: {"model": schemas.Problem, "description": "The request cannot be read"},
}
_NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": schemas.Problem, "description": "No such operation"},
    422: {"model": schemas.Problem, "description": "The request cannot be read"},
}
_ACCEPTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": schemas.OperationBody, "description": "Over within the preferred wait"},
}
_RETRY_AFTER: Final = "1"
_EVENT_ID: Final = re.compile(r"[0-9]{1,18}")
# What readers that may not see the record are told of a running operation, whatever it does.
_NO_MORE_THAN: Final = {"stage": "reading"}
ScanCaller = Annotated[Caller, Depends(require_scope("scan"))]
ProofCaller = Annotated[Caller, Depends(require_scope("prove"))]


@router.post(
    "/scans",
    name="post_scan",
    status_code=202,
    response_model=schemas.OperationBody,
    responses={**_ACCEPTED, **_REFUSALS},
)
async def post_scan(
    request: Request,
    pair: schemas.PairRequest,
    caller: ScanCaller,
    asking: AskingDep,
    records: RecordsDep,
) -> JSONResponse:
    """Ask for a scan. The same request in flight is the same operation."""
    reference, base = _references(pair)
    operation = await asking.ask(
        caller,
        request.url.path,
        pair.model_dump(),
        lambda session: ask_scan(
            session,
            asking.jobs,
            reference,
            base,
            priority=Priority.PERSON,
            token_id=caller.token_id,
        ),
    )
    return await _accepted(request, operation, caller, records, asking)


@router.post(
    "/proofs",
    name="post_proof",
    status_code=202,
    response_model=schemas.OperationBody,
    responses={**_ACCEPTED, **_REFUSALS, **_NOT_FOUND},
)
async def post_proof(
    request: Request,
    pair: schemas.PairRequest,
    caller: ProofCaller,
    asking: AskingDep,
    records: RecordsDep,
) -> JSONResponse:
    """Ask for a proof of a recorded pair that has a plan."""
    reference, base = _references(pair)
    lookup = Lookup.of(reference, base)
    found = await run_in_threadpool(records.find, lookup)
    if found is None or not caller.sees(found.stored):
        raise not_recorded(lookup)
    key = _provable(found)
    operation = await asking.ask(
        caller,
        request.url.path,
        pair.model_dump(),
        lambda session: ask_proof(
            session,
            asking.jobs,
            reference,
            base,
            key,
            priority=Priority.PERSON,
            token_id=caller.token_id,
        ),
    )
    return await _accepted(request, operation, caller, records, asking)


async def _operation(operation_id: str, database: DatabaseDep, caller: CallerDep) -> Operation:
    return await run_in_threadpool(_load, database, operation_id, caller)


OperationDep = Annotated[Operation, Depends(_operation)]


@router.get(
    "/operations/{operation_id}",
    name="get_operation",
    response_model=schemas.OperationBody,
    responses=_NOT_FOUND,
)
def get_operation(
    request: Request, operation: OperationDep, caller: CallerDep, records: RecordsDep
) -> JSONResponse:
    """How far it is. Only who was given the id can ask: it cannot be guessed."""
    document = _document(request, operation, open_to=is_open_to(operation, records, caller))
    headers = {"Cache-Control": "no-store"}
    if not operation.state.is_over:
        headers["Retry-After"] = _RETRY_AFTER
    return JSONResponse(document, headers=headers)


@router.delete(
    "/operations/{operation_id}",
    name="cancel_operation",
    response_model=schemas.OperationBody,
    responses={**_REFUSALS, **_NOT_FOUND},
)
def cancel_operation(
    request: Request, operation: OperationDep, caller: CallerDep, records: RecordsDep
) -> JSONResponse:
    """Cancel. Needs the scope that asking for it needs; what is running stores nothing more."""
    require_scope("prove" if operation.kind == "prove" else "scan")(caller)
    state = request.app.state

    def told(session: Session) -> None:
        trail.note(session, request_id_of(request), caller, "cancel", operation.id)

    cancelled = cancel(state.database, state.jobs, operation.id, also=told)
    if cancelled is None:
        message = f"The operation has {operation.state.value} already."
        raise ApiProblem("operation-finished", message)
    open_to = is_open_to(operation, records, caller)
    return JSONResponse(_document(request, cancelled, open_to=open_to))


@router.get(
    "/operations/{operation_id}/events",
    name="get_operation_events",
    response_class=EventSourceResponse,
    responses=_NOT_FOUND,
)
async def get_operation_events(
    request: Request,
    operation: OperationDep,
    caller: CallerDep,
    records: RecordsDep,
    last_event_id: Annotated[
        str | None,
        Header(alias="Last-Event-ID", description="The id of the last event that was read."),
    ] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events until `done`; `Last-Event-ID` goes on where the reader left off."""
    after = int(last_event_id) if last_event_id and _EVENT_ID.fullmatch(last_event_id) else 0
    open_to = await run_in_threadpool(is_open_to, operation, records, caller)
    async for event in request.app.state.feed.follow(operation.id, after=after):
        if event.name == DONE and "repo_id" in operation.request:
            records.expire(operation.request["repo_id"])
        shown = _shown(request, event, open_to=open_to)
        if shown is not None:
            yield ServerSentEvent(data=shown, event=event.name, id=str(event.id))


async def _accepted(
    request: Request,
    operation: Operation,
    caller: Caller,
    records: RecordReader,
    asking: Asking,
) -> JSONResponse:
    open_to = await run_in_threadpool(is_open_to, operation, records, caller)
    headers = {
        "Location": f"/v1/operations/{operation.id}",
        "Cache-Control": "no-store",
    }
    if asking.wait > 0:
        headers["Preference-Applied"] = f"wait={asking.wait:g}"
    if not operation.state.is_over:
        headers["Retry-After"] = _RETRY_AFTER
    return JSONResponse(
        _document(request, operation, open_to=open_to),
        status_code=200 if operation.state.is_over else 202,
        headers=headers,
    )


def _references(pair: schemas.PairRequest) -> tuple[Reference, Reference | None]:
    schemas.refuse_nul(**pair.model_dump())
    reference = pair.reference()
    if "/" not in reference.repo_id:
        raise InvalidReference("An adapter's id is namespace/name.", field="repo_id")
    return reference, pair.base_reference()


def _provable(found: Found) -> Pair:
    record = found.stored.record
    if record.plan is None or record.base is None:
        message = f"The adapter is {record.status.value}: there is no plan to prove."
        raise ApiProblem("invalid-request", message, field="repo_id")
    assert record.adapter.digest is not None
    assert record.base.digest is not None
    return Pair(record.adapter.digest, record.adapter.subfolder, record.base.digest)


def _load(database: Database, operation_id: str, caller: Caller) -> Operation:
    """Raises ApiProblem, for an operation that is not the caller's to follow as for none."""
    schemas.refuse_nul(operation_id=operation_id)
    with database.reading() as connection:
        found = load_operation(connection, operation_id)
        if found is None or not may_follow(connection, found, caller):
            raise not_found()
    return found


def _document(request: Request, operation: Operation, *, open_to: bool) -> dict[str, Any]:
    progress = operation.progress
    if progress is not None:
        progress = {name: value for name, value in progress.items() if name != "with"}
        if not open_to and not operation.state.is_over:
            progress = _NO_MORE_THAN
    return {
        "id": operation.id,
        "kind": operation.kind,
        "state": operation.state.value,
        "progress": progress,
        "result_url": _result_url(operation),
        "problem": _problem(request, operation.problem) if open_to else None,
        "created_at": operation.created_at.isoformat(),
        "started_at": operation.started_at and operation.started_at.isoformat(),
        "finished_at": operation.finished_at and operation.finished_at.isoformat(),
    }


def _result_url(operation: Operation) -> str | None:
    """Where the record is, built from the request alone."""
    if operation.state is not State.SUCCEEDED or "repo_id" not in operation.request:
        return None
    asked = operation.request
    query = [(name, asked[name]) for name in ("revision", "subfolder", "base") if name in asked]
    path = "/v1/adapters/" + "/".join(quote(part, safe="") for part in asked["repo_id"].split("/"))
    return f"{path}?{urlencode(query)}" if query else path


def _problem(request: Request, problem: Any) -> dict[str, object] | None:
    if problem is None:
        return None
    return problem_document(request, str(problem["code"]), str(problem["detail"]))


def _shown(request: Request, event: Event, *, open_to: bool) -> dict[str, Any] | None:
    if event.name == DONE:
        problem = event.document.get("problem") if open_to else None
        return {"state": event.document["state"], "problem": _problem(request, problem)}
    progress = event.document.get("progress")
    if not open_to and progress is not None and progress.get("stage") != _NO_MORE_THAN["stage"]:
        return None
    if progress is not None:
        progress = {name: value for name, value in progress.items() if name != "with"}
    return {"state": event.document["state"], "progress": progress}
