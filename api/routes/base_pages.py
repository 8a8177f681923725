"""`/bases` and `/bases/{repo_id}`: base models with their adapters, proofs and moves."""

from __future__ import annotations

from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api import schemas
from api.dependencies import DatabaseDep
from api.problems import ApiProblem
from api.routes.adapters import StatusName
from api.web import render
from api.web.comparing import Line, compare_bases
from api.web.evidence import say_versions
from api.web.session import VisitorDep
from registry.db.checkpoints import load_base
from registry.db.records import (
    RecordFilter,
    StoredRecord,
    find_base,
    list_bases,
    list_records,
)
from registry.db.records.matrix import Matrix, load_matrix
from registry.db.records.places_of import list_commits
from registry.db.repositories import ref_history
from registry.domain.facts import BaseFacts
from registry.domain.refs import Digest, Source, make_reference

router = APIRouter(include_in_schema=False)

_MOST_MOVES: Final = 10
Text = Annotated[str | None, Query(max_length=255)]
Cursor = Annotated[str | None, Query(max_length=2048)]


@router.get("/bases", name="bases_page", response_class=HTMLResponse)
def bases_page(
    request: Request,
    database: DatabaseDep,
    visitor: VisitorDep,
    q: Text = None,
    cursor: Cursor = None,
) -> HTMLResponse:
    """Bases by name, with their adapters counted by status."""
    schemas.refuse_nul(q=q)
    with database.reading() as connection:
        page = list_bases(connection, q=q, cursor=cursor or None, visible=visitor.visible)
    following = page.next_cursor
    context: dict[str, Any] = {
        "q": q,
        "rows": [
            {**vars(base), "statuses": _by_status(dict(base.statuses))} for base in page.bases
        ],
        "first": render.address("/bases", q=q) if cursor else None,
        "next": render.address("/bases", q=q, cursor=following) if following else None,
    }
    if request.headers.get("hx-target", "").endswith("browse"):
        return render.block(request, "bases.html", "found", **context)
    return render.page(request, "bases.html", **context)


@router.get("/bases/{repo_id:path}", name="base_page", response_class=HTMLResponse)
def base_page(
    request: Request,
    repo_id: str,
    database: DatabaseDep,
    visitor: VisitorDep,
    status: StatusName | None = None,
    cursor: Cursor = None,
) -> HTMLResponse:
    """One base; the id may hold one slash."""
    make_reference(repo_id)
    with database.reading() as connection:
        base = find_base(connection, repo_id, visible=visitor.visible)
        if base is None:
            raise ApiProblem("base-not-recorded", "No visible record names this base.")
        wanted = RecordFilter(base=base.repo_id, status=status, visible=visitor.visible)
        page = list_records(connection, wanted, limit=25, cursor=cursor or None)
        matrix = load_matrix(connection, base.repo_id, visible=visitor.visible)
        moves, newest = _moves(connection, Source(base.source), base.repo_id)
    path = f"/bases/{base.repo_id}"
    following = page.next_cursor
    return render.page(
        request,
        "base_model.html",
        base=base,
        config=newest.config if newest else None,
        statuses=_by_status(dict(base.statuses)),
        chosen=status,
        rows=[_row(found) for found in page.records],
        next=render.address(path, status=status, cursor=following) if following else None,
        matrix=matrix,
        columns=_columns(matrix),
        moves=moves,
        stale=base.statuses.get("stale", 0),
    )


def _by_status(statuses: dict[str, int]) -> list[tuple[str, int]]:
    return [(status, statuses[status]) for status in render.SIGNS if status in statuses]


def _row(found: StoredRecord) -> dict[str, Any]:
    codes = {issue.code for issue in found.record.issues}
    return {
        "record": found.record,
        "scanned_at": found.scanned_at,
        "declared": "base-differs-from-declared" not in codes,
    }


def _columns(matrix: Matrix) -> list[dict[str, Any]]:
    return [
        {
            "key": (column.digest, column.device),
            "device": column.device,
            "said": say_versions(column.versions),
            "retired": column.retired_at is not None,
        }
        for column in matrix.columns
    ]


def _moves(
    connection: sa.Connection, source: Source, repo_id: str
) -> tuple[list[dict[str, Any]], BaseFacts | None]:
    """Commits that `main` had, newest first, each with what changed; the newest facts known."""
    contents = {
        commit.commit_sha: commit.content
        for commit in list_commits(connection, source, repo_id, kind="base")
    }
    history = list(ref_history(connection, source, repo_id))[: _MOST_MOVES + 1]
    facts = [_facts(connection, contents.get(sha or "")) for sha, _ in history]
    moves: list[dict[str, Any]] = []
    for place, (sha, seen_at) in enumerate(history):
        lines: list[Line] | None = None
        after = facts[place]
        before = facts[place + 1] if place + 1 < len(facts) else None
        if after is not None and before is not None:
            lines = compare_bases(before, after)
        moves.append({"commit_sha": sha, "seen_at": seen_at, "lines": lines})
    return moves, next((each for each in facts if each is not None), None)


def _facts(connection: sa.Connection, content: str | None) -> BaseFacts | None:
    return None if content is None else load_base(connection, Digest(content))
