"""What is read of a base: config, headers of one or many shards, generation config."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from registry.domain.facts import WeightsFormat
from registry.domain.refs import Reference, Source, make_reference
from registry.errors import FileInvalid, RepositoryGated, RepositoryNotFound
from registry.hub import LocalReader
from registry.hub.checkpoints import parse_token_ids
from registry.hub.weights import parse_index
from tests.data.pickles import zip_pickle
from tests.data.weights import Tensors, safetensors_file, sharded_files, write_files
from tests.hub import Answer, LocalHub, lfs_pointer
from tests.hub_reader.asking import run_reader, small_tokenizer

BASE = "acme/base"
CONFIG = json.dumps(
    {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 100,
        "hidden_size": 16,
        "num_hidden_layers": 8,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
)
TENSORS: Tensors = {
    "model.embed_tokens.weight": ("BF16", (100, 16)),
    **{f"model.layers.{i}.self_attn.q_proj.weight": ("BF16", (16, 16)) for i in range(8)},
    "lm_head.weight": ("BF16", (100, 16)),
}
SHARDS = sharded_files(TENSORS, shard_bytes=1024)
FILES = {"config.json": CONFIG, "model.safetensors": safetensors_file(TENSORS)}


@pytest.fixture
def hub():
    with LocalHub() as hub:
        yield hub


def read(hub: LocalHub, repo_id: str = BASE, revision=None, **more):
    reference = make_reference(repo_id, revision)
    return run_reader(hub, lambda reader: reader.read_base(reference), **more)


def codes(facts) -> list[str]:
    return [problem.code for problem in facts.problems]


def shapes(facts) -> Tensors:
    return {spec.name: (spec.dtype, spec.shape) for spec in facts.weights.layout}


def test_a_base_is_read_with_config_and_layout(hub):
    sha = hub.add_commit(BASE, FILES)
    facts = read(hub)
    assert facts.ref.commit_sha == sha
    assert facts.config.vocab_size == 100
    assert facts.config.dtype == "bfloat16"
    assert shapes(facts) == TENSORS
    assert facts.problems == ()


def test_a_base_costs_three_answers_and_one_range(hub):
    hub.add_commit(BASE, FILES)
    hub.log.reset()
    read(hub)
    assert (hub.log.count(host="hub"), hub.log.count(host="cdn")) == (3, 1)


def test_a_sharded_base_has_the_tensors_of_all_shards(hub):
    assert len(SHARDS) > 5
    hub.add_commit(BASE, {"config.json": CONFIG, **SHARDS})
    facts = read(hub)
    assert shapes(facts) == TENSORS
    assert set(facts.weights.files) == set(SHARDS) - {"model.safetensors.index.json"}
    assert facts.weights.size_bytes == sum(
        content.size for name, content in SHARDS.items() if name.endswith(".safetensors")
    )
    assert facts.problems == ()


def test_shards_are_read_at_once(hub):
    hub.add_commit(BASE, {"config.json": CONFIG, **SHARDS})
    hub.latency = 0.1
    started = time.monotonic()
    read(hub)
    # One after another they would take more than twice this.
    assert time.monotonic() - started < 0.1 * len(SHARDS)


def test_a_single_file_wins_over_an_index(hub):
    hub.add_commit(BASE, FILES | SHARDS)
    assert set(read(hub).weights.files) == {"model.safetensors"}


def test_a_sharded_and_a_single_base_have_different_digests(hub):
    hub.add_commit(BASE, FILES)
    hub.add_commit("acme/sharded", {"config.json": CONFIG, **SHARDS})
    assert read(hub).ref.digest != read(hub, "acme/sharded").ref.digest


def test_a_readme_and_a_generation_config_do_not_change_the_digest(hub):
    hub.add_commit(BASE, FILES)
    first = read(hub).ref
    hub.add_commit(BASE, {"README.md": "new", "generation_config.json": '{"eos_token_id": 2}'})
    second = read(hub).ref
    assert second.digest == first.digest
    assert second.commit_sha != first.commit_sha


def test_a_shard_that_is_not_there_is_named(hub):
    without = dict(SHARDS)
    gone = min(name for name in without if name.endswith(".safetensors"))
    del without[gone]
    hub.add_commit(BASE, {"config.json": CONFIG, **without})
    facts = read(hub)
    assert codes(facts) == ["weights-missing"]
    assert gone in facts.problems[0].message


def test_a_broken_shard_leaves_no_partial_layout(hub):
    broken = dict(SHARDS)
    broken[sorted(name for name in broken if name.endswith(".safetensors"))[1]] = b"\xff" * 64
    hub.add_commit(BASE, {"config.json": CONFIG, **broken})
    facts = read(hub)
    assert facts.weights.layout is None
    assert len(facts.weights.files) > 5
    assert codes(facts) == ["header-invalid"]


def test_two_shards_with_one_tensor_are_an_issue(hub):
    twice = dict(SHARDS)
    names = sorted(name for name in twice if name.endswith(".safetensors"))
    twice[names[1]] = twice[names[0]]
    hub.add_commit(BASE, {"config.json": CONFIG, **twice})
    assert codes(read(hub)) == ["header-invalid"]


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"[]",
        b"{}",
        b'{"weight_map": {}}',
        b'{"weight_map": {"a": 1}}',
        b'{"weight_map": {"a": "../x.safetensors"}}',
        b'{"weight_map": {"a": "/etc/passwd"}}',
        b'{"weight_map": {"a": "https://evil.example/x.safetensors"}}',
        json.dumps({"weight_map": {str(i): f"{i}.safetensors" for i in range(1001)}}).encode(),
        b"[" * 100_000,
    ],
)
def test_a_hostile_index_is_refused(index):
    with pytest.raises(FileInvalid):
        parse_index(index, "model.safetensors.index.json")


def test_a_broken_index_is_an_issue_of_the_base(hub):
    hub.add_commit(BASE, {"config.json": CONFIG, "model.safetensors.index.json": "{}"})
    assert codes(read(hub)) == ["header-invalid"]


def test_a_pickled_base_has_its_layout_too(hub):
    hub.add_commit(BASE, {"config.json": CONFIG, "pytorch_model.bin": zip_pickle(TENSORS)})
    facts = read(hub)
    assert facts.weights.format is WeightsFormat.PICKLE
    assert shapes(facts) == TENSORS


def test_a_sharded_pickled_base_is_read(hub):
    names = list(TENSORS)
    halves = [{n: TENSORS[n] for n in names[:5]}, {n: TENSORS[n] for n in names[5:]}]
    files = {f"pytorch_model-{i}.bin": zip_pickle(half) for i, half in enumerate(halves)}
    index = {"weight_map": {n: f"pytorch_model-{i}.bin" for i in (0, 1) for n in halves[i]}}
    hub.add_commit(
        BASE,
        {"config.json": CONFIG, **files, "pytorch_model.bin.index.json": json.dumps(index)},
    )
    assert shapes(read(hub)) == TENSORS


def test_a_base_without_weights_says_so(hub):
    hub.add_commit(BASE, {"config.json": CONFIG, "model.gguf": b"GGUF"})
    facts = read(hub)
    assert facts.weights is None
    assert codes(facts) == ["weights-missing"]


@pytest.mark.parametrize("config", [None, "", "[]", "{", lfs_pointer("a" * 64, 10)])
def test_a_base_without_a_readable_config_cannot_be_judged(hub, config):
    files = dict(FILES)
    if config is None:
        del files["config.json"]
    else:
        files["config.json"] = config
    hub.add_commit(BASE, files)
    facts = read(hub)
    assert codes(facts) == ["base-architecture-unknown"]
    assert facts.config is None
    assert shapes(facts) == TENSORS


def test_generation_token_ids_are_read(hub):
    generation = {"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": None, "top_p": 0.9}
    hub.add_commit(BASE, FILES | {"generation_config.json": json.dumps(generation)})
    facts = read(hub)
    assert facts.generation_token_ids == {"bos_token_id": (1,), "eos_token_id": (2, 3)}
    assert facts.generation_config_digest.startswith("sha256:")


def test_a_broken_generation_config_is_no_fault_of_the_base(hub):
    hub.add_commit(BASE, FILES | {"generation_config.json": "{"})
    facts = read(hub)
    assert facts.problems == ()
    assert facts.generation_token_ids is None


@pytest.mark.parametrize(
    ("document", "ids"),
    [
        ([], None),
        ({"eos_token_id": True}, {}),
        ({"eos_token_id": [1, "2"]}, {}),
        ({"eos_token_id": 1.5}, {}),
        ({"x_token_id": 7, "eos_token": 3}, {"x_token_id": (7,)}),
    ],
)
def test_only_integers_are_token_ids(document, ids):
    assert parse_token_ids(document) == ids


def test_a_one_segment_id_that_redirects_is_read_under_its_new_name(hub):
    hub.add_commit("openai-community/gpt2", FILES)
    hub.redirect("gpt2", "openai-community/gpt2")
    facts = read(hub, "gpt2")
    assert facts.ref.repo_id == "openai-community/gpt2"
    assert shapes(facts) == TENSORS


def test_a_one_segment_repository_is_read(hub):
    hub.add_commit("gpt2", FILES)
    assert shapes(read(hub, "gpt2")) == TENSORS


def test_a_gated_or_missing_base_raises(hub):
    hub.add_commit(BASE, FILES)
    hub.set_gated(BASE)
    with pytest.raises(RepositoryGated):
        read(hub)
    with pytest.raises(RepositoryNotFound):
        read(hub, "acme/none")


def test_a_file_cache_that_refuses_is_asked_around(hub):
    hub.add_commit(BASE, FILES)
    expected = read(hub)
    hub.inject(Answer(404), path="/api/resolve-cache/", times=1)
    assert read(hub) == expected


def test_a_local_base_has_the_hubs_digest(hub, tmp_path):
    files = {"config.json": CONFIG, **SHARDS, "tokenizer.json": small_tokenizer()}
    hub.add_commit(BASE, files)
    write_files(files, tmp_path)
    reference = Reference(str(tmp_path), None, None, Source.LOCAL)
    here = asyncio.run(LocalReader().read_base(reference))
    there = read(hub)
    assert here.ref.digest == there.ref.digest
    assert here.weights == there.weights
