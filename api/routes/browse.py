"""`/`: records with facets, search, sort and keyset pages, and the same as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, Response

from api import schemas
from api.dependencies import DatabaseDep
from api.routes.adapters import StatusName
from api.web import render
from api.web.session import VisitorDep
from registry.db.records import Page, RecordFilter, Sort, StoredRecord, list_records
from registry.db.records.choices import Choices, Counted, count_choices
from registry.domain.issues import Issue, Severity
from registry.domain.record import RecordFacts

router = APIRouter(include_in_schema=False)

PAGE_SIZE: Final = 50
TITLES: Final = {
    "status": "Status",
    "base": "Base",
    "peft_type": "PEFT type",
    "issue": "Issue",
    "author": "Author",
    "q": "Name holds",
}
# What a line names; the rest is counted.
_GRAVE: Final = (Severity.ERROR, Severity.WARNING)
_MOST_TAGS: Final = 2
_SORT_WORDS: Final = {
    Sort.NEWEST: "the last scanned first",
    Sort.OLDEST: "the first scanned first",
    Sort.NAME: "by name",
}
Text = Annotated[str | None, Query(max_length=255)]


@dataclass(frozen=True)
class Wanted:
    """What the address asks for."""

    chosen: Mapping[str, str]
    sort: Sort
    cursor: str | None

    def filter(self, visible: frozenset[str]) -> RecordFilter:
        return RecordFilter(**self.chosen, visible=visible)

    def query(self) -> dict[str, str]:
        sort = {} if self.sort is Sort.NEWEST else {"sort": self.sort.value}
        return {**self.chosen, **sort}

    def href(self, path: str = "/", **changes: str | None) -> str:
        return render.address(path, **{**self.query(), **changes})

    def without(self, name: str) -> str:
        return self.choosing(name, None)

    def choosing(self, name: str, value: str | None) -> str:
        return render.address("/", **{**self.query(), name: value})


def _wanted(
    status: StatusName | Literal[""] = "",
    base: Text = None,
    peft_type: Text = None,
    issue: Text = None,
    author: Text = None,
    q: Text = None,
    sort: Sort = Sort.NEWEST,
    cursor: Annotated[str | None, Query(max_length=2048)] = None,
) -> Wanted:
    """An empty field is none: a form without a script sends all of its fields."""
    given = {
        "status": status,
        "base": base,
        "peft_type": peft_type,
        "issue": issue,
        "author": author,
        "q": q,
    }
    schemas.refuse_nul(**given)
    return Wanted({name: value for name, value in given.items() if value}, sort, cursor or None)


WantedDep = Annotated[Wanted, Depends(_wanted)]


@router.get("/", name="browse_page", response_class=HTMLResponse)
def browse_page(
    request: Request, wanted: WantedDep, database: DatabaseDep, visitor: VisitorDep
) -> HTMLResponse:
    """Records as people look for them; a start page while there are none at all."""
    sought = wanted.filter(visitor.visible)
    with database.reading() as connection:
        page = list_records(
            connection, sought, sort=wanted.sort, limit=PAGE_SIZE, cursor=wanted.cursor
        )
        choices = count_choices(connection, sought)
    if not choices.total and not wanted.chosen:
        return render.page(request, "start.html")
    context = _context(wanted, page, choices)
    if request.headers.get("hx-request") and request.headers.get("hx-target", "").endswith(
        "browse"
    ):
        return render.block(request, "browse.html", "found", **context)
    return render.page(request, "browse.html", **context)


@router.get("/adapters.csv", name="browse_csv", response_class=Response)
def browse_csv(wanted: WantedDep, database: DatabaseDep, visitor: VisitorDep) -> Response:
    """The records of the page that leads here."""
    with database.reading() as connection:
        page = list_records(
            connection,
            wanted.filter(visitor.visible),
            sort=wanted.sort,
            limit=PAGE_SIZE,
            cursor=wanted.cursor,
        )
    written = io.StringIO()
    table = csv.writer(written)
    table.writerow(_COLUMNS)
    for found in page.records:
        table.writerow([_cell(value) for value in _csv_row(found)])
    return Response(
        written.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": 'attachment; filename="adapters.csv"',
            "Cache-Control": "private, no-store" if visitor.token_id else "no-cache",
            "Vary": "Cookie, Authorization, Accept-Encoding",
        },
    )


_COLUMNS: Final = (
    "adapter",
    "subfolder",
    "adapter_commit",
    "base",
    "base_commit",
    "status",
    "evidence",
    "peft_type",
    "rank",
    "tokenizer_length",
    "new_tokens",
    "issues",
    "scanned_at",
)


def _csv_row(found: StoredRecord) -> list[object]:
    record = found.record
    adapter, base, facts = record.adapter, record.base, record.facts
    return [
        adapter.repo_id,
        adapter.subfolder,
        adapter.commit_sha,
        base.repo_id if base else None,
        base.commit_sha if base else None,
        record.status.value,
        record.evidence.value,
        facts.peft_type,
        facts.rank,
        facts.tokenizer_length,
        new_tokens(facts),
        " ".join(issue.code for issue in _one_of_each(record.issues)),
        found.scanned_at.isoformat(),
    ]


def _cell(value: object) -> object:
    """Spreadsheets run a text that begins like a formula; with a quote before it they show it."""
    if isinstance(value, str) and value[:1] in "=+-@\t\r":
        return f"'{value}" if value else value
    return "" if value is None else value


def _context(wanted: Wanted, page: Page, choices: Choices) -> dict[str, Any]:
    query = wanted.query()
    return {
        "heading": "Adapters",
        "chosen": {"q": wanted.chosen.get("q")},
        "kept": {name: value for name, value in query.items() if name != "q"},
        "facets": [_facet(wanted, name, values) for name, values in choices.values.items()],
        "active": [
            {"title": TITLES[name], "value": value, "href": wanted.without(name)}
            for name, value in wanted.chosen.items()
        ],
        "total": choices.total,
        "rows": [_row(found) for found in page.records],
        "order": wanted.sort.value,
        "sort_words": _SORT_WORDS[wanted.sort],
        "sorts": [
            {"word": word, "href": wanted.href(sort=sort), "chosen": wanted.sort.value == sort}
            for sort, word in (("newest", "newest"), ("oldest", "oldest"), ("name", "name"))
        ],
        "by_name": wanted.href(sort="name"),
        "by_time": wanted.href(sort="oldest" if wanted.sort is Sort.NEWEST else "newest"),
        "first": wanted.href() if wanted.cursor else None,
        "next": wanted.href(cursor=page.next_cursor) if page.next_cursor else None,
        "csv": wanted.href("/adapters.csv", cursor=wanted.cursor),
        "json": wanted.href("/v1/adapters", cursor=wanted.cursor),
    }


def _facet(wanted: Wanted, name: str, values: Counted) -> dict[str, Any]:
    chosen = wanted.chosen.get(name)
    options = [
        {
            "value": value,
            "count": count,
            "chosen": value == chosen,
            "href": wanted.choosing(name, None if value == chosen else value),
        }
        for value, count in values
    ]
    return {"name": name, "title": TITLES[name], "options": options}


def _row(found: StoredRecord) -> dict[str, Any]:
    record = found.record
    added = new_tokens(record.facts)
    issues = _one_of_each(record.issues)
    return {
        "adapter": record.adapter,
        "base": record.base.repo_id if record.base else record.facts.declared_base,
        "declared": record.base is None
        or not any(issue.code == "base-differs-from-declared" for issue in record.issues),
        "private": found.private,
        "status": record.status.value,
        "peft_type": record.facts.peft_type,
        "rank": record.facts.rank,
        "tokens": "—" if added is None else f"{added:+,}" if added else "0",
        "issues": [issue for issue in issues if issue.severity in _GRAVE][:_MOST_TAGS],
        "notes": sum(issue.severity not in _GRAVE for issue in issues),
        "scanned_at": found.scanned_at,
    }


def new_tokens(facts: RecordFacts) -> int | None:
    """Tokens of the adapter's tokenizer that the base has no row for; None while not known."""
    if facts.tokenizer_length is None:
        return None
    rows = facts.base_embedding_rows or facts.base_config_vocab_size
    return None if rows is None else max(0, facts.tokenizer_length - rows)


def _one_of_each(issues: tuple[Issue, ...]) -> list[Issue]:
    return list({issue.code: issue for issue in reversed(issues)}.values())[::-1]
