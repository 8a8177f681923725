"""`/subscriptions`: who is told of what, for people with the scope admin."""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api import schemas
from api.dependencies import DatabaseDep
from api.problems import ApiProblem
from api.web import render
from api.web.session import FormDep, VisitorDep, require
from registry.db.session import Database
from registry.db.subscriptions import (
    Subscription,
    delete_subscription,
    list_deliveries,
    list_subscriptions,
    save_subscription,
)
from registry.domain.addresses import parse_target
from registry.domain.refs import make_reference
from registry.errors import InvalidRequest, LoadplanError

router = APIRouter(include_in_schema=False)

_SUBJECTS: Final = ("everything", "adapter", "base")
_SEE_OTHER: Final = 303
Field = Annotated[str, Form(max_length=2000)]


@router.get("/subscriptions", name="subscriptions_page", response_class=HTMLResponse)
def subscriptions_page(request: Request, database: DatabaseDep, visitor: VisitorDep) -> Response:
    """Every subscription with its last deliveries, and the form for another."""
    if visitor.token_id is None:
        return RedirectResponse("/sign-in?back=/subscriptions", _SEE_OTHER)
    require(visitor, "admin")
    return _page(request, database)


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
    try:
        made = _make(given, visitor.token_id)
    except LoadplanError as error:
        return _page(request, database, given=given, error=error)
    with database.transaction() as session:
        kept = save_subscription(session, made)
    if kept != made.id:
        told = InvalidRequest("This target is told of this already.", field="target_url")
        return _page(request, database, given=given, error=told)
    return _page(request, database, secret=made.secret, status_code=201)


@router.post("/subscriptions/{subscription_id}/delete", name="unsubscribe", dependencies=[FormDep])
def unsubscribe(subscription_id: str, database: DatabaseDep, visitor: VisitorDep) -> Response:
    require(visitor, "admin")
    schemas.refuse_nul(subscription_id=subscription_id)
    with database.transaction() as session:
        found = delete_subscription(session, subscription_id)
    if not found:
        raise ApiProblem("subscription-not-found", "There is no subscription of this id.")
    return RedirectResponse("/subscriptions", _SEE_OTHER)


def _make(given: Mapping[str, str], token_id: int | None) -> Subscription:
    """Raises InvalidRequest, InvalidReference, TargetNotAllowed."""
    schemas.refuse_nul(**given)
    subject, repo_id = given["subject"], given["repo_id"]
    if subject not in _SUBJECTS:
        raise InvalidRequest("The subject is everything, adapter or base.", field="subject")
    if subject == "everything":
        repo_id = ""
    else:
        make_reference(repo_id)
    target = parse_target(given["target_url"])
    # Standard Webhooks: at least 24 random bytes, in base64, behind this prefix.
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode("ascii")
    return Subscription(
        id=str(uuid.uuid4()),
        subject=subject,
        repo_id=repo_id,
        target_url=target.url,
        secret=secret,
        token_id=token_id,
        created_at=datetime.now(UTC),
    )


def _page(
    request: Request,
    database: Database,
    *,
    given: Mapping[str, str] | None = None,
    error: LoadplanError | None = None,
    secret: str | None = None,
    status_code: int = 200,
) -> HTMLResponse:
    with database.reading() as connection:
        subscriptions = [
            {"subscription": each, "deliveries": list_deliveries(connection, each.id, limit=3)}
            for each in list_subscriptions(connection)
        ]
    context: dict[str, Any] = {
        "subscriptions": subscriptions,
        "subjects": _SUBJECTS,
        "given": given or {"target_url": "", "subject": "everything", "repo_id": ""},
        "problem": None if error is None else error.message,
        "field": None if error is None else error.fields.get("field"),
        "secret": secret,
    }
    return render.page(
        request, "subscriptions.html", 422 if error is not None else status_code, **context
    )
