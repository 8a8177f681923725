"""What routes are given: database, records, caller, and the pair that a request names."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from api.callers import ANYONE, Caller
from api.problems import ApiProblem
from api.reading import Found, Lookup, RecordReader
from api.schemas import parse_base, refuse_nul
from registry.db.session import Database
from registry.domain.refs import make_reference


def _database(request: Request) -> Database:
    return cast(Database, request.app.state.database)


def _records(request: Request) -> RecordReader:
    return cast(RecordReader, request.app.state.records)


def _caller() -> Caller:
    return ANYONE


DatabaseDep = Annotated[Database, Depends(_database)]
RecordsDep = Annotated[RecordReader, Depends(_records)]
CallerDep = Annotated[Caller, Depends(_caller)]


def _lookup(
    namespace: str,
    name: str,
    revision: Annotated[str | None, Query(max_length=255)] = None,
    subfolder: Annotated[str | None, Query(max_length=255)] = None,
    base: Annotated[str | None, Query(max_length=400)] = None,
) -> Lookup:
    refuse_nul(namespace=namespace, name=name, revision=revision, subfolder=subfolder, base=base)
    adapter = make_reference(f"{namespace}/{name}", revision or None, subfolder or None)
    return Lookup.of(adapter, parse_base(base))


LookupDep = Annotated[Lookup, Depends(_lookup)]


async def _found(lookup: LookupDep, records: RecordsDep, caller: CallerDep) -> Found:
    found = records.remembered(lookup) or await run_in_threadpool(records.find, lookup)
    if found is None or not caller.sees(found.stored):
        raise not_recorded(lookup)
    return found


FoundDep = Annotated[Found, Depends(_found)]


def not_recorded(lookup: Lookup) -> ApiProblem:
    """Absent, never scanned and forbidden alike: built from the request alone."""
    body = {
        "repo_id": lookup.repo_id,
        "revision": lookup.revision,
        "subfolder": lookup.subfolder,
        "base": lookup.base_repo_id
        and lookup.base_repo_id + (f"@{lookup.base_revision}" if lookup.base_revision else ""),
    }
    return ApiProblem(
        "adapter-not-recorded",
        "No record of this adapter is visible here.",
        scan={
            "method": "POST",
            "href": "/v1/scans",
            "body": {name: value for name, value in body.items() if value is not None},
        },
    )
