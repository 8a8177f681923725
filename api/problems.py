"""Every error as `application/problem+json` (RFC 9457): one table, one shape, no internals.

`type` resolves to the page of the code. Two headers repeat code and message, because clients of
the Hub read them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Mount

from registry.domain.issues import CATALOGUE
from registry.errors import (
    DatabaseNotMigrated,
    DatabaseUnavailable,
    HubRateLimited,
    LoadplanError,
    TransientHubError,
)

log = structlog.get_logger("api")

# Status per code. A code that is missing here is a fault of ours: 500.
STATUS: Final[Mapping[str, int]] = {
    "invalid-request": 422,
    "adapter-not-recorded": 404,
    "base-not-recorded": 404,
    "operation-not-found": 404,
    "subscription-not-found": 404,
    "delivery-not-found": 404,
    "problem-not-found": 404,
    "route-not-found": 404,
    "method-not-allowed": 405,
    "body-too-large": 413,
    "unsupported-media-type": 415,
    "token-missing": 401,
    "token-scope-missing": 403,
    "webhook-secret-wrong": 401,
    "cross-site-form": 403,
    "target-not-allowed": 422,
    "operation-finished": 409,
    "rate-limited": 429,
    "idempotency-key-reused": 422,
    "idempotency-key-in-flight": 409,
    "database-not-migrated": 503,
    "database-unavailable": 503,
    "internal-error": 500,
}

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


# Writes a problem as a page, None where the request does not want one.
ProblemPage = Callable[[Request, Mapping[str, object]], str | None]


class ApiProblem(LoadplanError):
    """The request cannot be answered."""

    def __init__(
        self,
        problem_code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(message, **members)
        self.problem_code = problem_code
        self.headers = dict(headers or {})


def request_id_of(request: Request) -> str:
    """The id that the middleware of `api.middleware` gave this request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def problem_document(
    request: Request, code: str, detail: str, members: Mapping[str, object] | None = None
) -> dict[str, object]:
    """The body. Members with value None are left out."""
    kind = CATALOGUE.get(code) or CATALOGUE["internal-error"]
    extra = {name: value for name, value in (members or {}).items() if value is not None}
    return {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": STATUS.get(code, 500),
        "detail": detail,
        "code": code,
        "fix": kind.fix,
        "request_id": request_id_of(request),
        **extra,
    }


def problem_response(
    request: Request,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> Response:
    """The body as a response, with the headers that clients of the Hub read."""
    document = problem_document(request, code, detail, members)
    headers = {
        "X-Error-Code": code,
        "X-Error-Message": detail.encode("ascii", "replace").decode()[:200].replace("\n", " "),
        "Cache-Control": "no-store",
        **(headers or {}),
    }
    page = _page_for(request, document)
    if page is not None:
        return Response(page, STATUS.get(code, 500), {**headers, "Vary": "Accept"}, "text/html")
    return Response(
        json.dumps(document, ensure_ascii=False),
        status_code=STATUS.get(code, 500),
        media_type="application/problem+json",
        headers=headers,
    )


def _page_for(request: Request, document: Mapping[str, object]) -> str | None:
    """The problem as a page, for people in a browser; `pages.install` says how."""
    render: ProblemPage | None = getattr(request.app.state, "problem_page", None)
    return None if render is None else render(request, document)


def install(app: FastAPI) -> None:
    """Route every way of failing through `problem_response`."""
    app.add_exception_handler(LoadplanError, _on_loadplan_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_loadplan_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LoadplanError)
    code = error.problem_code if isinstance(error, ApiProblem) else error.code
    headers = dict(error.headers) if isinstance(error, ApiProblem) else {}
    if code not in STATUS:
        log.error("unmapped-error", code=code, request_id=request_id_of(request))
        return problem_response(request, "internal-error", _INTERNAL)
    if isinstance(error, HubRateLimited) and error.retry_after is not None:
        headers["Retry-After"] = str(int(error.retry_after) + 1)
    elif isinstance(error, (TransientHubError, DatabaseUnavailable, DatabaseNotMigrated)):
        headers.setdefault("Retry-After", "5")
    return problem_response(request, code, error.message, headers=headers, members=error.fields)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # The offending value is left out: it may be a secret, and it may be large.
    errors = [
        {"detail": str(item["msg"]), "pointer": "/" + "/".join(str(part) for part in item["loc"])}
        for item in error.errors()[:20]
    ]
    detail = f"{len(errors)} part(s) of the request cannot be read; the first: "
    detail += f"{errors[0]['pointer']}: {errors[0]['detail']}" if errors else "unknown"
    return problem_response(request, "invalid-request", detail, members={"errors": errors})


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return problem_response(request, "route-not-found", "There is no such route.")
    if error.status_code == 405:
        return problem_response(
            request,
            "method-not-allowed",
            f"{request.method} is not allowed here.",
            headers={"Allow": ", ".join(_allowed(request))},
        )
    if error.status_code == 413:
        return problem_response(request, "body-too-large", "The body is larger than allowed.")
    if error.status_code < 500:
        return problem_response(request, "invalid-request", "The request cannot be read.")
    return problem_response(request, "internal-error", _INTERNAL)


def _allowed(request: Request) -> list[str]:
    """Every method that the path takes. Several routes may share it, and the router names the
    methods of the first one only."""
    routes = request.app.routes
    if any(isinstance(each, Mount) and _takes(each, request, "GET") for each in routes):
        return ["GET", "HEAD"]
    return [method for method in _METHODS if any(_takes(each, request, method) for each in routes)]


def _takes(route: BaseRoute, request: Request, method: str) -> bool:
    # A mount that was entered has put its own path in front of the root.
    root = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    match, _ = route.matches({**request.scope, "method": method, "root_path": root})
    return match is Match.FULL


def unforeseen(request: Request, error: Exception) -> Response:
    """A fault of ours: logged with its id, and nothing of it disclosed."""
    log.error("internal-error", request_id=request_id_of(request), exc_info=error)
    return problem_response(request, "internal-error", _INTERNAL)


_INTERNAL: Final = "Something went wrong here; the request id names it in the log."
