"""`/problems` and `/problems/{code}`: where the `type` of every problem leads."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.problems import ApiProblem
from api.web import render
from registry.domain.issues import CATALOGUE, IssueKind, Severity

router = APIRouter(include_in_schema=False)


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
    for severity, heading in (
        (Severity.WARNING, "Warnings"),
        (Severity.INFO, "Information"),
        (Severity.ADVICE, "Advice"),
    ):
        groups.append((heading, [k for k in kinds if k.status is None and k.severity is severity]))
    others = [k for k in kinds if k.status is None and k.severity is Severity.ERROR]
    return [*groups, ("Answers of the command line and the API", others)]


@router.get("/problems", name="problems_page")
async def problems_page(request: Request) -> HTMLResponse:
    return render.page(request, "problems.html", groups=_groups())


@router.get("/problems/{code}", name="problem_page")
async def problem_page(request: Request, code: str) -> HTMLResponse:
    kind = CATALOGUE.get(code)
    if kind is None:
        raise ApiProblem("problem-not-found", "No problem has this code.")
    return render.page(
        request, "problem.html", kind=kind, leads_to=_leads_to(kind), example=None, count=None
    )
