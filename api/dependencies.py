"""What routes are given: database, records, caller, and the pair that a request names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from api.asking import Asking, Prefer, parse_wait
from api.callers import Caller
from api.identity import Identities, Quotas, refused
from api.problems import ApiProblem, request_id_of
from api.reading import Found, Lookup, RecordReader
from api.schemas import parse_base, refuse_nul
from registry.asking import ask_scan
from registry.db.session import Database
from registry.domain.refs import make_reference
from registry.jobs import Jobs, Priority


def _database(request: Request) -> Database:
    return cast(Database, request.app.state.database)


def _records(request: Request) -> RecordReader:
    return cast(RecordReader, request.app.state.records)


async def _caller(request: Request) -> Caller:
    """Who asks, and one request less of their quota. Raises ApiProblem."""
    identities = cast(Identities, request.app.state.identities)
    quotas = cast(Quotas, request.app.state.quotas)
    authorization = request.headers.get("authorization", "")
    caller = identities.remembered(authorization)
    if caller is None:
        caller = await run_in_threadpool(identities.find, authorization)
    address = request.client.host if request.client else "unknown"
    # The frame around every request adds these to whatever the route answers.
    request.state.rate_headers = quotas.spend(caller, address)
    return caller


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


def require_scope(scope: str) -> Callable[[Caller], Caller]:
    """A dependency that gives the caller, if its token has the scope. `admin` has them all."""

    def checked(caller: CallerDep) -> Caller:
        if caller.token_id is None:
            raise refused(f"This needs a token with the scope {scope!r}.")
        if not caller.scopes & {scope, "admin"}:
            raise ApiProblem(
                "token-scope-missing", f"The token {caller.name!r} lacks the scope {scope!r}."
            )
        return caller

    return checked


async def _found(
    request: Request,
    lookup: LookupDep,
    records: RecordsDep,
    caller: CallerDep,
    prefer: Prefer = None,
) -> Found:
    found = records.remembered(lookup) or await run_in_threadpool(records.find, lookup)
    wait = parse_wait(prefer)
    if wait > 0 and caller.scopes & {"scan", "admin"} and not _is_seen(found, caller):
        # Scanned for whoever may ask for it, also where a record is hidden from them: absent and
        # forbidden take the same time.
        await _scan(request, lookup, caller, wait)
        found = await run_in_threadpool(records.find, lookup)
    if found is None or not caller.sees(found.stored):
        raise not_recorded(lookup)
    return found


def _is_seen(found: Found | None, caller: Caller) -> bool:
    return found is not None and caller.sees(found.stored)


async def _scan(request: Request, lookup: Lookup, caller: Caller, wait: float) -> None:
    state = request.app.state
    adapter = make_reference(lookup.repo_id, lookup.revision, lookup.subfolder)
    base = (
        make_reference(lookup.base_repo_id, lookup.base_revision) if lookup.base_repo_id else None
    )
    jobs = cast(Jobs, state.jobs)
    asking = Asking(state.database, jobs, state.feed, wait, None, request_id_of(request))
    await asking.ask(
        caller,
        request.url.path,
        None,
        lambda session: ask_scan(
            session, jobs, adapter, base, priority=Priority.PERSON, token_id=caller.token_id
        ),
    )


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
