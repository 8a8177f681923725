"""Badges: a small picture and a shields endpoint. Unknown and private look alike, with 200."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from api.callers import ANYONE
from api.dependencies import RecordsDep
from api.reading import Lookup, RecordReader
from api.schemas import parse_base, refuse_nul
from api.web import render
from registry.domain.refs import make_reference
from registry.errors import LoadplanError

router = APIRouter(include_in_schema=False)

_SECONDS: Final = 300
_LABEL: Final = "loadplan"
# Status -> the word shown, shields' colour, ours. White on each has a contrast of at least 4.5.
_LOOKS: Final = {
    "compatible": ("brightgreen", "#0c6b34"),
    "rehearsed": ("blue", "#1f4e8c"),
    "planned": ("informational", "#2f5f9e"),
    "incompatible": ("red", "#a4161a"),
    "unsupported": ("lightgrey", "#5a6472"),
    "blocked": ("orange", "#8a4b00"),
    "stale": ("yellow", "#7a5a00"),
    "failed": ("lightgrey", "#5a6472"),
    "queued": ("lightgrey", "#5a6472"),
}
_UNKNOWN: Final = ("lightgrey", "#5a6472")
Text = Annotated[str | None, Query(max_length=400)]


@router.get("/badges/{namespace}/{name}.svg", name="badge_svg", response_class=Response)
def badge_svg(
    request: Request,
    namespace: str,
    name: str,
    records: RecordsDep,
    revision: Text = None,
    subfolder: Text = None,
    base: Text = None,
) -> Response:
    """A picture never answers 404: a page would show it broken."""
    word = _word(records, namespace, name, revision, subfolder, base)
    _, colour = _LOOKS.get(word, _UNKNOWN)
    left, right = _width(_LABEL), _width(word)
    body = (
        render.environment()
        .get_template("badge.svg")
        .render(label=_LABEL, word=word, colour=colour, left=left, right=right)
    )
    etag = f'W/"{hashlib.sha256(body.encode()).hexdigest()[:32]}"'
    headers = {"Cache-Control": f"public, max-age={_SECONDS}", "ETag": etag}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="image/svg+xml", headers=headers)


@router.get("/badges/{namespace}/{name}.json", name="badge_json")
def badge_json(
    namespace: str,
    name: str,
    records: RecordsDep,
    revision: Text = None,
    subfolder: Text = None,
    base: Text = None,
) -> JSONResponse:
    """The endpoint that shields.io reads."""
    word = _word(records, namespace, name, revision, subfolder, base)
    document = {
        "schemaVersion": 1,
        "label": _LABEL,
        "message": word,
        "color": _LOOKS.get(word, _UNKNOWN)[0],
        "cacheSeconds": _SECONDS,
    }
    return JSONResponse(document, headers={"Cache-Control": f"public, max-age={_SECONDS}"})


def _word(
    records: RecordReader,
    namespace: str,
    name: str,
    revision: str | None,
    subfolder: str | None,
    base: str | None,
) -> str:
    """The status; `unknown` for what is absent, private or no name at all. Tokens change nothing:
    a badge is for everybody."""
    try:
        refuse_nul(namespace=namespace, name=name, revision=revision, subfolder=subfolder)
        adapter = make_reference(f"{namespace}/{name}", revision or None, subfolder or None)
        lookup = Lookup.of(adapter, parse_base(base))
        found = records.remembered(lookup) or records.find(lookup)
    except LoadplanError:
        return "unknown"
    if found is None or not ANYONE.sees(found.stored):
        return "unknown"
    return found.stored.record.status.value


def _width(text: str) -> int:
    """Of text in 11 px sans, near enough: `textLength` makes it exact."""
    return round(6.6 * len(text)) + 12
