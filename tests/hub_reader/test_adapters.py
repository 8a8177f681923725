"""What is read of an adapter: facts, requests, faults of its files."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from huggingface_hub import HfApi

from registry.domain.facts import WeightsFormat
from registry.domain.issues import Severity
from registry.domain.refs import make_reference
from registry.errors import (
    ForeignFormat,
    HubRateLimited,
    HubUnreachable,
    NotAPeftAdapter,
    RepositoryDisabled,
    RepositoryGated,
    RepositoryNotFound,
    RevisionNotFound,
    TransientHubError,
)
from registry.hub import HubReader, Patience
from tests.data.pickles import hostile_pickles, zip_pickle_hole
from tests.hub import Answer, Delay, Drop, LocalHub, Truncate, WholeFile, lfs_pointer, rate_limited
from tests.hub_reader.asking import (
    adapter_config,
    adapter_files,
    lora_tensors,
    run_reader,
    safetensors_file,
)

LORA = "acme/lora"


@pytest.fixture
def hub():
    with LocalHub() as hub:
        yield hub


def read(hub: LocalHub, repo_id: str = LORA, revision=None, subfolder=None, **more):
    reference = make_reference(repo_id, revision, subfolder)
    return run_reader(hub, lambda reader: reader.read_adapter(reference), **more)


def codes(facts) -> list[str]:
    return [problem.code for problem in facts.problems]


def test_an_adapter_is_read_with_its_config_layout_and_identity(hub):
    sha = hub.add_commit(LORA, adapter_files())
    facts = read(hub)
    assert facts.ref.repo_id == LORA
    assert facts.ref.commit_sha == sha
    assert facts.ref.revision == "main"
    assert facts.config.r == 8
    assert {spec.name: spec.shape for spec in facts.weights.layout} == lora_tensors()
    assert facts.weights.format is WeightsFormat.SAFETENSORS
    assert facts.weights.size_bytes == safetensors_file(lora_tensors()).size
    assert facts.tokenizer is None
    assert facts.problems == ()
    assert facts.other_adapters == ()


def test_the_weights_content_id_is_the_one_that_the_hub_gives(hub):
    hub.add_commit(LORA, adapter_files())
    info = HfApi(endpoint=hub.url).model_info(LORA, files_metadata=True)
    lfs = {entry.rfilename: entry.lfs for entry in info.siblings}
    assert read(hub).weights.files == {
        "adapter_model.safetensors": lfs["adapter_model.safetensors"].sha256
    }


def test_the_shapes_equal_what_huggingface_hub_reads(hub):
    hub.add_commit(LORA, adapter_files())
    theirs = HfApi(endpoint=hub.url).parse_safetensors_file_metadata(
        LORA, "adapter_model.safetensors"
    )
    ours = {spec.name: (spec.dtype, list(spec.shape)) for spec in read(hub).weights.layout}
    assert ours == {name: (one.dtype, one.shape) for name, one in theirs.tensors.items()}


def test_an_adapter_without_tokenizer_costs_three_answers_and_one_range(hub):
    hub.add_commit(LORA, adapter_files() | {"README.md": "hello"})
    hub.log.reset()
    read(hub)
    asked = [entry.path for entry in hub.log.select(host="hub")]
    assert len(asked) == 3
    (range_read,) = hub.log.select(host="cdn")
    assert range_read.range == "bytes=0-65535"


def test_a_large_file_is_not_downloaded(hub):
    tensors = {f"base_model.model.m{i}.lora_A.weight": (64, 4096) for i in range(64)}
    hub.add_commit(LORA, adapter_files() | {"adapter_model.safetensors": safetensors_file(tensors)})
    facts = read(hub)
    assert len(facts.weights.layout) == 64
    assert hub.log.bytes_sent(host="cdn") == 65536


@pytest.mark.parametrize("pad", [-1, 0, 1, 5000])
def test_a_header_at_the_edge_of_the_first_range_is_read_whole(hub, pad):
    bare = safetensors_file(lora_tensors())
    length = 65536 - 8 - int.from_bytes(bare.head[:8], "little")
    file = safetensors_file(lora_tensors(), pad=length + pad)
    hub.add_commit(LORA, adapter_files() | {"adapter_model.safetensors": file})
    facts = read(hub)
    assert facts.problems == ()
    assert len(facts.weights.layout) == len(lora_tensors())
    assert hub.log.count(host="cdn") == (2 if pad > 0 else 1)


def test_a_file_outside_lfs_is_read_by_range_too(hub):
    hub.store.add_commit(
        LORA,
        adapter_files(),
        branch="main",
        title="x",
        date=None,
        plain=("adapter_model.safetensors",),
    )
    facts = read(hub)
    assert facts.problems == ()
    assert len(facts.weights.files["adapter_model.safetensors"]) == 40


def test_a_branch_is_pinned_before_its_files_are_read(hub):
    first = hub.add_commit(LORA, adapter_files())
    hub.add_commit(LORA, {"README.md": "newer"})
    hub.log.reset()
    facts = read(hub, revision=first)
    assert facts.ref.commit_sha == first
    paths = [entry.path for entry in hub.log.select(host="hub")]
    assert all(first in path for path in paths)


def test_an_explicit_commit_is_listed_once_by_one_reader(hub):
    sha = hub.add_commit(LORA, adapter_files())

    async def twice(reader: HubReader):
        await reader.find_adapters(make_reference(LORA))
        return await reader.read_adapter(make_reference(LORA, sha))

    hub.log.reset()
    run_reader(hub, twice)
    assert hub.log.count(path="/api/models/acme/lora/revision") == 1


def test_an_answer_of_another_commit_is_refused(hub):
    hub.add_commit(LORA, adapter_files())
    hub.inject(Answer(200, {"X-Repo-Commit": "b" * 40}, b"{}"), path="adapter_config")
    with pytest.raises(Exception, match="not of the one asked"):
        read(hub)


def test_a_moved_repository_is_named_as_the_hub_names_it(hub):
    hub.add_commit("old/name", adapter_files())
    hub.move("old/name", LORA)
    assert read(hub, "old/name").ref.repo_id == LORA


def test_sub_folder_adapters_are_found_and_read_by_name(hub):
    files = adapter_files()
    hub.add_commit(LORA, {f"{folder}/{name}": files[name] for folder in "ba" for name in files})
    found = run_reader(hub, lambda reader: reader.find_adapters(make_reference(LORA)))
    assert found == ("a", "b")
    facts = read(hub, subfolder="a")
    assert facts.ref.subfolder == "a"
    assert facts.other_adapters == ("b",)
    assert len(facts.weights.layout) == len(lora_tensors())
    assert facts.ref.digest == read(hub, subfolder="b").ref.digest


def test_at_most_32_adapters_are_named(hub):
    hub.add_commit(LORA, {f"c{i:03}/adapter_config.json": adapter_config() for i in range(40)})
    found = run_reader(hub, lambda reader: reader.find_adapters(make_reference(LORA)))
    assert len(found) == 32


def test_a_root_adapter_lists_the_others(hub):
    hub.add_commit(LORA, adapter_files() | {"checkpoint-5/adapter_config.json": adapter_config()})
    assert read(hub).other_adapters == ("checkpoint-5",)
    found = run_reader(hub, lambda reader: reader.find_adapters(make_reference(LORA)))
    assert found == (None, "checkpoint-5")


def test_an_empty_root_names_the_sub_folders(hub):
    hub.add_commit(LORA, {"v1/adapter_config.json": adapter_config()})
    with pytest.raises(NotAPeftAdapter) as caught:
        read(hub)
    assert caught.value.fields["other_adapters"] == ("v1",)
    assert "'v1'" in str(caught.value)


@pytest.mark.parametrize(
    ("files", "error", "word"),
    [
        ({"README.md": "x"}, NotAPeftAdapter, "adapter_config.json"),
        ({"config.json": "{}", "model.safetensors": b"x"}, NotAPeftAdapter, "whole model"),
        ({"adapters.safetensors": b"x"}, ForeignFormat, "mlx"),
        ({"pytorch_lora_weights.safetensors": b"x"}, ForeignFormat, "diffusers"),
        ({"lora.gguf": b"x"}, ForeignFormat, "llama.cpp"),
    ],
)
def test_a_repository_without_a_peft_config_says_what_it_is(hub, files, error, word):
    sha = hub.add_commit(LORA, files)
    with pytest.raises(error, match=word) as caught:
        read(hub)
    assert caught.value.fields["commit_sha"] == sha


def test_a_missing_sub_folder_is_no_adapter(hub):
    hub.add_commit(LORA, adapter_files())
    with pytest.raises(NotAPeftAdapter, match="'nope'"):
        read(hub, subfolder="nope")


def test_safetensors_wins_over_a_pickle_beside_it(hub):
    hub.add_commit(LORA, adapter_files() | {"adapter_model.bin": b"junk"})
    facts = read(hub)
    assert set(facts.weights.files) == {"adapter_model.safetensors"}
    assert facts.problems == ()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("model.safetensors", "weights-misnamed"),
        ("pytorch_model.bin", "weights-misnamed"),
        ("adapter.safetensors", "weights-misnamed"),
        ("training_args.bin", "weights-missing"),
        ("README.md", "weights-missing"),
    ],
)
def test_weights_under_another_name_are_named(hub, name, code):
    hub.add_commit(LORA, {"adapter_config.json": adapter_config(), name: b"x"})
    facts = read(hub)
    assert codes(facts) == [code]
    assert facts.weights is None
    assert (name in facts.problems[0].message) == (code == "weights-misnamed")
    assert facts.problems[0].severity is Severity.ERROR
    assert facts.config.r == 8


def test_an_lfs_pointer_in_place_of_weights_is_named(hub):
    files = adapter_files() | {"adapter_model.safetensors": lfs_pointer("a" * 64, 1000)}
    hub.add_commit(LORA, files)
    facts = read(hub)
    assert codes(facts) == ["weights-lfs-pointer"]
    assert facts.weights.layout is None


def test_an_lfs_pointer_in_place_of_the_config_is_named(hub):
    hub.add_commit(LORA, adapter_files() | {"adapter_config.json": lfs_pointer("a" * 64, 1000)})
    facts = read(hub)
    assert codes(facts) == ["config-invalid"]
    assert "LFS pointer" in facts.problems[0].message
    assert facts.weights.layout is not None


def test_a_truncated_file_is_told_from_its_size(hub):
    whole = safetensors_file(lora_tensors())
    cut = type(whole)(whole.head, whole.size - 100)
    hub.add_commit(LORA, adapter_files() | {"adapter_model.safetensors": cut})
    assert codes(read(hub)) == ["weights-truncated"]


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\xff" * 100, b"PK\x03\x04rest of a zip"])
def test_weights_that_are_no_safetensors_are_an_issue(hub, data):
    hub.add_commit(LORA, adapter_files() | {"adapter_model.safetensors": data})
    (code,) = codes(read(hub))
    assert code in {"header-invalid", "weights-truncated"}


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"r": 8', "\0", "[" * 100_000])
def test_a_broken_config_is_an_issue_and_the_weights_are_kept(hub, text):
    hub.add_commit(LORA, adapter_files() | {"adapter_config.json": text})
    facts = read(hub)
    assert facts.config is None
    assert facts.problems
    assert facts.ref.digest is not None


def test_another_tools_config_under_peft_s_name_is_one_issue(hub):
    config = json.dumps({"fine_tune_type": "lora", "num_layers": 16, "lora_parameters": {}})
    hub.add_commit(LORA, {"adapter_config.json": config, "adapters.safetensors": b"x"})
    assert codes(read(hub)) == ["foreign-format"]


def test_an_endless_config_is_an_issue(hub):
    hub.add_commit(LORA, adapter_files() | {"adapter_config.json": b" " * 5_000_000})
    assert codes(read(hub)) == ["config-invalid"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\0b", "x\n.safetensors", "a/../b.bin"])
def test_hostile_file_names_are_left_out(hub, name):
    hub.add_commit(LORA, adapter_files() | {name: b"x", f"{name}/adapter_config.json": b"{}"})
    facts = read(hub)
    assert facts.problems == ()
    assert facts.other_adapters == ()


def test_strange_but_legal_names_are_asked_for_as_they_are(hub):
    folder = "ünï #1 ?&%41"
    hub.add_commit(LORA, {f"{folder}/{name}": data for name, data in adapter_files().items()})
    facts = read(hub, subfolder=folder)
    assert facts.problems == ()
    assert len(facts.weights.layout) == len(lora_tensors())


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        (lambda hub: hub.delete(LORA), RepositoryNotFound),
        (lambda hub: hub.set_private(LORA), RepositoryNotFound),
        (lambda hub: hub.set_gated(LORA), RepositoryGated),
        (lambda hub: hub.set_gated(LORA, "auto"), RepositoryGated),
        (lambda hub: hub.set_disabled(LORA), RepositoryDisabled),
    ],
)
def test_what_may_not_be_read_raises(hub, prepare, error):
    hub.add_commit(LORA, adapter_files())
    prepare(hub)
    with pytest.raises(error):
        read(hub)


@pytest.mark.parametrize("lock", ["set_private", "set_gated"])
def test_a_token_with_access_reads_what_is_locked(hub, lock):
    hub.add_commit(LORA, adapter_files())
    getattr(hub, lock)(LORA)
    hub.add_token("hf_member", may_read=(LORA,))
    facts = read(hub, token="hf_member")
    assert facts.problems == ()
    assert not any(entry.authorized for entry in hub.log.select(host="cdn"))


def test_a_revision_that_is_not_there_raises(hub):
    hub.add_commit(LORA, adapter_files())
    with pytest.raises(RevisionNotFound):
        read(hub, revision="v9")


def test_a_branch_with_a_slash_is_read(hub):
    hub.add_commit(LORA, adapter_files())
    hub.add_branch(LORA, "refs/pr/1")
    assert read(hub, revision="refs/pr/1").ref.revision == "refs/pr/1"


@pytest.mark.parametrize("fault", [Drop(), Truncate(10), Answer(503)])
def test_passing_faults_everywhere_do_not_show(hub, fault):
    hub.add_commit(LORA, adapter_files())
    for path in ("/api/models/acme/lora/revision", "adapter_config", "/cdn/"):
        hub.inject(fault, path=path, times=2)
    assert read(hub).problems == ()


def test_a_whole_file_in_answer_to_the_range_gives_the_same_facts(hub):
    tensors = {f"base_model.model.m{i}.lora_A.weight": (1024, 4096) for i in range(16)}
    hub.add_commit(LORA, adapter_files() | {"adapter_model.safetensors": safetensors_file(tensors)})
    honest = read(hub)
    hub.log.reset()
    hub.inject(WholeFile(), host="cdn")
    assert read(hub) == honest


def test_a_hub_that_is_gone_is_unreachable_not_an_issue(hub):
    hub.add_commit(LORA, adapter_files())
    hub.inject(Drop(), path="adapter_config")
    with pytest.raises(HubUnreachable):
        read(hub)


def test_429_for_long_is_rate_limited_with_the_time_to_wait(hub):
    hub.add_commit(LORA, adapter_files())
    hub.inject(rate_limited(280, bucket="api"), path="/api/models")
    with pytest.raises(HubRateLimited) as caught:
        read(hub)
    assert caught.value.retry_after == 280


def test_one_failing_read_ends_the_others_without_a_stray_task(hub):
    hub.add_commit(LORA, adapter_files())
    hub.inject(Answer(500), path="adapter_config")
    hub.inject(Delay(4), host="cdn")

    async def use(reader: HubReader):
        started = time.monotonic()
        with pytest.raises(TransientHubError):
            await reader.read_adapter(make_reference(LORA))
        assert time.monotonic() - started < 3
        # Closing a connection takes turns of the loop; a stray read would take four seconds.
        while len(asyncio.all_tasks()) > 1 and time.monotonic() - started < 3:
            await asyncio.sleep(0.02)
        return len(asyncio.all_tasks())

    assert run_reader(hub, use, patience=Patience(attempts=1)) == 1


def test_many_adapters_are_read_at_once_and_stay_themselves(hub):
    for number in range(40):
        hub.add_commit(f"acme/lora-{number}", adapter_files(r=number + 1))

    async def use(reader: HubReader):
        references = [make_reference(f"acme/lora-{number}") for number in range(40)]
        return await asyncio.gather(*map(reader.read_adapter, references))

    ranks = [facts.config.r for facts in run_reader(hub, use, concurrency=16)]
    assert ranks == list(range(1, 41))


def test_a_pickled_adapter_is_read_without_its_data(hub):
    tensors = {name: ("F32", shape) for name, shape in lora_tensors(width=4096).items()}
    file = zip_pickle_hole(tensors)
    hub.add_commit(LORA, {"adapter_config.json": adapter_config(), "adapter_model.bin": file})
    hub.log.reset()
    facts = read(hub)
    assert facts.problems == ()
    assert facts.weights.format is WeightsFormat.PICKLE
    assert {spec.name: (spec.dtype, spec.shape) for spec in facts.weights.layout} == tensors
    assert hub.log.bytes_sent(host="cdn") <= 262_144


def test_a_hostile_pickle_is_an_issue_and_runs_nothing(hub, tmp_path):
    marker = tmp_path / "ran"
    for name, data in hostile_pickles(marker).items():
        hub.add_commit(LORA, {"adapter_config.json": adapter_config(), "adapter_model.bin": data})
        facts = read(hub)
        assert facts.weights.layout is None, name
        assert codes(facts)[0] in {"weights-pickle-unsafe", "header-invalid", "weights-truncated"}
        assert not marker.exists(), name
