"""A registry of 100,000 records and 2,000 layouts, made in minutes and without a Hub.

python -m tests.bench.many DATABASE_URL [records] [layouts]

One adapter per layout is saved as a scan saves it; the others are copies of its rows under names,
commits and contents of their own, so that every row is one that the product could have written.
Every fifth copy has one of 3,000 bases that hardly anybody else has, as it is on the Hub.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from migrations.upgrade import upgrade
from registry.db.base import Base
from registry.db.checkpoints import save_adapter, save_base
from registry.db.records import save_record
from registry.db.session import Database, open_database
from registry.domain.adapter_config import parse_adapter_config
from registry.domain.base_model import BaseConfig
from registry.domain.facts import AdapterFacts, BaseFacts, WeightsFacts, WeightsFormat
from registry.domain.plan import compute_plan
from registry.domain.record import Evidence, Record, RecordFacts, decide_status
from registry.domain.refs import CheckpointRef, CommitSha, Digest, RepoId, Source
from registry.domain.tensors import Layout, TensorSpec

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
BASES = tuple(
    f"{who}/{what}"
    for who in ("meta", "qwen", "mistral", "google")
    for what in ("base-1b", "base-3b", "base-7b", "base-13b", "chat-7b")
)
WORDS = ("sql", "chat", "legal", "medical", "code", "poetry", "support", "math", "roleplay", "tax")
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WIDTH = 1024
RARE_BASES = 3_000
_BATCH = 2_000
_TABLES = Base.metadata.tables


@dataclass(frozen=True)
class RareBase:
    """A copy of one of BASES, in whose place it can stand."""

    name: str
    repository_id: int
    digest: str
    commit: str


@dataclass(frozen=True)
class Model:
    """The rows of one adapter, to be copied."""

    name: str
    digest: str
    commit: str
    checkpoint: dict[str, Any]
    record: dict[str, Any]
    body: str
    issues: list[dict[str, Any]]


def generate(url: str, records: int, layouts: int) -> None:
    """`url` names a new database."""
    upgrade(url)
    database = open_database(url)
    chance = random.Random(records)
    try:
        models = list(_save_models(database, min(layouts, records), chance))
        rare = _copy_bases(database) if records > layouts else {}
        for start in range(layouts, records, _BATCH):
            numbers = range(start, min(start + _BATCH, records))
            with database.transaction() as session:
                _copy(session, numbers, models, rare, chance)
        if database.dialect == "postgresql":
            # As PostgreSQL does by itself in time; SQLite does nothing.
            with database.writer.connect() as connection:
                settled = connection.execution_options(isolation_level="AUTOCOMMIT")
                settled.exec_driver_sql("VACUUM ANALYZE")
    finally:
        database.close()


def name_of(number: int) -> str:
    return f"author{number % 4999}/{WORDS[number % 10]}-lora-{number:06d}"


def _save_models(database: Database, count: int, chance: random.Random) -> Iterator[Model]:
    bases = {name: _base(name) for name in BASES}
    with database.transaction() as session:
        for base in bases.values():
            save_base(session, base)
    for start in range(0, count, 100):
        with database.transaction() as session:
            for number in range(start, min(start + 100, count)):
                facts = _adapter(number, BASES[_skewed(chance, len(BASES))])
                assert facts.config is not None
                base = bases[str(facts.config.base_model_name_or_path)]
                save_adapter(session, facts)
                when = NOON - timedelta(seconds=number)
                save_record(session, _record(facts, base), scanned_at=when)
    with database.reading() as connection:
        for number in range(count):
            yield _read(connection, name_of(number))


def _read(connection: sa.Connection, name: str) -> Model:
    repositories, checkpoints = _TABLES["repositories"], _TABLES["checkpoints"]
    records, bodies, issues = (
        _TABLES["records"],
        _TABLES["record_bodies"],
        _TABLES["record_issues"],
    )
    own = sa.select(repositories.c.id).where(repositories.c.repo_id == name).scalar_subquery()
    checkpoint = connection.execute(
        sa.select(checkpoints).where(checkpoints.c.repository_id == own)
    ).one()
    record = connection.execute(
        sa.select(records).where(records.c.adapter_repository_id == own)
    ).one()
    body = connection.execute(
        sa.select(bodies.c.document).where(bodies.c.record_id == record.id)
    ).scalar_one()
    rows = connection.execute(sa.select(issues).where(issues.c.record_id == record.id))
    return Model(
        name,
        record.adapter_content,
        record.adapter_commit,
        dict(checkpoint._mapping),
        dict(record._mapping),
        json.dumps(body),
        [dict(row._mapping) for row in rows],
    )


def _copy_bases(database: Database) -> dict[str, list[RareBase]]:
    """Bases under names and contents of their own, by the one that each is a copy of."""
    repositories, checkpoints = _TABLES["repositories"], _TABLES["checkpoints"]
    copies: dict[str, list[RareBase]] = {name: [] for name in BASES}
    with database.transaction() as session:
        connection = session.connection()
        rows = connection.execute(
            sa.select(repositories.c.repo_id, checkpoints)
            .join(checkpoints, checkpoints.c.repository_id == repositories.c.id)
            .where(repositories.c.repo_id.in_(BASES))
        )
        originals = {row.repo_id: dict(row._mapping) for row in rows}
        names = [f"author{number}/tuned-{number:04d}" for number in range(RARE_BASES)]
        ids = _insert_repositories(connection, names)
        made = []
        for number, name in enumerate(names):
            original = BASES[number % len(BASES)]
            base = RareBase(name, ids[name], _digest(name), _commit(name))
            copies[original].append(base)
            row = {**originals[original], "repository_id": base.repository_id}
            row |= {"commit_key": base.commit, "content_key": base.digest}
            del row["id"], row["repo_id"]
            made.append(row)
        connection.execute(sa.insert(checkpoints), made)
        refs = [
            {
                "repository_id": row["repository_id"],
                "name": "main",
                "commit_key": row["commit_key"],
                "seen_at": NOON,
            }
            for row in made
        ]
        connection.execute(sa.insert(_TABLES["refs"]), refs)
    return copies


def _insert_repositories(connection: sa.Connection, names: list[str]) -> dict[str, int]:
    """Their ids."""
    table = _TABLES["repositories"]
    rows = [
        {
            "source": "hub",
            "repo_id": name,
            "author": name.partition("/")[0],
            "private": False,
            "gated": False,
            "access": "readable",
        }
        for name in names
    ]
    connection.execute(sa.insert(table), rows)
    found = sa.select(table.c.repo_id, table.c.id).where(table.c.repo_id.in_(names))
    return {row.repo_id: row.id for row in connection.execute(found)}


def _copy(
    session: Session,
    numbers: range,
    models: list[Model],
    rare: dict[str, list[RareBase]],
    chance: random.Random,
) -> None:
    connection = session.connection()
    ids = _insert_repositories(connection, [name_of(number) for number in numbers])
    next_record = connection.execute(sa.select(sa.func.max(_TABLES["records"].c.id))).scalar_one()
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("checkpoints", "refs", "records", "record_bodies", "record_issues")
    }
    for place, number in enumerate(numbers):
        model = models[_skewed(chance, len(models))]
        base = chance.choice(rare[model.record["base_repo_id"]]) if number % 5 == 0 else None
        _rows_of(number, model, base, (ids[name_of(number)], next_record + 1 + place), rows)
    for name, values in rows.items():
        if values:
            connection.execute(sa.insert(_TABLES[name]), values)
    if connection.dialect.name == "postgresql":
        # The ids were given here, so the sequence has to be told.
        connection.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence('records', 'id'), max(id)) FROM records"
        )


def _rows_of(
    number: int,
    model: Model,
    base: RareBase | None,
    ids: tuple[int, int],
    rows: dict[str, list[dict[str, Any]]],
) -> None:
    """`ids` are those of the adapter's repository and of the record."""
    repository_id, record_id = ids
    name, when = name_of(number), NOON - timedelta(seconds=number)
    digest, commit = _digest(number), _commit(number)
    checkpoint = {**model.checkpoint, "repository_id": repository_id}
    checkpoint |= {"commit_key": commit, "content_key": digest}
    del checkpoint["id"]
    rows["checkpoints"].append(checkpoint)
    rows["refs"].append(
        {"repository_id": repository_id, "name": "main", "commit_key": commit, "seen_at": when}
    )
    record = {
        **model.record,
        "id": record_id,
        "adapter_repository_id": repository_id,
        "adapter_commit": commit,
        "adapter_content": digest,
        "author": name.partition("/")[0],
        "content_digest": f"sha256:{hashlib.sha256(digest.encode()).hexdigest()}",
        "scanned_at": when,
        "confirmed_at": when,
    }
    if base is not None:
        record |= {
            "base_repository_id": base.repository_id,
            "base_repo_id": base.name,
            "base_content": base.digest,
            "base_commit": base.commit,
        }
    record["search_text"] = f"{name}  {record['base_repo_id']}".lower()
    rows["records"].append(record)
    body = model.body.replace(model.name, name).replace(model.digest, digest)
    body = body.replace(model.commit, commit)
    for column in ("base_repo_id", "base_content", "base_commit"):
        body = body.replace(model.record[column], record[column])
    rows["record_bodies"].append({"record_id": record_id, "document": json.loads(body)})
    rows["record_issues"] += [
        {
            **issue,
            "record_id": record_id,
            "scanned_at": when,
            "base_repo_id": record["base_repo_id"],
        }
        for issue in model.issues
    ]


