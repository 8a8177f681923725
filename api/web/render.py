"""Jinja2 with everything escaped; the few words and signs that pages share."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from api.callers import ANYONE, Caller
from api.web.text import isolated, shown_value, visible_text

STATIC_FOLDER: Final = Path(__file__).parent / "static"


class Sign(NamedTuple):
    """How a status is shown: never by colour alone."""

    tone: str
    mark: str
    word: str
    meaning: str


SIGNS: Final[Mapping[str, Sign]] = {
    "compatible": Sign("good", "✓", "Compatible", "proven with real weights"),
    "rehearsed": Sign("info", "◐", "Rehearsed", "the real loader landed every tensor, no weights"),
    "planned": Sign("info", "○", "Planned", "computed from shapes; nothing was run"),
    "incompatible": Sign("bad", "✕", "Incompatible", "no plan loads it as it stands"),
    "unsupported": Sign("note", "?", "Unsupported", "we cannot judge it"),
    "blocked": Sign("note", "■", "Blocked", "access or a base is missing"),
    "stale": Sign("note", "↻", "Stale", "the content moved since"),
    "failed": Sign("bad", "!", "Failed", "a failure of ours or of the Hub"),
    "queued": Sign("", "…", "Queued", "asked for, nothing known yet"),
}

_TICKED: Final = re.compile(r"`([^`\n]{1,200})`")
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


def shown_bytes(count: int | None) -> str:
    """`16.8 GiB`; an em dash for what is not known."""
    if count is None:
        return "—"
    size = float(count)
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            return f"{int(size)} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("the last unit returns")


def shown_number(count: int | float | None) -> str:
    """Grouped digits; an em dash for what is not known."""
    return "—" if count is None else f"{count:,}"


def shown_time(moment: datetime | str | None) -> Markup:
    """A `<time>` in UTC, to the minute."""
    if moment is None or moment == "":
        return Markup("—")
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return Markup("—")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    moment = moment.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M UTC")
    )


def shown_sign(status: str) -> Markup:
    """A status as sign, word and colour."""
    sign = SIGNS.get(status) or Sign("", "·", status.capitalize(), "")
    return Markup('<span class="state {}"><span aria-hidden="true">{}</span>{}</span>').format(
        sign.tone, sign.mark, sign.word
    )


def _shown_day(moment: datetime) -> Markup:
    """The day alone, where a column has no room for more; the time is said on asking."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), text, text[:10]
    )


@cache
def static_url(name: str) -> str:
    """The path of a static file with its content's hash, so that it may be kept for a year."""
    digest = hashlib.sha256((STATIC_FOLDER / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


@cache
def environment() -> Environment:
    """The one environment: everything escaped, an undefined name is a fault of ours."""
    made = Environment(
        loader=PackageLoader("api.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown_value,
    )
    made.filters.update(
        bytes=shown_bytes,
        number=shown_number,
        when=shown_time,
        day=_shown_day,
        sign=shown_sign,
        short=shown_commit,
        name=isolated,
        seg=_segment,
        pretty=_pretty,
        fraction=_fraction,
        prose=_prose,
    )
    made.globals.update(static_url=static_url, SIGNS=SIGNS, address=address)
    return made


def page(
    request: Request,
    template: str,
    status_code: int = 200,
    *,
    headers: Mapping[str, str] | None = None,
    **context: object,
) -> HTMLResponse:
    """Render a whole page. What somebody sees by a token is never cached for others."""
    visitor = visitor_of(request)
    body = (
        environment()
        .get_template(template)
        .render(path=request.url.path, visitor=visitor, **context)
    )
    return HTMLResponse(
        body, status_code=status_code, headers={**_caching(visitor), **(headers or {})}
    )


def block(request: Request, template: str, name: str, **context: object) -> HTMLResponse:
    """One block of a page, for a script that has the rest of it already."""
    visitor = visitor_of(request)
    parsed = environment().get_template(template)
    made = parsed.new_context({"path": request.url.path, "visitor": visitor, **context})
    return HTMLResponse("".join(parsed.blocks[name](made)), headers=_caching(visitor))


def fragment(template: str, macro: str, *arguments: object) -> str:
    """What a macro of a template writes: a piece of a page that changes while it is looked at."""
    module: Any = environment().get_template(template).module
    return str(getattr(module, macro)(*arguments))


def address(path: str, **query: object) -> str:
    """A path of ours with its query; members that are None or empty are left out."""
    given = [(name, str(value)) for name, value in query.items() if value not in (None, "")]
    return f"{path}?{urlencode(given)}" if given else path


def visitor_of(request: Request) -> Caller:
    """Who was found to look; nobody in particular where the request failed before that."""
    found = request.scope.get("state", {}).get("visitor")
    return found if isinstance(found, Caller) else ANYONE


def _caching(visitor: Caller) -> dict[str, str]:
    private = visitor.token_id is not None
    return {
        "Cache-Control": "private, no-store" if private else "no-cache",
        "Vary": "Cookie, Authorization, Accept, HX-Request, Accept-Encoding",
    }


def shown_commit(commit_sha: str | None) -> str:
    """The first seven digits; an em dash for what is not known."""
    return "—" if not commit_sha else commit_sha.removeprefix("sha256:")[:7]


def _segment(text: str) -> str:
    """A repository id inside a path of ours: its one slash stays, nothing else of it counts."""
    return quote(text, safe="/")


def _pretty(value: object) -> str:
    """A value of a config or a figure of a proof as people read it."""
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "), default=str)


def _prose(text: str) -> Markup:
    """Sentences in which `names` stand between back ticks."""
    parts = _TICKED.split(visible_text(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


def _fraction(value: float | None) -> str:
    return "—" if value is None else f"{value:.4%}"
