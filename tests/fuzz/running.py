"""The service on loopback with a populated database, and cases made from its own OpenAPI document.

Half of the cases that name a record, an operation or a subscription name one that is there: what is
made up alone would meet nothing but 404.
"""

from __future__ import annotations

import json
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from api.app import create_app
from api.asking import parse_wait
from api.identity import Quotas
from migrations.upgrade import upgrade
from registry.config import Settings
from registry.db.subscriptions import list_deliveries, list_subscriptions
from registry.domain.issues import CATALOGUE
from tests.hub import LocalHub
from tests.web.populated import CANONICAL, HOSTILE, PRIVATE, Registry, fill
from tests.web.serving import serving_app

SECRET = "the-secret-of-the-webhook"
# Follows until the end, which never comes for work that no worker takes.
STREAM = "get_operation_events"
# What is about the service's promises. The two others ask that whatever matches the document is
# accepted, and that nothing else is: names of records, of text, cannot be said so narrowly.
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "missing_required_header",
    "use_after_free",
)
_REFUSED = frozenset({"positive_data_acceptance", "negative_data_rejection"})


@dataclass(frozen=True)
class Service:
    """Where it is, and what is there to be named."""

    address: str
    token: str
    known: Mapping[str, Sequence[str]]


@dataclass
class Outcome:
    """What a run came to. `answers` counts by operation and status, `failures` are sentences."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def cases(self) -> int:
        return self.answers.total()

    def statuses(self) -> dict[int, int]:
        found: Counter[int] = Counter()
        for (_, status), count in self.answers.items():
            found[status] += count
        return dict(sorted(found.items()))


@contextmanager
def populated_service() -> Iterator[Service]:
    """The service as operators run it, with the Hub's webhook and quotas that nobody uses up."""
    with tempfile.TemporaryDirectory(prefix="loadplan-fuzz-") as folder:
        url = f"sqlite:///{Path(folder) / 'loadplan.db'}"
        upgrade(url)
        with LocalHub() as hub:
            registry = fill(url, hub)
        app = create_app(Settings(database_url=url, hub_webhook_secret=SECRET))
        app.state.quotas = Quotas(anonymous=10**9, token=10**9)
        with serving_app(app) as address:
            yield Service(address, registry.token, _known(app, address, registry))


def _known(app: Any, address: str, registry: Registry) -> dict[str, list[str]]:
    with app.state.database.reading() as connection:
        made = [each.id for each in list_subscriptions(connection)]
    headers = {"Authorization": f"Bearer {registry.token}"}
    sent = requests.post(
        f"{address}/v1/subscriptions/{made[0]}/test", headers=headers, timeout=10
    ).json()["id"]
    with app.state.database.reading() as connection:
        assert [each.id for each in list_deliveries(connection, made[0], limit=5)] == [sent]
    return {
        "adapter": [CANONICAL, "acme/chat-lora-padded", "corpus/gpt2-chat", PRIVATE, HOSTILE],
        "repo_id": ["gpt2", "meta-llama/Llama-2-7b-chat-hf", "google/gemma-3-270m"],
        "revision": ["main", registry.first_commit, registry.second_commit],
        "operation_id": [registry.operation_id],
        "subscription_id": made,
        "delivery_id": [sent],
    }


def fuzz(
    service: Service, *, examples: int, seed: int, operations: Sequence[str] | None = None
) -> Outcome:
    """Boundary cases of every operation, `examples` made-up ones of each, and chains of calls."""
    outcome = Outcome()
    schema = schemathesis.openapi.from_url(
        f"{service.address}/openapi.json", config=_config(service, examples, seed)
    ).exclude(operation_id=STREAM)
    if operations is not None:
        schema = schema.include(operation_id=list(operations))
    pages = Pages(service.address)

    @schema.hook("map_case")
    def name_what_is_there(context: Any, case: Any) -> Any:
        return _named(case, service.known)

    @schema.hook("after_call")
    def look(context: Any, case: Any, response: Any) -> None:
        name = case.operation.definition.raw["operationId"]
        outcome.answers[name, response.status_code] += 1
        for failure in judge(response.status_code, response.headers, response.content, pages):
            outcome.failures.setdefault(f"{name}: {failure}", case.as_curl_command())

    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _collect(event, outcome)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            reason = getattr(event, "value", None) or getattr(event, "exception", event)
            outcome.failures.setdefault(f"the run: {reason}", "")
    return outcome


