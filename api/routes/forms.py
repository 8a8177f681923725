"""Forms for people with a token: sign in, ask for work, manage subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api import schemas, trail
from api.callers import Caller
from api.dependencies import DatabaseDep, RecordsDep, not_recorded
from api.identity import Identities
from api.problems import STATUS, ApiProblem, request_id_of
from api.reading import Lookup, RecordReader
from api.web import render
from api.web.session import FormDep, VisitorDep, require, sign_in, sign_out
from registry.asking import ask_proof, ask_scan
from registry.db.operations import Operation
from registry.db.proofs import Pair
from registry.db.session import Database
from registry.domain.refs import Reference, make_reference
from registry.errors import InvalidReference, LoadplanError
from registry.jobs import Jobs, Priority

router = APIRouter(include_in_schema=False)

_SEE_OTHER: Final = 303
Field = Annotated[str, Form(max_length=400)]


@router.get("/sign-in", name="sign_in_page", response_class=HTMLResponse)
def sign_in_page(
    request: Request, visitor: VisitorDep, back: Annotated[str, Query(max_length=400)] = ""
) -> HTMLResponse:
    return render.page(request, "sign_in.html", back=_own_path(back), problem=None)


@router.post("/sign-in", name="sign_in", dependencies=[FormDep], response_class=HTMLResponse)
def post_sign_in(
    request: Request, visitor: VisitorDep, token: Field = "", back: Field = ""
) -> Response:
    """Take the token into the cookie, if it is one of ours."""
    identities = cast(Identities, request.app.state.identities)
    try:
        identities.find(f"Bearer {token.strip()}")
    except ApiProblem as problem:
        return render.page(
            request, "sign_in.html", 401, back=_own_path(back), problem=problem.message
        )
    response = RedirectResponse(_own_path(back) or "/account", _SEE_OTHER)
    sign_in(request, response, token.strip())
    return response


@router.post("/sign-out", name="sign_out", dependencies=[FormDep])
def post_sign_out(request: Request) -> Response:
    response = RedirectResponse("/", _SEE_OTHER)
    sign_out(request, response)
    return response


@router.get("/account", name="account_page", response_class=HTMLResponse)
def account_page(request: Request, visitor: VisitorDep) -> Response:
    """What the token may do, and the way out."""
    if visitor.token_id is None:
        return _to_sign_in("/account")
    return render.page(request, "account.html")


@router.get("/ask", name="ask_page", response_class=HTMLResponse)
def ask_page(
    request: Request,
    visitor: VisitorDep,
    repo_id: Annotated[str, Query(max_length=400)] = "",
    base: Annotated[str, Query(max_length=400)] = "",
) -> Response:
    """The form for a scan; it says so where the visitor's token cannot ask for one."""
    if visitor.token_id is None:
        return _to_sign_in(render.address("/ask", repo_id=repo_id, base=base))
    return _ask_page(request, visitor, {"repo_id": repo_id, "base": base})


@router.post("/ask/scan", name="ask_scan", dependencies=[FormDep], response_class=HTMLResponse)
async def post_scan(
    request: Request,
    visitor: VisitorDep,
    database: DatabaseDep,
    repo_id: Field = "",
    revision: Field = "",
    subfolder: Field = "",
    base: Field = "",
) -> Response:
    """Ask, and lead to the operation."""
    given = {"repo_id": repo_id, "revision": revision, "subfolder": subfolder, "base": base}
    given = {name: text.strip() for name, text in given.items()}
    try:
        require(visitor, "scan")
        reference, of_base = _references(given)
    except LoadplanError as error:
        return _ask_page(request, visitor, given, error)
    jobs = cast(Jobs, request.app.state.jobs)

    def ask(session: Session) -> Operation:
        token_id = visitor.token_id
        operation = ask_scan(
            session, jobs, reference, of_base, priority=Priority.PERSON, token_id=token_id
        )
        trail.note_asked(session, request_id_of(request), visitor, operation)
        return operation

    operation = await run_in_threadpool(database.write, ask)
    return RedirectResponse(f"/operations/{operation.id}", _SEE_OTHER)


@router.post("/ask/proof", name="ask_proof", dependencies=[FormDep], response_class=HTMLResponse)
async def post_proof(
    request: Request,
    visitor: VisitorDep,
    database: DatabaseDep,
    records: RecordsDep,
    repo_id: Field = "",
    revision: Field = "",
    subfolder: Field = "",
    base: Field = "",
) -> Response:
    """Ask for a proof of a recorded pair that has a plan, and lead to the operation."""
    require(visitor, "prove")
    given = {"repo_id": repo_id, "revision": revision, "subfolder": subfolder, "base": base}
    reference, of_base = _references(given)
    pair = await run_in_threadpool(_provable, records, Lookup.of(reference, of_base), visitor)
    operation = await run_in_threadpool(
        _ask_proof, request, database, visitor, reference, of_base, pair
    )
    return RedirectResponse(f"/operations/{operation.id}", _SEE_OTHER)


def _ask_proof(
    request: Request,
    database: Database,
    visitor: Caller,
    reference: Reference,
    base: Reference | None,
    pair: Pair,
) -> Operation:
    jobs = cast(Jobs, request.app.state.jobs)

    def ask(session: Session) -> Operation:
        operation = ask_proof(
            session,
            jobs,
            reference,
            base,
            pair,
            priority=Priority.PERSON,
            token_id=visitor.token_id,
        )
        trail.note_asked(session, request_id_of(request), visitor, operation)
        return operation

    return database.write(ask)


def _provable(records: RecordReader, lookup: Lookup, visitor: Caller) -> Pair:
    found = records.find(lookup)
    if found is None or not visitor.sees(found.stored):
        raise not_recorded(lookup)
    record = found.stored.record
    if record.plan is None or record.base is None or record.base.digest is None:
        message = f"The adapter is {record.status.value}: there is no plan to prove."
        raise ApiProblem("invalid-request", message, field="repo_id")
    assert record.adapter.digest is not None
    return Pair(record.adapter.digest, record.adapter.subfolder, record.base.digest)


def _references(given: Mapping[str, str]) -> tuple[Reference, Reference | None]:
    """Raises InvalidReference, InvalidRequest."""
    if not given["repo_id"]:
        raise InvalidReference("Name an adapter: namespace/name.", field="repo_id")
    pair = {name: text or None for name, text in given.items()}
    schemas.refuse_nul(**pair)
    reference = make_reference(given["repo_id"], pair["revision"], pair["subfolder"])
    if "/" not in reference.repo_id:
        raise InvalidReference("An adapter's id is namespace/name.", field="repo_id")
    return reference, schemas.parse_base(pair["base"])


def _ask_page(
    request: Request,
    visitor: Caller,
    given: Mapping[str, str],
    error: LoadplanError | None = None,
) -> HTMLResponse:
    code = None if error is None else getattr(error, "problem_code", error.code)
    context: dict[str, Any] = {
        "given": {name: given.get(name, "") for name in _FIELDS},
        "problem": None if error is None else error.message,
        "field": None if error is None else error.fields.get("field"),
        "allowed": bool(visitor.scopes & {"scan", "admin"}),
    }
    return render.page(request, "ask.html", STATUS.get(code or "", 200), **context)


_FIELDS: Final = ("repo_id", "revision", "subfolder", "base")


def _to_sign_in(back: str) -> RedirectResponse:
    return RedirectResponse(render.address("/sign-in", back=back), _SEE_OTHER)


def _own_path(path: str) -> str:
    """A path of this service, '' for anything that could lead elsewhere."""
    own = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if own and path.isprintable() else ""
