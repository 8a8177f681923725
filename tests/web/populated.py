"""A registry with something to see on every page: real scans, proofs, history, hostile texts.

`fill(url, hub)` publishes on a local Hub, scans it, and writes beside it what takes a GPU, time or
other people in real life. Nothing here is random: pictures of the pages are the same each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from registry.asking import ask_scan
from registry.db import operations, workers
from registry.db.plans import StoredRehearsal, save_rehearsal
from registry.db.proofs import save_proof
from registry.db.records import StoredRecord, find_record, save_record
from registry.db.repositories import save_access
from registry.db.session import Database, open_database
from registry.db.subscriptions import Subscription, save_subscription
from registry.db.sweeps import Sweep, save_sweep
from registry.db.tokens import create_token
from registry.domain.bearer import hash_token, make_token
from registry.domain.issues import make_issue
from registry.domain.record import Evidence, Proof, Record, Status
from registry.domain.refs import CommitSha, Digest, RepoId, Source, parse_reference
from registry.hub import open_reader
from registry.jobs import Jobs, Priority, prepare
from registry.scanning import Scanner
from tests.data.adapters import Lora, lora_adapter
from tests.data.bases import CORPUS, load_base
from tests.data.build import CASES, GROWN, LLAMA, canonical_adapter, publish_cases
from tests.data.corpus import ADAPTERS, adapter_files, base_files, publish_bases
from tests.hub import LocalHub

CANONICAL = "acme/chat-lora"
SECOND_BASE = "acme/llama-2-7b-tuned"
PRIVATE = "closed/secret-lora"
HOSTILE = "evil/markup-lora"
HOSTILE_TEXT = (
    "</td></table><script>alert(1)</script><img src=x onerror=alert(2)>"
    '" onmouseover="alert(3)" \u202eesrever\u2066 \x07\x1b[31m ' + "long" * 400
)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
VERSIONS = {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"}
AUTHORS = ("acme", "globex", "initech", "umbra", "hooli", "vandelay", "wonka", "stark")
TOPICS = ("sql", "chat", "legal", "medical", "code", "poetry", "support", "math", "roleplay")


@dataclass(frozen=True)
class Registry:
    """What a test needs to know of it."""

    url: str
    token: str
    operation_id: str
    first_commit: str
    second_commit: str


def beat_workers(url: str) -> None:
    """Two workers, seen just now."""
    database = open_database(url)
    with database.transaction() as session:
        _beat(session)
    database.close()


def _beat(session: Any) -> None:
    for queues, device, executor in (
        (("scan", "rehearse"), "cpu", "node-1-a1b2c3d4e5f6"),
        (("prove",), "cuda", "node-2-0a9b8c7d6e5f"),
    ):
        workers.beat(session, workers.Worker(executor, "node", queues, device, VERSIONS))


def fill(url: str, hub: LocalHub, corpus: Path | None = CORPUS) -> Registry:
    """`url` names a migrated database; the hub is empty."""
    prepare(url)
    publish_bases(hub, corpus)
    publish_cases(hub, CASES, corpus)
    for adapter in ADAPTERS:
        hub.add_commit(adapter.repo_id, adapter_files(adapter, corpus), title="Upload adapter")
    hub.add_commit(SECOND_BASE, base_files(LLAMA, corpus), title="Upload model")
    database = open_database(url)
    try:
        return _Filling(database, hub, corpus).run(url)
    finally:
        database.close()


class _Filling:
    def __init__(self, database: Database, hub: LocalHub, corpus: Path | None) -> None:
        self.database = database
        self.hub = hub
        self.corpus = corpus

    def run(self, url: str) -> Registry:
        names = [case.repo_id for case in CASES] + [adapter.repo_id for adapter in ADAPTERS]
        first = self.scan(CANONICAL)
        self.move_canonical()
        for name in names:
            self.scan(name)
        self.scan(CANONICAL, base=SECOND_BASE)
        self.scan("corpus/gemma3-270m-local-base", base="google/gemma-3-270m")
        self.many(60)
        self.rehearse("acme/chat-lora-padded", "corpus/gpt2-chat", "corpus/nllb-seq2seq")
        self.rehearse(CANONICAL)
        self.prove(CANONICAL, "cuda", VERSIONS | {"cuda": "13.0", "python": "3.11.9"})
        self.prove("acme/chat-lora-padded", "cpu", VERSIONS | {"python": "3.11.9"}, failed=True)
        self.move_base()
        self.hostile()
        self.hide()
        operation = self.work()
        token = self.token("web", ("scan", "prove", "admin"), visible=("closed/*", "meta-llama/*"))
        newest = self.find(CANONICAL)
        return Registry(
            url,
            token,
            operation,
            str(first.adapter.commit_sha),
            str(newest.record.adapter.commit_sha),
        )

    def scan(self, name: str, *, base: str | None = None) -> Record:
        async def scanning() -> Record:
            async with open_reader(self.hub.url, None) as reader:
                scanner = Scanner(reader, self.database)
                of = None if base is None else parse_reference(base)
                return (await scanner.scan(parse_reference(name), base=of)).record

        return asyncio.run(scanning())

    def find(self, name: str) -> StoredRecord:
        with self.database.reading() as connection:
            found = find_record(connection, repo_id=name)
        assert found is not None, name
        return found

    def move_canonical(self) -> None:
        """A second revision: the file of the first one, with a config that says more."""
        files = dict(canonical_adapter(self.corpus))
        config = json.loads(_bytes(files["adapter_config.json"]))
        config |= {"lora_alpha": 32, "lora_dropout": 0.05}
        files["adapter_config.json"] = json.dumps(config).encode()
        self.hub.add_commit(CANONICAL, files, title="Train longer")

    def many(self, count: int) -> None:
        """Records of other people, so that there are pages and counts."""
        model = self.find("acme/chat-lora-padded").record
        statuses = (Status.PLANNED, Status.REHEARSED, Status.PLANNED, Status.INCOMPATIBLE)
        for number in range(count):
            name = f"{AUTHORS[number % 8]}/{TOPICS[number % 9]}-lora-{number:03d}"
            status = statuses[number % 4]
            record = _elsewhere(model, name, status, number)
            with self.database.transaction() as session:
                save_record(session, record, scanned_at=NOON - timedelta(minutes=7 * number))

    def rehearse(self, *names: str) -> None:
        for name in names:
            found = self.find(name).record
            assert found.plan is not None
            assert found.base is not None
            record = replace(found, status=Status.REHEARSED, evidence=Evidence.REHEARSED)
            with self.database.transaction() as session:
                for plan in (found.plan.digest, None):
                    save_rehearsal(session, _rehearsal(found, plan))
                save_record(session, record, scanned_at=NOON + timedelta(minutes=3))

    def prove(
        self, name: str, device: str, versions: dict[str, str], *, failed: bool = False
    ) -> None:
        found = self.find(name).record
        assert found.plan is not None
        assert found.base is not None
        proof = _proof(name, device, versions, failed=failed)
        status = found.status if failed else Status.COMPATIBLE
        evidence = found.evidence if failed else Evidence.PROVEN
        record = replace(found, status=status, evidence=evidence, proofs=(proof,))
        with self.database.transaction() as session:
            save_proof(
                session,
                proof,
                adapter=found.adapter,
                base=found.base,
                plan_digest=found.plan.digest,
            )
            save_record(session, record, scanned_at=NOON + timedelta(minutes=9))

    def move_base(self) -> None:
        """gpt2 gets another config: what was judged on the old one is stale."""
        files = dict(base_files("gpt2", self.corpus))
        config = json.loads(_bytes(files["config.json"]))
        config |= {"attn_pdrop": 0.0, "use_cache": False}
        files["config.json"] = json.dumps(config).encode()
        self.hub.add_commit("gpt2", files, title="Edit the config")
        self.scan("corpus/gpt2-score-head")

    def hostile(self) -> None:
        """What its author wrote into config, tensors and tokenizer is meant to break pages."""
        model = self.find("acme/chat-lora-padded").record
        issue = make_issue("tensors-unexpected", HOSTILE_TEXT, tensor=HOSTILE_TEXT[:900])
        record = _elsewhere(model, HOSTILE, Status.INCOMPATIBLE, 999)
        facts = replace(
            record.facts,
            declared_base=HOSTILE_TEXT[:200],
            target_modules=(HOSTILE_TEXT[:200],),
            other_adapters=("<b>bold</b>", "\u202eabc"),
            peft_type="<i>LORA</i>",
        )
        with self.database.transaction() as session:
            save_record(session, replace(record, issues=(issue,), facts=facts), scanned_at=NOON)
        files = dict(lora_adapter(load_base(LLAMA, self.corpus), Lora(rank=4)))
        config = json.loads(_bytes(files["adapter_config.json"]))
        config |= {"target_modules": ["q_proj", "<script>alert(4)</script>"], "x<b>": "\u202e\x07"}
        files["adapter_config.json"] = json.dumps(config).encode()
        self.hub.add_commit("evil/config-lora", files, title="Upload adapter")
        self.scan("evil/config-lora")

    def hide(self) -> None:
        model = self.find("acme/chat-lora-padded").record
        with self.database.transaction() as session:
            record = _elsewhere(model, PRIVATE, Status.PLANNED, 777)
            save_record(session, record, scanned_at=NOON)
            save_access(
                session,
                Source.HUB,
                PRIVATE,
                access="readable",
                private=True,
                gated=False,
                checked_at=NOON,
            )

    def work(self) -> str:
        """An operation under way, workers, a sweep and a subscription. The running one's id."""
        jobs = Jobs(self.database.writer)
        now = datetime.now(UTC)

        def ask(session: Any) -> operations.Operation:
            return ask_scan(
                session, jobs, parse_reference("acme/next-lora"), priority=Priority.PERSON
            )

        operation = self.database.write(ask)
        with self.database.transaction() as session:
            _beat(session)
            taken = operations.take(session, operation.id, "node-1-a1b2c3d4e5f6")
            assert taken is not None
            operations.note(session, taken[1], {"stage": "reading", "done": 0, "total": 1})
            sweep = Sweep("peft", None, {"seen": 412}, now - timedelta(hours=2), now, now)
            save_sweep(session, sweep)
            save_subscription(
                session,
                Subscription(
                    "6d1f0a52-7e0c-4c55-a2c8-8b6f3c1f2a10",
                    "base",
                    LLAMA,
                    "https://hooks.acme.dev/loadplan",
                    "whsec_" + "A" * 43 + "=",
                    None,
                    NOON,
                ),
            )
        jobs.close()
        return operation.id

    def token(self, name: str, scopes: tuple[str, ...], *, visible: tuple[str, ...]) -> str:
        """Not secret: the tests' own."""
        places = iter(range(10_000))
        token = make_token(lambda letters: letters[next(places) % len(letters)])
        with self.database.transaction() as session:
            create_token(
                session,
                name=name,
                token_hash=hash_token(token),
                scopes=scopes,
                created_at=NOON,
                expires_at=None,
                visible=visible,
            )
        return token


