"""What surrounds every request: an id, a body limit, security headers, one log line."""

from __future__ import annotations

import re
import time
import uuid
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem_response, unforeseen

log = structlog.get_logger("api")

MAX_BODY_BYTES: Final = 1_048_576
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

# Nothing inline, nothing from elsewhere: pages carry one style sheet and one script of our own.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class RequestFrame:
    """Gives each request an id, echoes it, adds the security headers and logs the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        answered = False

        async def send_framed(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                for name, value in scope["state"].get("rate_headers", {}).items():
                    headers.setdefault(name, value)
                # The template, not the path: a private name must not reach a shared log.
                route = getattr(scope.get("route"), "path", None)
                seconds = time.perf_counter() - started
                scope["app"].state.requests.note(scope["method"], route, message["status"], seconds)
                log.info(
                    "request",
                    request_id=request_id,
                    method=scope["method"],
                    route=route,
                    status=message["status"],
                    milliseconds=round(seconds * 1000, 1),
                )
            await send(message)

        try:
            await self.app(scope, receive, send_framed)
        except Exception as error:
            response = unforeseen(Request(scope), error)
            if not answered:
                await response(scope, receive, send_framed)


class BodyLimit:
    """Refuses bodies over MAX_BODY_BYTES, declared or streamed, before a route reads them."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self.limit:
            await self._refuse(scope, receive, send)
            return
        seen = 0
        refused = False

        async def receive_counted() -> Message:
            nonlocal seen, refused
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limit:
                refused = True
                # The route must not act on half a body: it sees the client leave, and what it
                # then answers is replaced below.
                return {"type": "http.disconnect"}
            return message

        async def send_unless_refused(message: Message) -> None:
            if not refused:
                await send(message)
            elif message["type"] == "http.response.start":
                await self._refuse(scope, receive, send)

        await self.app(scope, receive_counted, send_unless_refused)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"The body may hold at most {self.limit} bytes."
        response = problem_response(Request(scope), "body-too-large", detail)
        await response(scope, receive, send)
