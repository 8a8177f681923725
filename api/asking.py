"""Ask for work for a caller: once per Idempotency-Key, waited for where that is preferred."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api import trail
from api.callers import Caller
from api.events import EventFeed
from api.problems import ApiProblem, request_id_of
from registry.db import tokens
from registry.db.operations import Operation, load_operation
from registry.db.session import Database
from registry.domain.canonical import canonical_json, sha256_digest
from registry.jobs import Jobs

KEY_HOURS: Final = 24
LONGEST_WAIT: Final = 60.0
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\"?(?:$|[,;\s])", re.IGNORECASE)

Ask = Callable[[Session], Operation]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description=f"Repeating it within {KEY_HOURS} hours is answered with the first operation; "
        "with another body it is refused.",
        # Said, not enforced: our own refusal names the header.
        json_schema_extra={"pattern": "^[\\x21-\\x7e]{1,200}$"},
    ),
]
Prefer = Annotated[
    str | None,
    Header(
        alias="Prefer",
        description=f"`wait=N`: wait up to N seconds, at most {LONGEST_WAIT:g}, for the end of the "
        "work (RFC 7240). Reading waits only with a token that may scan.",
    ),
]


@dataclass(frozen=True)
class Asking:
    """What a request for work says beside its body."""

    database: Database
    jobs: Jobs
    feed: EventFeed
    # Seconds that the caller prefers to wait for the end; 0: none.
    wait: float
    key: str | None
    request_id: str

    async def ask(self, caller: Caller, path: str, body: Any, ask: Ask) -> Operation:
        """The operation, over where it could be waited for. Raises ApiProblem."""
        operation_id = await run_in_threadpool(self._ask, caller, path, body, ask)
        if self.wait > 0:
            await self.feed.wait(operation_id, self.wait)
        return await run_in_threadpool(self._load, operation_id)

    def _ask(self, caller: Caller, path: str, body: Any, ask: Ask) -> str:
        """One transaction: the key, the operation, its job and the line in the trail are there
        together or not at all."""
        digest = sha256_digest(canonical_json([path, body]))
        now = datetime.now(UTC)

        def asked(session: Session) -> Operation:
            operation = ask(session)
            trail.note_asked(session, self.request_id, caller, operation)
            return operation

        def work(session: Session) -> str:
            if self.key is None:
                return asked(session).id
            owner = str(caller.token_id)
            before = now - timedelta(hours=KEY_HOURS)
            tokens.delete_idempotency_keys(session, before=before)
            known = tokens.claim_idempotency_key(
                session, caller=owner, key=self.key, request_digest=digest, created_at=now
            )
            if known is not None:
                return _answered(known, digest)
            operation = asked(session)
            tokens.save_idempotent_answer(
                session, caller=owner, key=self.key, status=202, response=operation.id
            )
            return operation.id

        return self.database.write(work)

    def _load(self, operation_id: str) -> Operation:
        with self.database.reading() as connection:
            operation = load_operation(connection, operation_id)
        if operation is None:
            raise not_found()
        return operation


def _answered(known: tokens.Answered, digest: str) -> str:
    if known.request_digest != digest:
        message = "This Idempotency-Key was used for another request in the last 24 hours."
        raise ApiProblem("idempotency-key-reused", message)
    if known.status is None:
        message = "The first request with this Idempotency-Key is still being answered."
        raise ApiProblem("idempotency-key-in-flight", message, headers={"Retry-After": "1"})
    return str(known.response)


def not_found() -> ApiProblem:
    return ApiProblem("operation-not-found", "No operation has this id, or it is forgotten.")


def parse_wait(preferences: str | None) -> float:
    """Seconds out of `Prefer: wait=N`, at most LONGEST_WAIT; 0 where it is not said (RFC 7240)."""
    found = _WAIT.search(preferences or "")
    return min(float(found.group(1)), LONGEST_WAIT) if found else 0.0


def _asking(
    request: Request,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Asking:
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        message = "Idempotency-Key holds 1 to 200 visible ASCII characters."
        raise ApiProblem("invalid-request", message, field="Idempotency-Key")
    state = request.app.state
    return Asking(
        state.database,
        state.jobs,
        state.feed,
        parse_wait(prefer),
        idempotency_key,
        request_id_of(request),
    )


AskingDep = Annotated[Asking, Depends(_asking)]