def judge(status: int, headers: Any, body: bytes, pages: Any) -> Iterator[str]:
    """What is wrong with an answer, whatever the document says: each error is a problem document
    with a code, the request's id and a type that leads to a page."""
    given = {name.lower(): _first(value) for name, value in headers.items()}
    if "x-request-id" not in given:
        yield f"{status} without X-Request-Id"
    if status < 400:
        return
    kind = given.get("content-type", "")
    if kind != "application/problem+json":
        yield f"{status} is {kind}"
        return
    problem = json.loads(body)
    if problem.get("request_id") != given.get("x-request-id"):
        yield f"{status} names another request"
    if problem.get("code") not in CATALOGUE:
        yield f"{status} has no code of the catalogue but {problem.get('code')}"
    if problem.get("status") != status:
        yield f"{status} says {problem.get('status')}"
    if given.get("x-error-code") != problem.get("code"):
        yield f"{status} has another X-Error-Code"
    if not pages.leads(str(problem.get("type"))):
        yield f"{status} has the type {problem.get('type')}, which leads nowhere"


def _first(value: Any) -> str:
    return value if isinstance(value, str) else str(value[0])


class Pages:
    """Whether types lead to pages; each is asked for once."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._found: dict[str, bool] = {}

    def leads(self, kind: str) -> bool:
        if kind not in self._found:
            answer = requests.get(self._address + kind, headers={"Accept": "text/html"}, timeout=10)
            self._found[kind] = answer.status_code == 200
        return self._found[kind]


def _config(service: Service, examples: int, seed: int) -> SchemathesisConfig:
    checks = {name: {"enabled": True} for name in _CHECKS}
    checks |= {name: {"enabled": False} for name in _REFUSED}
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            # Past failures would be kept in a folder of the checkout.
            "cache": {"enabled": False},
            "request-timeout": 20,
            "auth": {"openapi": {"token": {"bearer": service.token}}},
            "parameters": {"header.X-Webhook-Secret": SECRET},
            "generation": {"max-examples": examples, "database": "none", "no-shrink": True},
            "checks": checks,
            # What is cancelled stays to be read, as cancelled.
            "operations": [
                {
                    "include-operation-id": ["get_operation", "cancel_operation"],
                    "checks": {"use_after_free": {"enabled": False}},
                }
            ],
            "continue-on-failure": True,
            "phases": {"stateful": {"enabled": examples > 5}},
        }
    )


def _named(case: Any, known: Mapping[str, Sequence[str]]) -> Any:
    """Every second case names what is there. Which one follows from the case, so a seed repeats a
    run but for the ids that are made on the way."""
    choice = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode())
    if choice % 2 and case.method != "DELETE":
        adapter = _pick(known["adapter"], choice)
        namespace, name = adapter.split("/")
        there = {each: _pick(values, choice) for each, values in known.items()}
        there |= {"namespace": namespace, "name": name}
        _replace(case.path_parameters, there)
        _replace(case.query, {"revision": there["revision"], "base": there["repo_id"]})
        bodies = case.body if isinstance(case.body, list) else [case.body]
        for body in bodies:
            _replace(body, {"repo_id": adapter})
    if parse_wait(str((case.headers or {}).get("Prefer"))) > 0:
        case.headers["Prefer"] = "wait=0"
    return case


def _pick(values: Sequence[str], choice: int) -> str:
    return values[(choice >> 1) % len(values)]


def _replace(members: Any, there: Mapping[str, str]) -> None:
    if isinstance(members, dict):
        members.update({name: there[name] for name in members.keys() & there.keys()})


def _collect(event: events.ScenarioFinished, outcome: Outcome) -> None:
    for checks in event.recorder.checks.values():
        for check in checks:
            if check.failure_info is not None:
                failure = check.failure_info.failure
                sentence = f"{event.label}: {check.name}: {failure.title}: {failure.message}"
                outcome.failures.setdefault(sentence, check.failure_info.code_sample)