def _skewed(chance: random.Random, count: int) -> int:
    """Few are common, as in life."""
    return min(int(count * chance.random() ** 2.5), count - 1)


def _digest(seed: object) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(repr(seed).encode()).hexdigest()}")


def _commit(seed: object) -> CommitSha:
    return CommitSha(hashlib.sha256(repr(("commit", seed)).encode()).hexdigest()[:40])


def _ref(name: str, seed: object) -> CheckpointRef:
    return CheckpointRef(Source.HUB, RepoId(name), "main", _commit(seed), _digest(seed))


def _base(name: str) -> BaseFacts:
    layout = [
        TensorSpec(f"model.layers.{layer}.self_attn.{each}.weight", "BF16", (WIDTH, WIDTH))
        for layer in range(32)
        for each in TARGETS[:4]
    ]
    layout += [
        TensorSpec(f"model.layers.{layer}.mlp.{each}.weight", "BF16", (WIDTH, WIDTH))
        for layer in range(32)
        for each in TARGETS[4:]
    ]
    layout += [
        TensorSpec(each, "BF16", (32000, WIDTH))
        for each in ("model.embed_tokens.weight", "lm_head.weight")
    ]
    config = BaseConfig(
        model_type="llama",
        architectures=("LlamaForCausalLM",),
        vocab_size=32000,
        hidden_size=WIDTH,
        num_hidden_layers=32,
        tie_word_embeddings=False,
        dtype="bfloat16",
        raw={"model_type": "llama", "vocab_size": 32000},
    )
    weights = WeightsFacts(
        WeightsFormat.SAFETENSORS,
        {"model.safetensors": _digest(name)},
        10**9,
        tuple(sorted(layout)),
    )
    return BaseFacts(_ref(name, name), config, weights, None)


