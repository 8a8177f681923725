"""Outgoing webhooks: who is told of what, tried out, and every delivery with its attempts."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api import schemas, trail
from api.callers import Caller
from api.dependencies import DatabaseDep, require_scope
from api.problems import ApiProblem, request_id_of
from api.subscribing import make_subscription, shown_subscription, shown_subscriptions
from registry.db import subscriptions
from registry.db.subscriptions import Delivery, Subscription
from registry.domain.messages import MessageType, write_message

router = APIRouter(prefix="/v1/subscriptions", tags=["subscriptions"])

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": schemas.Problem, "description": "No token, or one that is not known"},
    403: {"model": schemas.Problem, "description": "The token lacks the scope admin"},
    422: {"model": schemas.Problem, "description": "The request cannot be read"},
}
_NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": schemas.Problem, "description": "No such subscription or delivery"},
    **_REFUSALS,
}
_HEADERS: Final = {"Cache-Control": "no-store"}
Admin = Annotated[Caller, Depends(require_scope("admin"))]
Id = Annotated[str, Path(max_length=100)]


class SubscriptionRequest(BaseModel):
    """Who is to be told of what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: Literal["everything", "adapter", "base"] = "everything"
    repo_id: Annotated[str | None, Field(max_length=96, examples=["acme/chat-lora"])] = None
    target_url: Annotated[str, Field(max_length=2000, examples=["https://hooks.acme.dev/lora"])]


class SubscriptionBody(BaseModel):
    """`paused_at` is set once the target answered 410; a test that arrives ends the pause."""

    id: str
    subject: str
    repo_id: str | None
    target_url: str
    created_at: str
    paused_at: str | None


class NewSubscription(SubscriptionBody):
    """`secret` verifies signatures. It is shown this once; null for one that existed already."""

    secret: str | None


class DeliveryBody(BaseModel):
    """One message to one target, with each attempt."""

    id: str
    message_id: str
    event: str
    state: str = Field(examples=["pending", "delivered", "failed"])
    attempts: int
    log: list[dict[str, Any]]
    created_at: str
    next_attempt_at: str | None
    delivered_at: str | None


@router.get(
    "", name="list_subscriptions", response_model=list[SubscriptionBody], responses=_REFUSALS
)
def list_all(database: DatabaseDep, caller: Admin) -> JSONResponse:
    """Every subscription, the oldest first."""
    with database.reading() as connection:
        found = shown_subscriptions(connection, caller)
    return JSONResponse([_document(each) for each in found], headers=_HEADERS)


@router.post(
    "",
    name="post_subscription",
    status_code=201,
    response_model=NewSubscription,
    responses={200: {"model": NewSubscription, "description": "Exists already"}, **_REFUSALS},
)
def create(
    request: Request, asked: SubscriptionRequest, database: DatabaseDep, caller: Admin
) -> JSONResponse:
    """Subscribe. The same target is told of the same subject once."""
    made = make_subscription(
        caller, subject=asked.subject, repo_id=asked.repo_id or "", target_url=asked.target_url
    )

    def work(session: Session) -> Subscription:
        kept = subscriptions.save_subscription(session, made)
        _audit(session, request, caller, "subscribe", kept)
        if kept == made.id:
            return made
        found = subscriptions.find_subscription(session.connection(), kept)
        assert found is not None
        return found

    kept = database.write(work)
    is_new = kept.id == made.id
    document = {**_document(kept), "secret": made.secret if is_new else None}
    headers = {**_HEADERS, "Location": f"/v1/subscriptions/{kept.id}"}
    return JSONResponse(document, 201 if is_new else 200, headers=headers)


@router.get(
    "/{subscription_id}",
    name="get_subscription",
    response_model=SubscriptionBody,
    responses=_NOT_FOUND,
)
def get_one(subscription_id: Id, database: DatabaseDep, caller: Admin) -> JSONResponse:
    """One subscription; its secret is not among what is shown."""
    return JSONResponse(_document(_find(database, caller, subscription_id)), headers=_HEADERS)


@router.delete(
    "/{subscription_id}", name="delete_subscription", status_code=204, responses=_NOT_FOUND
)
def delete_one(
    request: Request, subscription_id: Id, database: DatabaseDep, caller: Admin
) -> Response:
    """Unsubscribe. Deliveries that have not arrived are not sent any more."""
    found = _find(database, caller, subscription_id)

    def work(session: Session) -> None:
        subscriptions.delete_subscription(session, found.id)
        _audit(session, request, caller, "unsubscribe", found.id)

    database.write(work)
    return Response(status_code=204)


