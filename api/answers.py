"""JSON answers about records: weak ETags, cache headers, conditional requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from api.reading import Found
from registry.domain.record import Record
from registry.domain.refs import is_commit_sha

# A verdict may change with the next proof: short. Shapes at two commits never change: a year.
SHORT: Final = "max-age=30, stale-while-revalidate=300"
FOR_EVER: Final = "max-age=31536000, immutable"


def record_answer(
    request: Request, found: Found, document: object, *, cache: str = SHORT
) -> Response:
    """The document with its ETag, or 304 where the caller has it."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    record = found.stored.record
    headers = {
        "ETag": etag,
        "Cache-Control": ("private, " if found.stored.private else "public, ") + cache,
        "Vary": "Authorization, Accept-Encoding",
        "X-Revision": record.adapter.commit_sha or "",
    }
    if found.from_memory:
        headers["Cache-Control"] = "no-store"
        headers["Warning"] = '110 - "The database does not answer; this is from memory"'
        headers["X-Loadplan-From-Memory"] = "1"
    if _has(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def record_document(record: Record) -> Mapping[str, object]:
    return record.to_json()


def plan_document(record: Record) -> dict[str, object]:
    """The part of the record that a deployment reads."""
    document = record.to_json()
    members = ("adapter", "base", "status", "evidence", "plan", "issues")
    return {name: document[name] for name in members}


def summary_document(found_record: Record, scanned_at: str) -> dict[str, object]:
    document = found_record.to_json()
    members = ("adapter", "base", "status", "evidence", "facts")
    codes = sorted({issue.code for issue in found_record.issues})
    return {
        **{name: document[name] for name in members},
        "issues": codes,
        "scanned_at": scanned_at,
    }


def is_pinned(revision: str | None, base_revision: str | None) -> bool:
    """True when both sides were asked for by commit, so that the answer can never change."""
    return is_commit_sha(revision or "") and is_commit_sha(base_revision or "")


def _has(request: Request, etag: str) -> bool:
    given = request.headers.get("if-none-match", "")
    known = {part.strip().removeprefix("W/") for part in given.split(",")}
    return "*" in known or etag.removeprefix("W/") in known
