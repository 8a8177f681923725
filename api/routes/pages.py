"""Everything for people in a browser, and problems as pages where a browser meets one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog
from fastapi import FastAPI, Request

from api.routes import (
    adapter_pages,
    badges,
    base_pages,
    browse,
    docs,
    forms,
    operation_pages,
    problems,
    status_page,
    subscription_pages,
)
from api.web import render

log = structlog.get_logger("api")

_PAGES: Final = (
    # The folder of records as CSV lies beside the adapters' own pages.
    browse.router,
    adapter_pages.router,
    base_pages.router,
    operation_pages.router,
    status_page.router,
    problems.router,
    docs.router,
    forms.router,
    subscription_pages.router,
    badges.router,
)
# Where programs ask, whatever they accept.
_FOR_PROGRAMS: Final = ("/v1/", "/badges/", "/static/", "/metrics", "/livez", "/readyz")


def install(app: FastAPI) -> None:
    """Add the pages, and make problems readable for people."""
    for router in _PAGES:
        app.include_router(router)
    app.state.problem_page = problem_page


def problem_page(request: Request, document: Mapping[str, object]) -> str | None:
    """The problem as a page where a person asked for one, else None."""
    if request.url.path.startswith(_FOR_PROGRAMS) or not _prefers_html(request):
        return None
    try:
        template = render.environment().get_template("error.html")
        visitor = render.visitor_of(request)
        return template.render(path=request.url.path, visitor=visitor, problem=document)
    except Exception as error:
        # The problem is answered as JSON rather than not at all.
        log.error("problem-page", exc_info=error)
        return None


def _prefers_html(request: Request) -> bool:
    """True where HTML is named in Accept before JSON is, or instead of it."""
    kinds = [part.split(";")[0].strip() for part in request.headers.get("accept", "").split(",")]
    if "text/html" not in kinds:
        return False
    json_at = [kinds.index(kind) for kind in kinds if kind.endswith("json")]
    return not json_at or kinds.index("text/html") < min(json_at)