@router.post(
    "/{subscription_id}/test",
    name="test_subscription",
    status_code=202,
    response_model=DeliveryBody,
    responses=_NOT_FOUND,
)
def send_test(
    request: Request, subscription_id: Id, database: DatabaseDep, caller: Admin
) -> JSONResponse:
    """Send a message of no consequence; to a paused subscription too."""
    found, now = _find(database, caller, subscription_id), datetime.now(UTC)
    delivery_id = f"dlv_{uuid.uuid4().hex}"
    data = {"subscription": found.id, "subject": found.subject}

    def work(session: Session) -> None:
        subscriptions.save_delivery(
            session,
            delivery_id,
            subscription_id=found.id,
            message_id=f"msg_{uuid.uuid4().hex}",
            event=MessageType.TEST.value,
            body=write_message(MessageType.TEST, now, data),
            created_at=now,
        )
        _audit(session, request, caller, "test-subscription", found.id)

    database.write(work)
    return _accepted(_find_delivery(database, found, delivery_id))


@router.get(
    "/{subscription_id}/deliveries",
    name="list_deliveries",
    response_model=list[DeliveryBody],
    responses=_NOT_FOUND,
)
def get_deliveries(
    subscription_id: Id,
    database: DatabaseDep,
    caller: Admin,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> JSONResponse:
    """The newest deliveries, each with its attempts."""
    found = _find(database, caller, subscription_id)
    with database.reading() as connection:
        listed = subscriptions.list_deliveries(connection, found.id, limit=limit)
    return JSONResponse([_delivery_document(each) for each in listed], headers=_HEADERS)


@router.post(
    "/{subscription_id}/deliveries/{delivery_id}/replay",
    name="replay_delivery",
    status_code=202,
    response_model=DeliveryBody,
    responses=_NOT_FOUND,
)
def replay(
    request: Request, subscription_id: Id, delivery_id: Id, database: DatabaseDep, caller: Admin
) -> JSONResponse:
    """Send a message again as it was, with the same id, so that receivers can tell."""
    found = _find(database, caller, subscription_id)
    _find_delivery(database, found, delivery_id)

    def work(session: Session) -> None:
        subscriptions.replay_delivery(session, delivery_id, now=datetime.now(UTC))
        _audit(session, request, caller, "replay-delivery", delivery_id)

    database.write(work)
    return _accepted(_find_delivery(database, found, delivery_id))


def _find(database: DatabaseDep, caller: Caller, subscription_id: str) -> Subscription:
    schemas.refuse_nul(subscription_id=subscription_id)
    with database.reading() as connection:
        return shown_subscription(connection, caller, subscription_id)


def _find_delivery(database: DatabaseDep, subscription: Subscription, delivery_id: str) -> Delivery:
    schemas.refuse_nul(delivery_id=delivery_id)
    with database.reading() as connection:
        found = subscriptions.find_delivery(connection, subscription.id, delivery_id)
    if found is None:
        raise ApiProblem("delivery-not-found", "The subscription has no delivery of this id.")
    return found


def _accepted(delivery: Delivery) -> JSONResponse:
    return JSONResponse(_delivery_document(delivery), 202, headers=_HEADERS)


def _document(subscription: Subscription) -> dict[str, Any]:
    paused = subscription.paused_at
    return {
        "id": subscription.id,
        "subject": subscription.subject,
        "repo_id": subscription.repo_id or None,
        "target_url": subscription.target_url,
        "created_at": subscription.created_at.isoformat(),
        "paused_at": None if paused is None else paused.isoformat(),
    }


def _delivery_document(delivery: Delivery) -> dict[str, Any]:
    """Without the body: it may name what this reader may not see."""
    following, delivered = delivery.next_attempt_at, delivery.delivered_at
    return {
        "id": delivery.id,
        "message_id": delivery.message_id,
        "event": delivery.event,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "log": list(delivery.log),
        "created_at": delivery.created_at.isoformat(),
        "next_attempt_at": None if following is None else following.isoformat(),
        "delivered_at": None if delivered is None else delivered.isoformat(),
    }


def _audit(session: Session, request: Request, caller: Caller, action: str, subject: str) -> None:
    trail.note(session, request_id_of(request), caller, action, subject)
