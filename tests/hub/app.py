"""The routes, and the layer around them: latency, quotas, faults and the request log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.hub import api, files, listing
from tests.hub.access import Refusal, RepositoryMoved, answer_moved, answer_refusal
from tests.hub.faults import Answer, Delay, Drop, Endless, Fault, Truncate
from tests.hub.request_log import LoggedRequest

if TYPE_CHECKING:
    from tests.hub.server import LocalHub


class RepositoryConvertor(Convertor[str]):
    """An id of one or two segments, still percent-encoded."""

    regex = "[^/]+(?:/[^/]+)?"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("repo", RepositoryConvertor())

MODEL = "/api/models/{repo:repo}"
ROUTES = [
    Route("/{repo:repo}/resolve/{revision}/{path:path}", files.resolve),
    Route("/cdn/{sha256}", files.cdn),
    Route("/api/resolve-cache/models/{repo:repo}/{revision}/{path:path}", files.resolve_cache),
    Route("/api/models", listing.list_models),
    Route("/api/whoami-v2", api.whoami),
    Route(f"{MODEL}/revision/{{revision}}", api.model_info),
    Route(f"{MODEL}/tree/{{revision}}/{{path:path}}", api.tree),
    Route(f"{MODEL}/tree/{{revision}}", api.tree),
    Route(f"{MODEL}/paths-info/{{revision}}", api.paths_info, methods=["POST"]),
    Route(f"{MODEL}/commits/{{revision}}", api.commits),
    Route(f"{MODEL}/refs", api.refs),
    Route(f"{MODEL}/auth-check", api.auth_check),
    Route(f"{MODEL}/discussions", api.discussions),
    Route(MODEL, api.model_info),
]


class ClientGone(Exception):
    """The client hung up, or a fault did: nothing more can be sent."""


class HubLayer:
    """What happens to every request before and around its route."""

    def __init__(self, app: ASGIApp, hub: LocalHub) -> None:
        self.app, self.hub = app, hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Routes match the path as it was sent, so that %2F stays inside its segment.
        path = scope["raw_path"].decode("latin-1").split("?")[0]
        scope["path"] = path
        headers = dict(scope["headers"])
        host = "cdn" if headers.get(b"host", b"").startswith(b"localhost") else "hub"
        exchange = Exchange(self.hub, scope, send, headers, host)
        if self.hub.latency:
            await asyncio.sleep(self.hub.latency)
        fault = self.hub.faults.take(scope["method"], path, host)
        try:
            await self._answer(fault, exchange, scope, receive)
        except ClientGone:
            pass
        finally:
            exchange.log()

    async def _answer(
        self, fault: Fault | None, exchange: Exchange, scope: Scope, receive: Receive
    ) -> None:
        if isinstance(fault, Answer):
            await exchange.answer(fault.status, dict(fault.headers), fault.body)
        elif isinstance(fault, Drop):
            await exchange.drop(receive)
        elif isinstance(fault, Endless):
            await exchange.never_end(fault)
        elif exchange.over_quota:
            await exchange.answer(429, {}, b'{"error":"We had to rate limit you"}')
        elif not self.hub.profile.api and scope["path"].startswith("/api/"):
            await exchange.answer(404, {}, b"Not Found")
        else:
            if isinstance(fault, Delay):
                await asyncio.sleep(fault.seconds)
            exchange.cut_at = fault.at if isinstance(fault, Truncate) else None
            scope["hub.fault"] = fault
            await self.app(scope, receive, exchange.send)


class Exchange:
    """One request being answered: adds the quota headers, counts the bytes, cuts where told."""

    def __init__(
        self, hub: LocalHub, scope: Scope, send: Send, headers: dict[bytes, bytes], host: str
    ) -> None:
        self.hub, self.scope, self.host, self.headers = hub, scope, host, headers
        self._send, self._logged = send, False
        self.status, self.bytes_sent = 0, 0
        self.cut_at: int | None = None
        self.over_quota = False
        self.quota_headers: dict[str, str] = {}
        if host == "hub":
            path = scope["path"]
            cached = path.startswith("/api/resolve-cache/")
            bucket = "api" if path.startswith("/api/") and not cached else "resolvers"
            within, self.quota_headers = hub.quotas.spend(bucket)
            self.over_quota = not within

    async def send(self, message: Message) -> None:
        """Pass a message on, as long as somebody is there to take it."""
        # Starlette and uvicorn drop what is sent to a client that has gone, so without this look
        # at the server's own state, which changes between two steps of the event loop, a file of
        # gigabytes would be read to its end for nobody.
        await asyncio.sleep(0)
        if self._send.__self__.disconnected:  # type: ignore[attr-defined]
            raise ClientGone
        if message["type"] == "http.response.start":
            self.status = message["status"]
            quota = [(k.lower().encode(), v.encode()) for k, v in self.quota_headers.items()]
            told = {name for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(h for h in quota if h[0] not in told)]
            await self._send(message)
            return
        body = b"" if self.scope["method"] == "HEAD" else message.get("body", b"")
        if self.cut_at is not None and self.bytes_sent + len(body) > self.cut_at:
            body = body[: self.cut_at - self.bytes_sent]
            self.bytes_sent += len(body)
            self.log()
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            # Ending without the rest makes the server close the connection.
            raise ClientGone
        self.bytes_sent += len(body)
        if not message.get("more_body"):
            # Logged before the last byte leaves, so that who has the answer finds it in the log.
            self.log()
        await self._send({**message, "body": body})

    async def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        raw = [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()]
        raw.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def drop(self, receive: Receive) -> None:
        """Close the connection without an answer, which ASGI itself has no word for."""
        self._send.__self__.transport.abort()  # type: ignore[attr-defined]
        while (await receive())["type"] != "http.disconnect":
            pass

    async def never_end(self, fault: Endless) -> None:
        await self.send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await self.send({"type": "http.response.body", "body": fault.chunk, "more_body": True})
            await asyncio.sleep(fault.pause)

    def log(self) -> None:
        """Write the request into the log, once."""
        if self._logged:
            return
        self._logged = True
        asked = self.headers.get(b"range")
        self.hub.log.add(
            LoggedRequest(
                self.scope["method"],
                self.scope["path"],
                self.scope["query_string"].decode("latin-1"),
                self.host,
                self.status,
                self.bytes_sent,
                asked.decode("latin-1") if asked else None,
                b"authorization" in self.headers,
            )
        )


async def answer_no_route(_request: Request, _error: Exception) -> JSONResponse:
    return JSONResponse({"error": "Sorry, we can't find the page you are looking for."}, 404)


def build_app(hub: LocalHub) -> ASGIApp:
    app = Starlette(
        routes=ROUTES,
        exception_handlers={
            Refusal: answer_refusal,
            RepositoryMoved: answer_moved,
            404: answer_no_route,
        },
    )
    app.state.hub = hub
    return HubLayer(app, hub)
