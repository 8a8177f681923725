"""Hostile configs and headers against the real libraries: each costs one answer at most."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from registry.errors import ChildFailed, SandboxMissing
from registry.sandbox import Limits, WarmChild, find_isolation

pytest.importorskip("peft", reason="the child runs the real PEFT")

LIMITS = Limits(seconds=5, memory_bytes=1536 << 20, output_bytes=4 << 20)
PREFIX = "base_model.model.model.layers.0.self_attn.q_proj"
BASE: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 64,
}
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj"],
}
TENSORS: list[list[Any]] = [
    [f"{PREFIX}.lora_A.weight", "F32", [2, 16]],
    [f"{PREFIX}.lora_B.weight", "F32", [16, 2]],
]


def question(
    base: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    tensors: list[list[Any]] | None = None,
    **rest: Any,
) -> bytes:
    document = {
        "base": BASE | (base or {}),
        "config": CONFIG | (config or {}),
        "tensors": TENSORS if tensors is None else tensors,
        "auto_class": "AutoModelForCausalLM",
        "dtype": "float32",
        "num_labels": None,
        "plan": None,
    }
    return json.dumps(document | rest).encode()


@pytest.fixture(scope="module")
def child() -> Iterator[WarmChild]:
    try:
        isolation = find_isolation("auto")
    except SandboxMissing as error:
        if "sandbox" in os.environ.get("LOADPLAN_TEST_REQUIRE", ""):
            raise
        pytest.skip(f"NOT TESTED, NO SANDBOX: {error}")
    with WarmChild("workers.child.rehearse", LIMITS, isolation=isolation) as warm:
        yield warm


def outcome(child: WarmChild, asked: bytes) -> str:
    return str(json.loads(child.ask(asked))["naive"]["outcome"])


def test_a_sound_pair_lands(child: WarmChild) -> None:
    assert outcome(child, question()) == "landed"


REMOTE = {
    "AutoConfig": "acme/evil--configuration_evil.EvilConfig",
    "AutoModelForCausalLM": "acme/evil--modeling_evil.EvilForCausalLM",
}
FOREIGN_CODE = {
    "auto_map of an unknown type": question({"model_type": "evil", "auto_map": REMOTE}),
    "auto_map without a type": question({"model_type": None, "auto_map": REMOTE}),
    "a type that is a path": question({"model_type": "../../evil"}),
    "an auto class that is none": question(auto_class="os.system"),
    "an auto class by attribute": question(auto_class="AutoModel.__init__"),
    "a dtype by attribute": question(dtype="serialization.load"),
    "a PEFT type that is a path": question(config={"peft_type": "../../evil"}),
    "an adapter that is a list": question(config={"target_modules": [["q_proj"]]}),
}


@pytest.mark.parametrize("name", FOREIGN_CODE)
def test_foreign_code_is_not_run_and_not_judged(name: str, child: WarmChild) -> None:
    try:
        answered = outcome(child, FOREIGN_CODE[name])
    except ChildFailed as error:
        answered = "no answer" if error.fields.get("type") else "died"
    assert answered in ("unknown", "raises", "no answer")
    assert outcome(child, question()) == "landed"


# What is asked for is left out or replaced; the pair is judged as it would be without.
IGNORED = {
    "auto_map of a known type": question({"auto_map": REMOTE, "trust_remote_code": True}),
    "a name that is a path": question({"_name_or_path": "/etc"}),
    "a kernel from the Hub": question({"_attn_implementation": "acme/evil-kernel"}),
    "a kernel for each part": question({"attn_implementation": {"": "acme/evil-kernel"}}),
    "experts from the Hub": question({"_experts_implementation": "acme/evil-kernel"}),
    "an adapter with a class of its own": question(
        config={"auto_mapping": {"base_model_class": "system", "parent_library": "os"}}
    ),
    "an adapter that names its base": question(
        config={"base_model_name_or_path": "../../../etc", "revision": "../../main"}
    ),
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_would_fetch_code_is_ignored(name: str, child: WarmChild) -> None:
    assert outcome(child, IGNORED[name]) == "landed"


HUGE = 10**15
MISUSES = {
    "a module to import": question(
        config={"megatron_config": {"a": 1}, "megatron_core": "antigravity"}
    ),
    "a quantizer that is not there": question(
        {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    ),
    "a base nested a thousand deep": question({"x": json.loads("[" * 500 + "]" * 500)}),
    "an embedding of petabytes": question({"vocab_size": HUGE}),
    "a hidden size of petabytes": question({"hidden_size": HUGE, "head_dim": HUGE}),
    "a rank of petabytes": question(config={"r": HUGE}),
    "a shape of petabytes": question(tensors=[[f"{PREFIX}.lora_A.weight", "F32", [HUGE, HUGE]]]),
    "a negative shape": question(tensors=[[f"{PREFIX}.lora_A.weight", "F32", [-1, -16]]]),
    "a dtype of its own": question(tensors=[[f"{PREFIX}.lora_A.weight", "os.system", [2, 16]]]),
    "names that climb": question(tensors=[["../../etc/passwd", "F32", [2, 16]], *TENSORS]),
    "names that are attributes": question(
        tensors=[[f"{PREFIX}.__class__.__init__.lora_A.weight", "F32", [2, 16]], *TENSORS]
    ),
    "numbers that are text": question({"num_hidden_layers": "1; import os"}),
    "numbers that are none": question({"num_attention_heads": None, "hidden_size": None}),
    "a division by zero": question({"num_attention_heads": 0}),
    "an activation by attribute": question({"hidden_act": "__class__"}),
    "an initialisation that computes": question(config={"init_lora_weights": "pissa_niter_99999"}),
    "an infinite scale": question(config={"lora_alpha": 1e308, "use_rslora": True}),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_misused_field_costs_one_answer_at_most(name: str, child: WarmChild) -> None:
    try:
        answered = outcome(child, MISUSES[name])
    except ChildFailed:
        answered = "no answer"
    assert answered in ("landed", "faults", "raises", "unknown", "no answer")
    assert outcome(child, question()) == "landed"


BOMBS = {
    "a billion layers": question({"num_hidden_layers": 10**9}),
    "a billion labels": question({"num_labels": 10**9}),
    "a pattern without end": question(config={"target_modules": r"(\w+\.?)+!"}),
    "layers repeated without end": question(config={"layer_replication": [[0, 1]] * 2_000_000}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_in_a_config_ends_with_its_child(name: str, child: WarmChild) -> None:
    try:
        answered = outcome(child, BOMBS[name])
    except ChildFailed:
        answered = "no answer"
    assert answered in ("unknown", "raises", "no answer")
    assert outcome(child, question()) == "landed"
