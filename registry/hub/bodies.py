"""Bodies read within bounds, whole or a span of bytes of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import aiohttp

from registry.errors import FileInvalid, HubError, HubMirrorLimited
from registry.hub.answers import REDIRECTS

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)")
# What a server that ignores `Range` sends before the bytes wanted is read and dropped up to here.
_MOST_SKIPPED = 16 * 1024 * 1024
_MOST_OF_AN_ERROR = 64 * 1024


@dataclass(frozen=True)
class Span:
    """Bytes `start` up to, not including, `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a body: nothing (HEAD), all of at most `limit` bytes, or a span."""

    what: str
    limit: int
    span: Span | None = None
    headers_only: bool = False


class AnswerCut(Exception):
    """The body ends before what its own headers say."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


async def read_body(response: aiohttp.ClientResponse, wanted: Wanted) -> tuple[bytes, int | None]:
    """The body bytes wanted, and the whole file's size where a range answer tells it."""
    if wanted.headers_only or response.status in REDIRECTS:
        # Redirects have short bodies; reading them keeps the connection alive.
        return await _take(response, 0, _MOST_OF_AN_ERROR), None
    if response.status >= 400:
        body = await _take(response, 0, _MOST_OF_AN_ERROR)
        return body, _total_of(response) if response.status == 416 else None
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise HubError(f"An encoded answer was not asked for ({wanted.what}).")
    if wanted.span is not None:
        return await _read_span(response, wanted.span, wanted.what)
    length = response.content_length
    if length is not None and length > wanted.limit:
        response.close()
        raise FileInvalid(f"{length} bytes for {wanted.what}; at most {wanted.limit} are read.")
    body = await _take(response, 0, wanted.limit + 1)
    if len(body) > wanted.limit:
        raise FileInvalid(f"More than {wanted.limit} bytes for {wanted.what}; no more are read.")
    return body, len(body)


async def _read_span(
    response: aiohttp.ClientResponse, span: Span, what: str
) -> tuple[bytes, int | None]:
    if response.status == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or match[1] is None or int(match[1]) != span.start:
            response.close()
            raise HubMirrorLimited(f"A range was answered by another range ({what}).")
        first, last = int(match[1]), int(match[2])
        total = None if match[3] == "*" else int(match[3])
        wanted = min(len(span), last - first + 1)
        body = await _take(response, 0, wanted)
        # A shorter piece than the file has would look like a file that ends there.
        due = wanted if total is None else min(span.end, total) - span.start
        if len(body) < due:
            raise AnswerCut(f"The answer ends after {len(body)} of {due} bytes.")
        return body, total
    if span.start > _MOST_SKIPPED:
        response.close()
        raise HubMirrorLimited(f"The endpoint ignores ranges, needed far into the file: {what}.")
    body = await _take(response, span.start, len(span))
    return body, response.content_length


async def _take(response: aiohttp.ClientResponse, skip: int, limit: int) -> bytes:
    """At most `limit` bytes after the first `skip`.

    The connection is closed, not drained, when more is to come: a whole file sent in answer to a
    range stays where it is.
    """
    pieces: list[bytes] = []
    end = skip + limit
    position = 0
    async for piece in response.content.iter_any():
        begin = max(0, skip - position)
        pieces.append(piece[begin : max(begin, end - position)])
        position += len(piece)
        if position > end or (position == end and response.content_length != end):
            response.close()
            break
    return b"".join(pieces)


def _total_of(response: aiohttp.ClientResponse) -> int | None:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return None if match is None or match[3] == "*" else int(match[3])
