"""Ask a loadplan server. Needs no torch and no database; answers are the documents of the API.

from registry.client import Client
plan = Client().plan("acme/chat-lora", require="compatible")
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, cast
from urllib.parse import quote

import httpx2

from registry.errors import (
    InvalidRequest,
    RequirementNotMet,
    ServerRefused,
    ServerUnreachable,
)

Document = dict[str, Any]
Requirement = Literal["planned", "rehearsed", "compatible"]

# What each requirement accepts; `stale` keeps its earlier evidence and meets the weaker two.
MEETS: Final[Mapping[str, frozenset[str]]] = {
    "planned": frozenset({"planned", "rehearsed", "compatible", "stale"}),
    "rehearsed": frozenset({"rehearsed", "compatible", "stale"}),
    "compatible": frozenset({"compatible"}),
}
_TRIES: Final = 4
_LONGEST_PAUSE: Final = 30.0


class Client:
    """One server, one token. Safe to share between threads; close it or use it in a `with`.

    `server` defaults to LOADPLAN_SERVER, `token` to LOADPLAN_TOKEN (or the file that
    LOADPLAN_TOKEN_FILE names). Reads are repeated on 429 and 503 within the server's own
    Retry-After; writes carry no retry but an Idempotency-Key when the caller gives one.
    Every method raises ServerUnreachable, ServerRefused (with the problem's code) or
    InvalidRequest.
    """

    def __init__(
        self,
        server: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        address = server or os.environ.get("LOADPLAN_SERVER")
        if not address:
            raise InvalidRequest("No server is named: pass one or set LOADPLAN_SERVER.")
        self.server = address.rstrip("/")
        bearer = token or os.environ.get("LOADPLAN_TOKEN") or _token_from_file()
        headers = {"User-Agent": "loadplan-client", "Accept": "application/json"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        self._http = httpx2.Client(headers=headers, timeout=timeout, follow_redirects=False)
        self._sleep = sleep

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # --- reading --------------------------------------------------------------------------------

    def record(self, reference: str, *, base: str | None = None) -> Document:
        """The whole record of a reference `namespace/name[@revision][:subfolder]`."""
        return cast(Document, self._read(*_adapter_path(reference, base)))

    def plan(
        self, reference: str, *, base: str | None = None, require: Requirement = "compatible"
    ) -> Document:
        """The plan, once its status meets `require`. Raises RequirementNotMet with the status."""
        path, query = _adapter_path(reference, base)
        answer = self._read(f"{path}/plan", query)
        status = str(answer["status"])
        if status not in MEETS[require] or answer["plan"] is None:
            codes = [issue["code"] for issue in answer["issues"] if issue["severity"] == "error"]
            raise RequirementNotMet(
                f"{reference} is {status}, not {require}"
                + (f": {', '.join(codes)}." if codes else "."),
                status=status,
                issues=answer["issues"],
            )
        return cast(Document, answer["plan"])

    def tensors(self, reference: str, *, base: str | None = None) -> list[Document]:
        path, query = _adapter_path(reference, base)
        return cast(list[Document], self._read(f"{path}/tensors", query))

    def proofs(self, reference: str, *, base: str | None = None) -> list[Document]:
        path, query = _adapter_path(reference, base)
        return cast(list[Document], self._read(f"{path}/proofs", query))

    def plans(self, pairs: list[Document]) -> list[Document]:
        """A deploy manifest of at most 1000 pairs, answered in order."""
        return cast(list[Document], self._send("POST", "/v1/plans", pairs, repeat=True).json())

    def adapters(self, **filters: str | int | None) -> Iterator[Document]:
        """Every summary that the filters leave, page after page."""
        query = {name: str(value) for name, value in filters.items() if value is not None}
        address: str | None = "/v1/adapters"
        while address is not None:
            answer = self._send("GET", address, None, query, repeat=True)
            yield from answer.json()
            # The next page's address holds the filters already.
            address, query = _next_page(answer), {}

    # --- asking for work ------------------------------------------------------------------------

    def request_scan(self, pair: Document, *, key: str | None = None) -> Document:
        """Ask for a scan; the operation. Needs a token with scope `scan`."""
        return cast(Document, self._send("POST", "/v1/scans", pair, key=key).json())

    def request_proof(self, pair: Document, *, key: str | None = None) -> Document:
        """Ask for a proof; the operation. Needs a token with scope `prove`."""
        return cast(Document, self._send("POST", "/v1/proofs", pair, key=key).json())

    def operation(self, operation_id: str) -> Document:
        return cast(Document, self._read(f"/v1/operations/{quote(operation_id, safe='')}", {}))

    def cancel(self, operation_id: str) -> Document:
        path = f"/v1/operations/{quote(operation_id, safe='')}"
        return cast(Document, self._send("DELETE", path, None).json())

    def wait(
        self,
        operation_id: str,
        *,
        seconds: float = 120.0,
        on_progress: Callable[[Document], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Document:
        """The operation once it is over, or as it is after `seconds`."""
        deadline, pause = clock() + seconds, 0.2
        while True:
            operation = self.operation(operation_id)
            if on_progress is not None:
                on_progress(operation)
            if operation["state"] not in ("queued", "running") or clock() >= deadline:
                return operation
            self._sleep(min(pause, max(0.0, deadline - clock())))
            pause = min(pause * 1.5, 2.0)

    # --- the wire -------------------------------------------------------------------------------

    def _read(self, path: str, query: Mapping[str, str]) -> Any:
        return self._send("GET", path, None, query, repeat=True).json()

    def _send(
        self,
        method: str,
        path: str,
        body: object | None,
        query: Mapping[str, str] | None = None,
        *,
        key: str | None = None,
        repeat: bool = False,
    ) -> httpx2.Response:
        headers = {"Idempotency-Key": key} if key else {}
        for attempt in range(_TRIES):
            last = attempt == _TRIES - 1 or not (repeat or key)
            try:
                answer = self._http.request(
                    method,
                    self.server + path,
                    params=dict(query) if query else None,
                    json=body,
                    headers=headers,
                )
            except httpx2.HTTPError as error:
                if last:
                    raise ServerUnreachable(
                        f"{self.server} does not answer ({type(error).__name__})."
                    ) from error
                self._sleep(0.2 * 2**attempt)
                continue
            if answer.status_code in (429, 503) and not last:
                self._sleep(_pause(answer, attempt))
                continue
            if answer.is_success:
                return answer
            raise _refusal(answer)
        raise AssertionError("The last attempt returns or raises.")


def _adapter_path(reference: str, base: str | None) -> tuple[str, dict[str, str]]:
    """The same splitting as everywhere: at the first `@`, then the first `:`."""
    head, at, tail = reference.partition("@")
    if at:
        repo_id, (revision, _, subfolder) = head, tail.partition(":")
    else:
        repo_id, _, subfolder = head.partition(":")
        revision = ""
    if repo_id.count("/") != 1:
        raise InvalidRequest(f"{reference!r} is not namespace/name[@revision][:subfolder].")
    query = {"revision": revision, "subfolder": subfolder, "base": base or ""}
    path = "/v1/adapters/" + "/".join(quote(part, safe="") for part in repo_id.split("/"))
    return path, {name: value for name, value in query.items() if value}


def _next_page(answer: httpx2.Response) -> str | None:
    address = answer.links.get("next", {}).get("url")
    if address is None:
        return None
    # Only path and query are followed, so that no answer can send the token elsewhere.
    url = httpx2.URL(address)
    return url.raw_path.decode("ascii")


def _pause(answer: httpx2.Response, attempt: int) -> float:
    given = answer.headers.get("Retry-After", "")
    seconds = float(given) if given.isdecimal() else 0.5 * 2**attempt
    return min(seconds, _LONGEST_PAUSE)


def _refusal(answer: httpx2.Response) -> ServerRefused:
    try:
        problem = answer.json()
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        problem = {}
        code, detail = "internal-error", f"The server answered {answer.status_code}."
    return ServerRefused(detail, problem_code=code, status=answer.status_code, problem=problem)


def _token_from_file() -> str | None:
    name = os.environ.get("LOADPLAN_TOKEN_FILE")
    if not name:
        return None
    try:
        return Path(name).read_text().strip() or None
    except OSError as error:
        raise InvalidRequest(f"LOADPLAN_TOKEN_FILE cannot be read: {error.strerror}.") from error
