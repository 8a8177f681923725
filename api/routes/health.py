"""`/livez` asks nobody, `/readyz` asks the database, `/metrics` counts for Prometheus."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.dependencies import DatabaseDep
from registry.db.session import check_migrated
from registry.errors import DatabaseNotMigrated, DatabaseUnavailable

router = APIRouter(tags=["operations"])


_CHECKS: Final = {
    "type": "object",
    "required": ["status", "checks"],
    "properties": {
        "status": {"enum": ["ok", "unready"]},
        "checks": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
_READY: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"schema": _CHECKS}}},
    503: {"description": "Not ready", "content": {"application/json": {"schema": _CHECKS}}},
}
_TEXT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}
}


@router.get("/livez", name="livez")
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", name="readyz", responses=_READY)
def readyz(request: Request, database: DatabaseDep) -> JSONResponse:
    """The database answers, is at the migration that this version needs, and we are not leaving."""
    checks: dict[str, Any] = {"database": "ok", "migrated": "ok", "draining": "no"}
    try:
        check_migrated(database)
    except DatabaseNotMigrated as error:
        checks["migrated"] = error.message
    except DatabaseUnavailable as error:
        checks["database"], checks["migrated"] = error.message, "unknown"
    if request.app.state.draining.is_set():
        checks["draining"] = "yes"
    ready = checks == {"database": "ok", "migrated": "ok", "draining": "no"}
    return JSONResponse(
        {"status": "ok" if ready else "unready", "checks": checks}, 200 if ready else 503
    )


@router.get("/metrics", name="metrics", response_class=Response, responses=_TEXT)
def metrics(request: Request) -> Response:
    """Counters and gauges in the Prometheus text format. No label ever holds a repository id."""
    return Response(
        generate_latest(request.app.state.metrics), headers={"Content-Type": CONTENT_TYPE_LATEST}
    )
