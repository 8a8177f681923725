"""`/adapters/{namespace}/{name}`: all that is known of one adapter, and comparisons of two."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from api import schemas
from api.callers import Caller
from api.dependencies import DatabaseDep, LookupDep, RecordsDep, not_recorded
from api.reading import Lookup, RecordReader
from api.web import render
from api.web.adapter_view import adapter_context, load_facts
from api.web.comparing import Side, compare_sides
from api.web.session import VisitorDep, origin_of
from registry.db.records import StoredRecord
from registry.domain.refs import make_reference

router = APIRouter(include_in_schema=False)

Text = Annotated[str | None, Query(max_length=400)]


@router.get("/adapters/{namespace}/{name}", name="adapter_page", response_class=HTMLResponse)
def adapter_page(
    request: Request,
    lookup: LookupDep,
    records: RecordsDep,
    database: DatabaseDep,
    visitor: VisitorDep,
) -> HTMLResponse:
    """Status, plan, tensors, layout, evidence; what a private record is, only to who may see it."""
    stored = _find(records, lookup, visitor)
    with database.reading() as connection:
        context = adapter_context(connection, stored, lookup, visitor, origin_of(request))
    return render.page(request, "adapter.html", **context)


@router.get(
    "/adapters/{namespace}/{name}/compare", name="compare_page", response_class=HTMLResponse
)
def compare_page(
    request: Request,
    namespace: str,
    name: str,
    records: RecordsDep,
    database: DatabaseDep,
    visitor: VisitorDep,
    a: Text = None,
    b: Text = None,
    base_a: Text = None,
    base_b: Text = None,
    subfolder: Text = None,
) -> HTMLResponse:
    """Two revisions of one adapter, or two bases for it: what differs, and what does not."""
    schemas.refuse_nul(namespace=namespace, name=name, a=a, b=b, subfolder=subfolder)
    schemas.refuse_nul(base_a=base_a, base_b=base_b)
    lookups = [
        Lookup.of(
            make_reference(f"{namespace}/{name}", revision or None, subfolder or None),
            schemas.parse_base(base),
        )
        for revision, base in ((a, base_a), (b, base_b))
    ]
    found = [_find(records, lookup, visitor) for lookup in lookups]
    with database.reading() as connection:
        sides = [Side(each.record, *load_facts(connection, each.record)) for each in found]
    names = [_told(lookup, each) for lookup, each in zip(lookups, found, strict=True)]
    return render.page(
        request,
        "compare.html",
        ref=found[0].record.adapter,
        names=names,
        by_base=bool(base_a or base_b),
        here=f"/adapters/{namespace}/{name}",
        **compare_sides(*sides),
    )


def _find(records: RecordReader, lookup: Lookup, visitor: Caller) -> StoredRecord:
    found = records.remembered(lookup) or records.find(lookup)
    if found is None or not visitor.sees(found.stored):
        raise not_recorded(lookup)
    return found.stored


def _told(lookup: Lookup, stored: StoredRecord) -> dict[str, object]:
    record = stored.record
    return {
        "record": record,
        "revision": lookup.revision or "main",
        "base": record.base.repo_id if record.base else None,
        "href": render.address(
            f"/adapters/{record.adapter.repo_id}",
            revision=lookup.revision,
            subfolder=lookup.subfolder,
            base=lookup.base_repo_id,
        ),
    }
