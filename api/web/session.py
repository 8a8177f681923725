"""People in a browser: the token in a cookie that no script reads, and forms from here alone.

The cookie holds the token itself, so that revoking the token ends the session everywhere and no
table of sessions is needed. The JSON API reads the Authorization header only: no other site can
make a browser call it in somebody's name.
"""

from __future__ import annotations

from typing import Annotated, Final, cast
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from api.callers import ANYONE, Caller
from api.identity import Identities, Quotas
from api.problems import ApiProblem

_PLAIN_NAME: Final = "loadplan_session"
# Browsers take a cookie of this name over https alone, for this host alone.
_SECURE_NAME: Final = "__Host-loadplan_session"
_FROM_HERE: Final = frozenset({"same-origin", "none"})


def _public_url(request: Request) -> str | None:
    url = request.app.state.settings.public_url
    return None if url is None else str(url).rstrip("/")


def _is_secure(request: Request) -> bool:
    return origin_of(request).startswith("https:")


def _cookie_name(request: Request) -> str:
    return _SECURE_NAME if _is_secure(request) else _PLAIN_NAME


def origin_of(request: Request) -> str:
    """Where readers reach this service: the public URL if there is one, else as asked for."""
    return _public_url(request) or str(request.base_url).rstrip("/")


async def identify_visitor(request: Request) -> Caller:
    """Who looks: by the header as in the API, else by the cookie; a dead cookie is nobody's.

    Raises ApiProblem, DatabaseUnavailable, DatabaseNotMigrated.
    """
    identities = cast(Identities, request.app.state.identities)
    quotas = cast(Quotas, request.app.state.quotas)
    header = request.headers.get("authorization", "")
    cookie = request.cookies.get(_cookie_name(request), "")
    authorization = header or (f"Bearer {cookie}" if cookie else "")
    caller = identities.remembered(authorization)
    if caller is None:
        try:
            caller = await run_in_threadpool(identities.find, authorization)
        except ApiProblem:
            if header:
                raise
            caller = ANYONE
    address = request.client.host if request.client else "unknown"
    request.state.rate_headers = quotas.spend(caller, address)
    request.state.visitor = caller
    return caller


VisitorDep = Annotated[Caller, Depends(identify_visitor)]


def check_same_site(request: Request) -> None:
    """Refuse a form that another site made the browser send. Raises ApiProblem."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        allowed = site in _FROM_HERE
    else:
        # Browsers without Sec-Fetch-Site send Origin with every POST.
        origin = request.headers.get("origin", "")
        hosts = {urlsplit(origin_of(request)).netloc, request.url.netloc}
        allowed = urlsplit(origin).netloc in hosts and bool(origin)
    if not allowed:
        raise ApiProblem("cross-site-form", "This form was not sent from a page of this service.")


FormDep = Depends(check_same_site)


def sign_in(request: Request, response: Response, token: str) -> None:
    response.set_cookie(
        _cookie_name(request),
        token,
        httponly=True,
        secure=_is_secure(request),
        samesite="lax",
        path="/",
    )


def sign_out(request: Request, response: Response) -> None:
    response.delete_cookie(
        _cookie_name(request),
        httponly=True,
        secure=_is_secure(request),
        samesite="lax",
        path="/",
    )


def require(visitor: Caller, scope: str) -> None:
    """Raises ApiProblem token-missing or token-scope-missing; `admin` has every scope."""
    if visitor.token_id is None:
        raise ApiProblem("token-missing", f"This needs a token with the scope {scope!r}: sign in.")
    if not visitor.scopes & {scope, "admin"}:
        raise ApiProblem(
            "token-scope-missing", f"The token {visitor.name!r} lacks the scope {scope!r}."
        )
