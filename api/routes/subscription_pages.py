"""`/subscriptions`: who is told of what, for people with the scope admin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api import schemas, trail
from api.callers import Caller
from api.dependencies import DatabaseDep
from api.problems import request_id_of
from api.subscribing import (
    SUBJECTS,
    make_subscription,
    shown_subscription,
    shown_subscriptions,
)
from api.web import render
from api.web.session import FormDep, VisitorDep, require
from registry.db.session import Database
from registry.db.subscriptions import (
    delete_subscription,
    list_deliveries,
    save_subscription,
)
from registry.errors import InvalidRequest, LoadplanError

router = APIRouter(include_in_schema=False)

_SEE_OTHER: Final = 303
Field = Annotated[str, Form(max_length=2000)]


@router.get("/subscriptions", name="subscriptions_page", response_class=HTMLResponse)
def subscriptions_page(request: Request, database: DatabaseDep, visitor: VisitorDep) -> Response:
    """Every subscription with its last deliveries, and the form for another."""
    if visitor.token_id is None:
        return RedirectResponse("/sign-in?back=/subscriptions", _SEE_OTHER)
    require(visitor, "admin")
    return _page(request, database, visitor)


@router.post(
    "/subscriptions", name="subscribe", dependencies=[FormDep], response_class=HTMLResponse
)
def subscribe(
    request: Request,
    database: DatabaseDep,
    visitor: VisitorDep,
    target_url: Field = "",
    subject: Field = "everything",
    repo_id: Field = "",
) -> Response:
    """Make one. Its secret is on the page that answers, and never again."""
    require(visitor, "admin")
    given = {"target_url": target_url.strip(), "subject": subject, "repo_id": repo_id.strip()}
    if subject == "everything":
        given["repo_id"] = ""
    try:
        made = make_subscription(visitor, **given)
    except LoadplanError as error:
        return _page(request, database, visitor, given=given, error=error)
    with database.transaction() as session:
        kept = save_subscription(session, made)
        trail.note(session, request_id_of(request), visitor, "subscribe", kept)
    if kept != made.id:
        told = InvalidRequest("This target is told of this already.", field="target_url")
        return _page(request, database, visitor, given=given, error=told)
    return _page(request, database, visitor, secret=made.secret, status_code=201)


@router.post("/subscriptions/{subscription_id}/delete", name="unsubscribe", dependencies=[FormDep])
def unsubscribe(
    request: Request, subscription_id: str, database: DatabaseDep, visitor: VisitorDep
) -> Response:
    require(visitor, "admin")
    schemas.refuse_nul(subscription_id=subscription_id)
    with database.reading() as connection:
        found = shown_subscription(connection, visitor, subscription_id)
    with database.transaction() as session:
        delete_subscription(session, found.id)
        trail.note(session, request_id_of(request), visitor, "unsubscribe", found.id)
    return RedirectResponse("/subscriptions", _SEE_OTHER)


def _page(
    request: Request,
    database: Database,
    visitor: Caller,
    *,
    given: Mapping[str, str] | None = None,
    error: LoadplanError | None = None,
    secret: str | None = None,
    status_code: int = 200,
) -> HTMLResponse:
    with database.reading() as connection:
        subscriptions = [
            {"subscription": each, "deliveries": list_deliveries(connection, each.id, limit=3)}
            for each in shown_subscriptions(connection, visitor)
        ]
    context: dict[str, Any] = {
        "subscriptions": subscriptions,
        "subjects": SUBJECTS,
        "given": given or {"target_url": "", "subject": "everything", "repo_id": ""},
        "problem": None if error is None else error.message,
        "field": None if error is None else error.fields.get("field"),
        "secret": secret,
    }
    return render.page(
        request, "subscriptions.html", 422 if error is not None else status_code, **context
    )
