"""`POST /v1/webhooks/hub`: what the Hub tells of its repositories. There only with a secret."""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from api import schemas
from api.dependencies import DatabaseDep, RecordsDep
from api.problems import ApiProblem
from registry.domain.hub_events import parse_hub_event
from registry.errors import InvalidRequest
from registry.watching import receive

router = APIRouter(prefix="/v1", tags=["webhooks"])

MAX_BYTES: Final = 262_144
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": schemas.Problem, "description": "The secret is missing or wrong"},
    413: {"model": schemas.Problem, "description": "More than 256 KiB"},
    422: {"model": schemas.Problem, "description": "Not an event of the Hub"},
}
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "additionalProperties": True},
                "example": {
                    "event": {"action": "update", "scope": "repo.content"},
                    "repo": {"type": "model", "name": "acme/chat-lora", "private": False},
                    "updatedRefs": [
                        {"ref": "refs/heads/main", "oldSha": "0" * 40, "newSha": "1" * 40}
                    ],
                },
            }
        },
    },
    "parameters": [
        {
            "name": "X-Webhook-Secret",
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
        }
    ],
}


@router.post(
    "/webhooks/hub",
    name="post_hub_webhook",
    status_code=202,
    responses=_RESPONSES,
    openapi_extra=_BODY,
)
async def post_hub_webhook(
    request: Request, database: DatabaseDep, records: RecordsDep
) -> JSONResponse:
    """Note an event and queue what it asks for; the same event again changes nothing."""
    _check_secret(request)
    changes = parse_hub_event(_parse(await _body(request)))
    received = await run_in_threadpool(
        receive, database, request.app.state.jobs, changes, received_at=datetime.now(UTC)
    )
    if received.hidden:
        records.forget()
    return JSONResponse({"noted": received.noted, "repeated": received.repeated}, 202)


def _check_secret(request: Request) -> None:
    """The header alone counts: what stands in a URL ends in logs."""
    if "secret" in request.query_params:
        raise ApiProblem(
            "webhook-secret-wrong", "The secret is sent as X-Webhook-Secret, never in the URL."
        )
    wanted = request.app.state.settings.hub_webhook_secret.get_secret_value()
    given = request.headers.get("x-webhook-secret", "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode()):
        raise ApiProblem(
            "webhook-secret-wrong", "X-Webhook-Secret is missing or is not the secret set here."
        )


async def _body(request: Request) -> bytes:
    """At most MAX_BYTES, whatever length was declared."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise ApiProblem("body-too-large", f"An event may hold at most {MAX_BYTES} bytes.")
    return bytes(body)


def _parse(body: bytes) -> object:
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not JSON.", field="body") from None
    return document
