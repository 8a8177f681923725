"""Mirrors: read as far as they allow, never "not found" for what they merely do not offer."""

from __future__ import annotations

import pytest

from registry.domain.refs import make_reference
from registry.errors import HubMirrorLimited, RepositoryNotFound
from tests.hub import BARE, RESOLVE_ONLY, Answer, LocalHub
from tests.hub.profiles import Profile
from tests.hub_reader.asking import adapter_files, lora_tensors, run_reader, small_tokenizer

LORA = "acme/lora"
TOKENIZER = {"tokenizer.json": small_tokenizer(), "tokenizer_config.json": "{}"}
SILENT = Profile(api=False, commit_header=False)


def read(hub: LocalHub, repo_id: str = LORA, revision=None, subfolder=None, **more):
    reference = make_reference(repo_id, revision, subfolder)
    return run_reader(hub, lambda reader: reader.read_adapter(reference), **more)


def honest(files, **more):
    with LocalHub() as hub:
        hub.add_commit(LORA, files)
        return read(hub, **more)


@pytest.mark.parametrize("profile", [RESOLVE_ONLY, BARE], ids=["resolve-only", "bare"])
def test_a_mirror_gives_the_facts_that_the_hub_gives(profile):
    files = adapter_files() | TOKENIZER
    with LocalHub(profile=profile) as hub:
        hub.add_commit(LORA, files)
        assert read(hub) == honest(files)


def test_a_resolve_only_mirror_reads_a_sub_folder():
    files = {f"v1/{name}": content for name, content in adapter_files().items()}
    with LocalHub(profile=RESOLVE_ONLY) as hub:
        hub.add_commit(LORA, files)
        assert read(hub, subfolder="v1").weights == honest(files, subfolder="v1").weights
        found = run_reader(hub, lambda r: r.find_adapters(make_reference(LORA, None, "v1")))
        assert found == ("v1",)


def test_a_mirror_that_ignores_ranges_sends_little_more_than_the_header():
    files = adapter_files() | {"adapter_model.safetensors": bytes(8) + bytes(48_000_000)}
    with LocalHub(profile=BARE) as hub:
        hub.add_commit(LORA, files)
        read(hub)
        assert hub.log.bytes_sent(path="safetensors") < 16_000_000


def test_a_mirror_without_commits_is_read_at_an_explicit_one():
    with LocalHub(profile=SILENT) as hub:
        sha = hub.add_commit(LORA, adapter_files())
        facts = read(hub, revision=sha)
        assert facts.ref.commit_sha == sha
        assert {spec.name: spec.shape for spec in facts.weights.layout} == lora_tensors()


def test_a_mirror_that_tells_no_commit_of_a_branch_is_limited():
    with LocalHub(profile=SILENT) as hub:
        hub.add_commit(LORA, adapter_files())
        with pytest.raises(HubMirrorLimited) as caught:
            read(hub)
        assert caught.value.code == "hub-mirror-limited"


def test_nothing_found_without_an_api_is_limited_not_not_found():
    with LocalHub(profile=RESOLVE_ONLY) as hub:
        hub.inject(Answer(404), path="/resolve/")
        with pytest.raises(HubMirrorLimited):
            read(hub)


def test_a_mirror_that_calls_everything_not_found_is_asked_for_the_file():
    with LocalHub() as hub:
        hub.add_commit(LORA, adapter_files())
        refusal = Answer(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "no"})
        hub.inject(refusal, path="^/api/models")
        assert len(read(hub).weights.layout) == len(lora_tensors())


def test_a_mirror_that_calls_a_missing_file_a_missing_repository_is_read():
    with LocalHub(profile=RESOLVE_ONLY) as hub:
        hub.add_commit(LORA, adapter_files())
        refusal = Answer(401, {"X-Error-Code": "RepoNotFound"})
        hub.inject(refusal, path="(tokenizer|vocab|spm|spiece|generation|tekken|sentencepiece)")
        facts = read(hub)
        assert facts.tokenizer is None
        assert facts.problems == ()


def test_a_repository_that_resolve_misses_too_is_not_found():
    with LocalHub() as hub, pytest.raises(RepositoryNotFound):
        read(hub)


def test_an_info_without_sizes_is_completed_by_the_tree(monkeypatch):
    with LocalHub() as hub:
        hub.add_commit(LORA, adapter_files() | TOKENIZER)
        expected = read(hub)
        strip_blobs(monkeypatch)
        hub.log.reset()
        assert read(hub) == expected
        assert hub.log.count(path="/tree/") == 1


def test_an_info_without_sizes_and_no_tree_is_completed_by_headers(monkeypatch):
    with LocalHub() as hub:
        hub.add_commit(LORA, adapter_files() | TOKENIZER)
        expected = read(hub)
        strip_blobs(monkeypatch)
        hub.inject(Answer(404), path="/tree/")
        hub.log.reset()
        assert read(hub) == expected
        assert hub.log.count(method="HEAD") > 0


def test_a_server_without_head_is_asked_for_one_byte(monkeypatch):
    with LocalHub(profile=RESOLVE_ONLY) as hub:
        hub.add_commit(LORA, adapter_files())
        expected = read(hub)
        hub.inject(Answer(405), method="HEAD")
        assert read(hub) == expected


def test_a_web_page_in_the_place_of_the_api_is_a_limit():
    with LocalHub() as hub:
        hub.add_commit(LORA, adapter_files())
        hub.inject(Answer(200, {"Content-Type": "text/html"}, b"<html>"), path="/api/models")
        assert len(read(hub).weights.layout) == len(lora_tensors())


def strip_blobs(monkeypatch):
    """Let the local Hub drop `blobs`, as a proxying mirror was seen to do."""
    from tests.hub import api

    real = api._siblings
    monkeypatch.setattr(api, "_siblings", lambda commit, _blobs: real(commit, False))
