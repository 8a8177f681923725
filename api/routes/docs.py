"""`/docs`: the OpenAPI document as a page of our own; nothing is run to show it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from api.web import render
from api.web.session import VisitorDep, origin_of

router = APIRouter(include_in_schema=False)

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_TITLES: Final = {
    "adapters": "Records and plans",
    "bases": "Bases",
    "operations": "Work",
    "webhooks": "Webhooks",
    "subscriptions": "Subscriptions",
}
_EXAMPLES: Final = {
    "namespace": "acme",
    "name": "chat-lora",
    "repo_id": "meta-llama/Llama-2-7b-chat-hf",
    "operation_id": "5f0c2f0e-7d0a-4f7a-9b0b-0d5f3a1c2b4d",
}


@router.get("/docs", name="docs_page", response_class=HTMLResponse)
def docs_page(request: Request, visitor: VisitorDep) -> HTMLResponse:
    """Every call with its parameters, bodies, answers and a command to copy."""
    document = request.app.openapi()
    groups: dict[str, list[dict[str, Any]]] = {}
    for call in _calls(document, origin_of(request)):
        groups.setdefault(call["tag"], []).append(call)
    return render.page(
        request,
        "docs.html",
        info=document["info"],
        groups=[(tag, _TITLES.get(tag, tag.capitalize()), calls) for tag, calls in groups.items()],
    )


def _calls(document: Mapping[str, Any], origin: str) -> Iterator[dict[str, Any]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            operation = item.get(method)
            if operation is None:
                continue
            body = _body(document, operation)
            yield {
                "tag": (operation.get("tags") or ["other"])[0],
                "id": operation["operationId"],
                "method": method.upper(),
                "path": path,
                "summary": operation.get("summary", ""),
                "description": operation.get("description", ""),
                "parameters": [
                    _parameter(document, each) for each in operation.get("parameters", ())
                ],
                "body": _fields(document, body) if body else [],
                "answers": [
                    (status, answer.get("description", ""))
                    for status, answer in operation.get("responses", {}).items()
                ],
                "curl": _curl(document, origin, method, path, body),
            }


def _parameter(document: Mapping[str, Any], parameter: Mapping[str, Any]) -> dict[str, Any]:
    schema = parameter.get("schema", {})
    return {
        "name": parameter["name"],
        "where": parameter["in"],
        "type": _type(document, schema),
        "required": parameter.get("required", False),
        "default": schema.get("default"),
    }


def _body(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    return None if schema is None else _resolved(document, schema)


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Mapping[str, Any] = document
    for part in str(reference).removeprefix("#/").split("/"):
        found = found[part]
    return found


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    if schema.get("type") == "array":
        schema = _resolved(document, schema.get("items", {}))
    required = schema.get("required", ())
    return [
        {"name": name, "type": _type(document, each), "required": name in required}
        for name, each in schema.get("properties", {}).items()
    ]


def _type(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """`integer, 1 to 100`, `one of …`; null is said by "required"."""
    schema = _resolved(document, schema)
    for name in ("anyOf", "oneOf"):
        if name in schema:
            kinds = [_type(document, each) for each in schema[name] if each.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        kind = f"array of {_type(document, schema.get('items', {}))}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        kind += f", {low:g} to {high:g}"
    return kind


def _curl(
    document: Mapping[str, Any],
    origin: str,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
) -> str:
    for name, value in _EXAMPLES.items():
        path = path.replace(f"{{{name}}}", value).replace(f"{{{name}:path}}", value)
    words = ["curl", "--fail-with-body"]
    if method != "get":
        words += ["--request", method.upper()]
    if method != "get" and "/plans" not in path:
        words += ["--header", "Authorization: Bearer $LOADPLAN_TOKEN"]
    if body is not None:
        words += ["--json", json.dumps(_example(document, body))]
    words.append(f"{origin}{path}")
    quoted = [f'"{word}"' if "$LOADPLAN_TOKEN" in word else shlex.quote(word) for word in words]
    return " ".join(quoted)


def _example(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    """What is required, with the document's own examples."""
    if schema.get("type") == "array":
        return [_example(document, _resolved(document, schema.get("items", {})))]
    examples: dict[str, Any] = {}
    for name, each in schema.get("properties", {}).items():
        if name in schema.get("required", ()):
            given = _resolved(document, each).get("examples") or each.get("examples")
            examples[name] = given[0] if given else "…"
    return examples
