"""`/operations/{id}` for people, and its stream of pieces of the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Header, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from api import schemas
from api.asking import not_found
from api.callers import Caller
from api.dependencies import DatabaseDep, RecordsDep
from api.events import EventFeed
from api.reading import RecordReader
from api.sight import is_open_to, may_follow
from api.web import render
from api.web.operation_view import show_operation
from api.web.session import VisitorDep
from registry.db.operations import DONE, load_operation
from registry.db.session import Database

router = APIRouter(include_in_schema=False)

_ASKED: Final = (("Adapter", "repo_id"), ("Revision", "revision"), ("Folder", "subfolder"))


@router.get("/operations/{operation_id}", name="operation_page", response_class=HTMLResponse)
def operation_page(
    request: Request,
    operation_id: str,
    database: DatabaseDep,
    records: RecordsDep,
    visitor: VisitorDep,
) -> HTMLResponse:
    """How far it is, as it is now; a script follows the rest."""
    shown = _load(database, records, visitor, operation_id)
    given = [*_ASKED, ("Base", "base")]
    asked = [(word, shown["request"][name]) for word, name in given if shown["request"].get(name)]
    return render.page(request, "operation.html", shown=shown, asked=asked)


@router.get("/operations/{operation_id}/live", name="operation_live")
async def operation_live(
    request: Request,
    operation_id: str,
    database: DatabaseDep,
    records: RecordsDep,
    visitor: VisitorDep,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """The piece of the page that changes, once for each event, and `done` after the last."""
    # Found, or refused, before the stream begins.
    await run_in_threadpool(_load, database, records, visitor, operation_id)
    after = int(last_event_id) if last_event_id and last_event_id[:18].isdecimal() else 0
    feed = cast(EventFeed, request.app.state.feed)

    async def stream() -> AsyncIterator[str]:
        async for event in feed.follow(operation_id, after=min(after, 2**62)):
            shown = await run_in_threadpool(_load, database, records, visitor, operation_id)
            piece = render.fragment("operation_live.html", "progress", shown)
            yield _message(piece, event_id=event.id)
            if event.name == DONE:
                yield _message("over", name=DONE, event_id=event.id)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)


def _message(data: str, *, event_id: int, name: str | None = None) -> str:
    lines = [f"id: {event_id}"]
    if name is not None:
        lines.append(f"event: {name}")
    lines += [f"data: {line}" for line in data.splitlines() if line.strip()]
    return "\n".join(lines) + "\n\n"


def _load(
    database: Database, records: RecordReader, visitor: Caller, operation_id: str
) -> dict[str, Any]:
    """Raises ApiProblem operation-not-found. Only who was given the id can ask."""
    schemas.refuse_nul(operation_id=operation_id)
    with database.reading() as connection:
        operation = load_operation(connection, operation_id)
        if operation is None or not may_follow(connection, operation, visitor):
            raise not_found()
    return show_operation(operation, open_to=is_open_to(operation, records, visitor))
