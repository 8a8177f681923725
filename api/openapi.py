"""What the routes cannot say of themselves in the OpenAPI document: problems as what they are, the
answers that every call can give, the headers of requests and answers, and how callers say who they
are.

The framework writes the rest. What is said here holds for all calls of a kind, and the fuzzer holds
the service to it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI

Node = dict[str, Any]

PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_PROBLEM_TYPE: Final = "application/problem+json"
_METHODS: Final = ("get", "post", "put", "patch", "delete")
_WEBHOOK: Final = "post_hub_webhook"
# Answered with an ETag, and with 304 to whoever has it.
_CONDITIONAL: Final = frozenset({"get_record", "get_plan", "get_proofs", "get_tensors"})
_PAGED: Final = frozenset({"list_adapters", "list_bases", "list_base_adapters"})
_ALSO: Final[Mapping[str, str]] = {
    "401": "The token is malformed, unknown, revoked or expired",
    "413": "The body is too large",
    "422": "The request cannot be read",
    "429": "The quota of this window is used up",
    "500": "A fault of ours; the request id names it in the log",
    "503": "The database does not answer, or is not migrated",
}
_COMPONENT_HEADERS: Final[Mapping[str, tuple[str, Node]]] = {
    "X-Request-Id": ("Names this request in the log.", {"type": "string"}),
    "X-Error-Code": ("The problem's `code`.", {"type": "string"}),
    "X-Error-Message": ("The problem's `detail`, in ASCII.", {"type": "string"}),
    "RateLimit": ('What is left: `"api";r=2999;t=300`.', {"type": "string"}),
    "RateLimit-Policy": (
        'The window: `"fixed window";"api";q=3000;w=300`.',
        {"type": "string"},
    ),
    "Retry-After": ("Seconds after which to ask again.", {"type": "string", "pattern": "^[0-9]+$"}),
    "WWW-Authenticate": ("`Bearer`.", {"type": "string"}),
    "Location": ("Where what was asked for is.", {"type": "string", "format": "uri-reference"}),
    "Preference-Applied": ("`wait=N`, where it was waited for.", {"type": "string"}),
    "Link": ('The next page, `<…>; rel="next"`, where there is one.', {"type": "string"}),
    "ETag": ("Weak; changes with the answer.", {"type": "string", "pattern": '^W/".+"$'}),
    "X-Revision": ("The adapter's commit; empty where none was read.", {"type": "string"}),
    "Warning": ("`110`, where the answer is from memory.", {"type": "string"}),
}


def install(app: FastAPI) -> None:
    """Make `app.openapi` give the completed document; it is written at the first request."""
    write = app.openapi
    writing = threading.Lock()
    written: list[Node] = []

    def document() -> Node:
        # Two requests at once must not complete it twice, nor see the half of it.
        with writing:
            if not written:
                written.append(complete(write()))
        return written[0]

    app.openapi = document  # type: ignore[method-assign]


def complete(document: Node) -> Node:
    """The framework's document with what holds for every call of a kind."""
    components = document["components"]
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "lp_…",
            "description": "A token with scopes: `scan`, `prove` or `admin`, which has them all.",
        }
    }
    components["headers"] = {
        name: {"description": text, "schema": schema}
        for name, (text, schema) in _COMPONENT_HEADERS.items()
    }
    for path, operation in _operations(document):
        _add_answers(path, operation)
        _add_request_headers(path, operation)
        for status, answer in operation["responses"].items():
            _mark_problem(int(status), answer)
            _add_headers(operation, int(status), answer)
        operation["responses"] = dict(sorted(operation["responses"].items()))
    return document


def _operations(document: Node) -> Iterator[tuple[str, Node]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, item[method]


def _has_callers(path: str, operation: Node) -> bool:
    """Whether quotas and tokens are of this call: all but health and what the Hub sends."""
    return path.startswith("/v1/") and operation["operationId"] != _WEBHOOK


def _add_answers(path: str, operation: Node) -> None:
    answers = operation["responses"]
    statuses = {"500"}
    if _has_callers(path, operation):
        # Who must bring a token is refused without its scope; to all others it is free.
        operation["security"] = [{"token": []}] if "403" in answers else [{}, {"token": []}]
        statuses |= {"401", "422", "429", "503"}
    elif operation["operationId"] == _WEBHOOK:
        statuses.add("503")
    if "requestBody" in operation:
        statuses.add("413")
    if operation["operationId"] in _CONDITIONAL:
        answers["304"] = {"description": "The caller has it: If-None-Match named its ETag"}
    for status in sorted(statuses):
        answer = answers.setdefault(status, {"description": _ALSO[status]})
        schemas = [str(kind.get("schema")) for kind in _content(answer)]
        if schemas == [] or any("HTTPValidationError" in schema for schema in schemas):
            answer["description"] = _ALSO[status]
            answer["content"] = {_PROBLEM_TYPE: {"schema": PROBLEM}}


def _mark_problem(status: int, answer: Node) -> None:
    """Problems are documents of their own type, whatever the call answers otherwise."""
    if status >= 400 and any(kind.get("schema") == PROBLEM for kind in _content(answer)):
        answer["content"] = {_PROBLEM_TYPE: {"schema": PROBLEM}}


def _content(answer: Node) -> list[Node]:
    return list(answer.get("content", {}).values())


def _is_problem(answer: Node) -> bool:
    return _PROBLEM_TYPE in answer.get("content", {})


def _add_headers(operation: Node, status: int, answer: Node) -> None:
    name = operation["operationId"]
    names = {"X-Request-Id"}
    if status < 400:
        names |= _headers_of_success(name, status)
    elif _is_problem(answer):
        names |= {"X-Error-Code", "X-Error-Message"}
    if "security" in operation:
        names |= {"RateLimit", "RateLimit-Policy"}
        if status == 401:
            names.add("WWW-Authenticate")
    if status in (429, 503) and _is_problem(answer):
        names.add("Retry-After")
    answer["headers"] = {each: {"$ref": f"#/components/headers/{each}"} for each in sorted(names)}


def _headers_of_success(name: str, status: int) -> set[str]:
    if name in _CONDITIONAL:
        return {"ETag", "X-Revision", "Warning"}
    if name in _PAGED:
        return {"Link"}
    if name in ("post_scan", "post_proof"):
        return {"Location", "Preference-Applied"} | ({"Retry-After"} if status == 202 else set())
    if name == "get_operation":
        return {"Retry-After"}
    return {"Location"} if name == "post_subscription" else set()


def _add_request_headers(path: str, operation: Node) -> None:
    if not path.startswith("/v1/"):
        return
    parameters = operation.setdefault("parameters", [])
    if operation["operationId"] in _CONDITIONAL:
        parameters.append(
            _header("If-None-Match", "ETags that the caller has.", {"type": "string"})
        )
    parameters.append(
        _header(
            "X-Request-Id",
            "Names the request in our log and comes back; one is made where none is given.",
            {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"},
        )
    )


def _header(name: str, text: str, schema: Node) -> Node:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": schema}
