"""Facts and records with sensible contents; each test names what it is about."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from registry.domain.adapter_config import AdapterConfig
from registry.domain.base_model import BaseConfig
from registry.domain.facts import AdapterFacts, BaseFacts, WeightsFacts, WeightsFormat
from registry.domain.issues import Issue, Severity
from registry.domain.naive_load import NaiveLoad
from registry.domain.record import Evidence, Proof, Record, RecordFacts, Status
from registry.domain.refs import CheckpointRef, CommitSha, Digest, RepoId, Source
from registry.domain.steps import LoadAdapter, LoadBase, LoadTokenizer, Plan
from registry.domain.tensors import TensorSpec
from registry.domain.tokenizer import AddedToken, TokenizerFacts

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def commit(seed: object) -> CommitSha:
    return CommitSha(hashlib.sha1(repr(seed).encode()).hexdigest())


def digest(seed: object) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(repr(seed).encode()).hexdigest()}")


def ref(
    repo_id: str, content: object, at_commit: object = None, *, revision="main", subfolder=None
) -> CheckpointRef:
    """`content` None: the repository could not be read."""
    sha = None if content is None else commit((repo_id, at_commit or content))
    return CheckpointRef(
        Source.HUB,
        RepoId(repo_id),
        revision,
        sha,
        None if content is None else digest(content),
        subfolder,
    )


def lora_layout(rank: int = 8, layers: int = 32) -> tuple[TensorSpec, ...]:
    modules = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "gate_proj", "down_proj")
    return tuple(
        sorted(
            TensorSpec(
                f"base_model.model.model.layers.{layer}.{module}.{part}.weight", "BF16", shape
            )
            for layer in range(layers)
            for module in modules
            for part, shape in (("lora_A", (rank, 4096)), ("lora_B", (4096, rank)))
        )
    )


def tokenizer(content: object = "tokenizer", length: int | None = 33004) -> TokenizerFacts:
    return TokenizerFacts(
        content_id=digest(content),
        length=length,
        largest_id=None if length is None else length - 1,
        base_vocabulary_size=32000,
        added_tokens=(AddedToken(32000, "<pad>", True), AddedToken(None, "<x>", False)),
        special_tokens={"pad_token": "<pad>"},
        chat_template="{{ messages }}",
        reason=None if length is not None else "sentencepiece-only",
    )


def adapter_facts(reference: CheckpointRef, *, rank: int = 8, layout=None) -> AdapterFacts:
    config = AdapterConfig(
        peft_type="LORA",
        task_type="CAUSAL_LM",
        base_model_name_or_path="acme/base",
        revision=None,
        r=rank,
        lora_alpha=16,
        target_modules=("q_proj", "v_proj"),
        rank_pattern={"layers.0": 4},
        declared=frozenset({"r", "lora_alpha"}),
        layer_replication=((0, 4), (2, 6)),
        raw={"r": rank, "nested": {"a": [1, 2.5, None, True]}},
    )
    return AdapterFacts(
        ref=reference,
        config=config,
        weights=WeightsFacts(
            WeightsFormat.SAFETENSORS,
            {"adapter_model.safetensors": "ab" * 32},
            12345,
            lora_layout(rank) if layout is None else layout,
        ),
        tokenizer=tokenizer(),
        other_adapters=("beside",),
        problems=(Issue("config-unknown-keys", Severity.WARNING, "One key is unknown.", "Fix."),),
        generation_config_digest=digest("generation"),
    )


def base_facts(reference: CheckpointRef) -> BaseFacts:
    config = BaseConfig(
        model_type="llama",
        architectures=("LlamaForCausalLM",),
        vocab_size=32000,
        hidden_size=4096,
        num_hidden_layers=32,
        tie_word_embeddings=False,
        dtype="bfloat16",
        token_ids={"eos_token_id": (2, 3)},
        raw={"vocab_size": 32000},
    )
    layout = (
        TensorSpec("lm_head.weight", "BF16", (32000, 4096)),
        TensorSpec("model.embed_tokens.weight", "BF16", (32000, 4096)),
    )
    return BaseFacts(
        ref=reference,
        config=config,
        weights=WeightsFacts(
            WeightsFormat.SAFETENSORS, {"model.safetensors": "cd" * 32}, 99, layout
        ),
        tokenizer=tokenizer("base tokenizer", 32000),
        generation_token_ids={"eos_token_id": (2,)},
    )


def plan(adapter: CheckpointRef, base: CheckpointRef) -> Plan:
    return Plan(
        digest((adapter.digest, base.digest)),
        (
            LoadBase(
                "AutoModelForCausalLM", base.repo_id, str(base.commit_sha), {"dtype": "bfloat16"}
            ),
            LoadTokenizer("adapter", adapter.repo_id, str(adapter.commit_sha), 33004),
            LoadAdapter(adapter.repo_id, str(adapter.commit_sha), adapter.subfolder, {}),
        ),
    )


def record(
    adapter: CheckpointRef | None = None,
    base: CheckpointRef | None = None,
    *,
    status: Status = Status.PLANNED,
    evidence: Evidence = Evidence.STATIC,
    issues: tuple[Issue, ...] = (),
    peft_type: str = "LORA",
    declared_base: str | None = "acme/base",
) -> Record:
    adapter = adapter or ref("acme/chat-lora", "adapter")
    base = base or ref("acme/base", "base")
    return Record(
        adapter=adapter,
        base=base,
        status=status,
        evidence=evidence,
        facts=RecordFacts(peft_type=peft_type, rank=8, lora_alpha=16, declared_base=declared_base),
        plan=plan(adapter, base),
        issues=issues,
        naive_load=NaiveLoad("loads"),
    )


def blocked(reference: CheckpointRef, code: str = "adapter-gated") -> Record:
    return Record(
        adapter=reference,
        base=None,
        status=Status.BLOCKED,
        evidence=Evidence.NONE,
        facts=RecordFacts(),
        plan=None,
        issues=(Issue(code, Severity.ERROR, "It is gated.", "Ask."),),
        naive_load=NaiveLoad("unknown"),
    )


def failed(reference: CheckpointRef) -> Record:
    return replace(
        blocked(reference, "hub-unreachable"), status=Status.FAILED, evidence=Evidence.NONE
    )


def proof(name: str = "proof-1") -> Proof:
    return Proof(
        id=name,
        outcome="passed",
        device="cuda",
        environment={"torch": "2.13.0"},
        sandbox="bubblewrap",
        inherited_from=None,
        checks={"landed": {"outcome": "passed"}},
        started_at="2026-11-24T12:00:00+00:00",
        finished_at="2026-11-24T12:01:00+00:00",
    )
