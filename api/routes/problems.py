"""`/problems` and `/problems/{code}`: where the `type` of every problem leads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from api.callers import ANYONE, Caller
from api.dependencies import DatabaseDep
from api.problems import STATUS, ApiProblem
from api.web import render
from api.web.session import VisitorDep, identify_visitor
from registry.db.records import RecordFilter, StoredRecord, list_records
from registry.db.records.choices import count_with_issue
from registry.db.session import Database
from registry.domain.issues import CATALOGUE, IssueKind, Severity
from registry.domain.record import issue_to_json
from registry.errors import DatabaseNotMigrated, DatabaseUnavailable

router = APIRouter(include_in_schema=False)

_GROUPS: Final = (
    (Severity.WARNING, "Warnings"),
    (Severity.INFO, "Information"),
    (Severity.ADVICE, "Advice"),
)


def _leads_to(kind: IssueKind) -> str:
    if kind.status is not None:
        return f"{kind.severity.value}: the record is {kind.status.value}, exit code {kind.exit}"
    if kind.severity is Severity.ERROR:
        return f"an answer of the command line or the API, exit code {kind.exit}"
    return f"{kind.severity.value}: said in the record, changes no status"


def _groups() -> list[tuple[str, list[IssueKind]]]:
    kinds = list(CATALOGUE.values())
    records = [kind for kind in kinds if kind.status is not None]
    groups = [
        (f"Errors that make a record {status.value}", [k for k in records if k.status is status])
        for status in dict.fromkeys(kind.status for kind in records if kind.status)
    ]
    for severity, heading in _GROUPS:
        groups.append((heading, [k for k in kinds if k.status is None and k.severity is severity]))
    others = [k for k in kinds if k.status is None and k.severity is Severity.ERROR]
    return [*groups, ("Answers of the command line and the API", others)]


@router.get("/problems", name="problems_page", response_class=HTMLResponse)
def problems_page(request: Request, database: DatabaseDep, visitor: VisitorDep) -> HTMLResponse:
    """Every code, with how many records show it."""
    with database.reading() as connection:
        counts = dict(count_with_issue(connection, visible=visitor.visible))
    return render.page(request, "problems.html", groups=_groups(), counts=counts)


async def _reader(request: Request, code: str) -> Caller:
    """Who met a problem of ours can read of it, whatever keeps them from all else: a used up quota,
    a token that is not known, a database that does not answer."""
    try:
        return await identify_visitor(request)
    except (ApiProblem, DatabaseUnavailable, DatabaseNotMigrated):
        if code in STATUS:
            return ANYONE
        raise


@router.get("/problems/{code}", name="problem_page", response_class=HTMLResponse)
def problem_page(
    request: Request,
    code: str,
    database: DatabaseDep,
    visitor: Annotated[Caller, Depends(_reader)],
) -> HTMLResponse:
    """Cause, fix, how it reads, and the newest records that show it."""
    kind = CATALOGUE.get(code)
    if kind is None:
        raise ApiProblem("problem-not-found", "No problem has this code.")
    in_records = code not in STATUS
    count, found = _shown_by(database, code, visitor) if in_records else (None, ())
    issues = [issue for each in found for issue in each.record.issues if issue.code == code]
    return render.page(
        request,
        "problem.html",
        kind=kind,
        leads_to=_leads_to(kind),
        example=_written(issue_to_json(issues[0])) if issues else _example(kind),
        from_record=found[0].record if issues else None,
        count=count,
        records=[each.record for each in found],
    )


def _shown_by(database: Database, code: str, visitor: Caller) -> tuple[int, Sequence[StoredRecord]]:
    """How many records show it, and the newest of them."""
    with database.reading() as connection:
        counts = dict(count_with_issue(connection, visible=visitor.visible, code=code))
        if not counts:
            return 0, ()
        wanted = RecordFilter(issue=code, visible=visitor.visible)
        return counts.get(code, 0), list_records(connection, wanted, limit=5).records


def _example(kind: IssueKind) -> str:
    """As it would read where no record shows it."""
    status = STATUS.get(kind.code)
    if status is None:
        return _written(
            {
                "code": kind.code,
                "severity": kind.severity.value,
                "message": kind.cause,
                "fix": kind.fix,
            }
        )
    document = {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": status,
        "detail": kind.cause,
        "code": kind.code,
        "fix": kind.fix,
        "request_id": "3f0c5a5e8f5b4c0e9a1d2b7c6e4f8a90",
    }
    return f"HTTP/1.1 {status}\nContent-Type: application/problem+json\n\n{_written(document)}"


def _written(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2)