def _bytes(content: Any) -> bytes:
    if isinstance(content, Path):
        return content.read_bytes()
    return content.encode() if isinstance(content, str) else bytes(content)


def _seed(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _elsewhere(model: Record, name: str, status: Status, number: int) -> Record:
    """The same kind of record under another name and content."""
    adapter = replace(
        model.adapter,
        repo_id=RepoId(name),
        commit_sha=CommitSha(_seed(name, "commit")[:40]),
        digest=Digest(f"sha256:{_seed(name)}"),
    )
    rank = (8, 16, 32, 64)[number % 4]
    facts = replace(model.facts, rank=rank, ranks={str(rank): 64}, tokenizer_length=32000 + number)
    evidence = Evidence.REHEARSED if status is Status.REHEARSED else Evidence.STATIC
    issues = tuple(issue for issue in model.issues if issue.code in ("base-unpinned", "rank-high"))
    plan = model.plan
    if status is Status.INCOMPATIBLE:
        code = ("shape-mismatch", "tensors-missing", "rank-mismatch")[number % 3]
        tensor = "base_model.model.model.layers.3.self_attn.q_proj.lora_B.weight"
        shapes: dict[str, Any] = {"file_shape": (5120, rank), "base_shape": (4096, rank)}
        message = "has 5120 rows; the base's module takes 4096."
        issues = (make_issue(code, message, tensor=tensor, **shapes), *issues)
        plan = None
    return replace(
        model,
        adapter=adapter,
        status=status,
        evidence=evidence,
        facts=facts,
        issues=issues,
        plan=plan,
        proofs=(),
    )


def _rehearsal(record: Record, plan: Digest | None) -> StoredRehearsal:
    assert record.adapter.digest is not None
    assert record.base is not None
    assert record.base.digest is not None
    naive = record.naive_load
    outcome = "landed" if plan or naive is None or naive.outcome == "loads" else "raises"
    return StoredRehearsal(
        adapter_digest=record.adapter.digest,
        subfolder=record.adapter.subfolder,
        base_digest=record.base.digest,
        plan_digest=plan,
        outcome=outcome,
        missing=(),
        unexpected=(),
        overwritten=(),
        error=None if plan or naive is None else naive.error,
        warnings=(),
        versions=VERSIONS,
        finished_at=NOON + timedelta(minutes=3),
    )


def _proof(name: str, device: str, versions: dict[str, str], *, failed: bool) -> Proof:
    passed: dict[str, Any] = {"outcome": "passed", "figure": None, "reason": None}
    checks: dict[str, Any] = {
        "landed": {**passed, "figure": 258},
        "nothing_else": {**passed, "figure": {"poisoned_left": 0, "base_changed": 2}},
        "finite": {**passed, "figure": 258},
        "effect": {**passed, "figure": {"max_difference": 3.4375, "modules_run": 128}},
        "forward": {**passed, "figure": {"shape": [1, 12, GROWN], "largest_id": GROWN - 1}},
        "cast_loss": {"tensors": 0, "max_abs_error": 0.0, "names": []},
        "repeat_max_diff": 0.0,
        "round_trip": {
            "outcome": "same",
            "differing": 0,
            "only_in_file": [],
            "only_when_saved": [],
        },
        "merge": {
            "outcome": "safe",
            "worst": 0.0312,
            "worst_module": "model.layers.0.mlp.up_proj",
            "median": 0.0041,
            "modules": 128,
            "of": 128,
            "reason": None,
        },
        "peak_memory_bytes": 17_431_584_768,
        "reference_output": {
            "ids": [1, 33003, 450],
            "positions": [1, 2],
            "top": {"1": [[2, -0.1]]},
        },
    }
    if failed:
        reason = "a tensor that was never loaded is still poisoned in lm_head"
        checks = {
            "landed": {**passed, "figure": 258},
            "nothing_else": {"outcome": "failed", "figure": {"poisoned_left": 1}, "reason": reason},
        }
    return Proof(
        id=f"{_seed(name, 'proof')[:8]}-5d2f-4b7e-9d0e-1c2b3a4d5e6f",
        outcome="failed" if failed else "passed",
        device=device,
        environment=versions,
        sandbox="bubblewrap",
        inherited_from=None,
        checks=checks,
        started_at="2026-11-24T12:07:00+00:00",
        finished_at="2026-11-24T12:09:00+00:00",
    )