def _layout(number: int) -> tuple[int, Layout]:
    """Distinct for every number below 4,000."""
    rank = (4, 8, 16, 32, 64)[number % 5]
    chosen = TARGETS[: 1 + number // 5 % 7]
    layers = 1 + number // 35 % 32
    dtype = ("BF16", "F32", "F16", "F64")[number // 1120 % 4]
    tensors = []
    for layer in range(layers):
        for target in chosen:
            block = "self_attn" if target in TARGETS[:4] else "mlp"
            for part, shape in (("lora_A", (rank, WIDTH)), ("lora_B", (WIDTH, rank))):
                name = f"base_model.model.model.layers.{layer}.{block}.{target}.{part}.weight"
                # Every ninth is broken: a shape that its base has no room for.
                wrong = number % 9 == 0 and part == "lora_B" and layer == 0
                tensors.append(TensorSpec(name, dtype, (WIDTH + 8, rank) if wrong else shape))
    return rank, tuple(sorted(tensors))


def _adapter(number: int, base: str) -> AdapterFacts:
    rank, layout = _layout(number)
    written = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": list(TARGETS[: 1 + number // 5 % 7]),
        "layers_to_transform": list(range(1 + number // 35 % 32)),
    }
    config = parse_adapter_config(json.dumps(written).encode())
    weights = WeightsFacts(
        WeightsFormat.SAFETENSORS, {"adapter_model.safetensors": _digest(number)}, 10**7, layout
    )
    return AdapterFacts(_ref(name_of(number), number), config, weights, None)


def _record(adapter: AdapterFacts, base: BaseFacts) -> Record:
    planned = compute_plan(adapter, base)
    status = decide_status(planned.issues)
    assert adapter.config is not None
    assert adapter.weights is not None
    assert adapter.weights.layout is not None
    facts = RecordFacts(
        peft_type=adapter.config.peft_type,
        task_type=adapter.config.task_type,
        rank=adapter.config.r,
        ranks={str(adapter.config.r): len(adapter.weights.layout) // 2},
        lora_alpha=adapter.config.lora_alpha,
        target_modules=adapter.config.target_modules,
        tensor_count=len(adapter.weights.layout),
        base_embedding_rows=32000,
        declared_base=adapter.config.base_model_name_or_path,
    )
    record = Record(
        adapter.ref,
        base.ref,
        status,
        Evidence.STATIC,
        facts,
        planned.plan,
        planned.issues,
        planned.naive_load,
    )
    return record


if __name__ == "__main__":
    started = time.perf_counter()
    given = [int(word) for word in sys.argv[2:]]
    generate(sys.argv[1], *(given + [100_000, 2_000][len(given) :]))
    sys.stderr.write(f"{time.perf_counter() - started:.0f} s\n")
