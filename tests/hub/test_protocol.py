"""The real huggingface_hub against the local Hub: every call and every error class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, close_session, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._pagination import paginate

from tests.data.weights import safetensors_file
from tests.hub import LocalHub, Quotas

TENSORS = {"base_model.model.a.lora_A.weight": ("F32", (8, 16)), "b": ("BF16", (3,))}
CONFIG = '{"peft_type": "LORA", "base_model_name_or_path": "acme/base"}'
SHA_LENGTH = 40


@pytest.fixture(autouse=True)
def _own_client() -> Iterator[None]:
    """Connections of the library's global client must not outlive the Hub that they lead to."""
    yield
    close_session()


@pytest.fixture
def lora(hub: LocalHub) -> LocalHub:
    hub.add_commit(
        "acme/lora",
        {
            "adapter_config.json": CONFIG,
            "adapter_model.safetensors": safetensors_file(TENSORS),
            "checkpoint-10/adapter_config.json": CONFIG,
            "checkpoint-10/deep/notes.txt": "notes",
            "empty.txt": b"",
        },
        title="First",
    )
    return hub


@pytest.fixture
def api(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


def test_model_info_gives_sha_siblings_and_access(lora: LocalHub, api: HfApi) -> None:
    info = api.model_info("acme/lora")
    head = lora.repository("acme/lora").head
    assert head is not None
    assert info.sha == head.sha
    assert len(info.sha) == SHA_LENGTH
    assert (info.private, info.gated, info.disabled) == (False, False, False)
    assert "base_model:adapter:acme/base" in info.tags
    assert [sibling.rfilename for sibling in info.siblings] == sorted(head.files)


def test_blobs_give_sizes_and_content_ids(lora: LocalHub, api: HfApi) -> None:
    files = {s.rfilename: s for s in api.model_info("acme/lora", files_metadata=True).siblings}
    weights = files["adapter_model.safetensors"]
    assert weights.size == safetensors_file(TENSORS).size
    assert weights.lfs.size == weights.size
    assert len(weights.lfs.sha256) == 64
    assert files["adapter_config.json"].lfs is None
    assert files["adapter_config.json"].size == len(CONFIG)
    # git's own id of an empty file
    assert files["empty.txt"].blob_id == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_expand_gives_the_named_fields_alone(lora: LocalHub, api: HfApi) -> None:
    info = api.model_info("acme/lora", expand=["sha", "gated"])
    assert info.sha is not None
    assert info.gated is False
    assert info.siblings is None


def test_a_one_segment_id_is_a_repository_too(hub: LocalHub, api: HfApi) -> None:
    sha = hub.add_commit("gpt2", {"config.json": "{}"})
    assert api.model_info("gpt2").sha == sha
    assert api.list_repo_commits("gpt2")[0].commit_id == sha
    assert Path(hf_hub_download("gpt2", "config.json", endpoint=hub.url)).read_text() == "{}"


def test_revisions_are_branches_tags_full_and_short_shas(lora: LocalHub, api: HfApi) -> None:
    first = api.model_info("acme/lora").sha
    lora.add_tag("acme/lora", "v1.0")
    second = lora.add_commit("acme/lora", {"a.txt": "a"}, branch="feature/x")
    third = lora.add_commit("acme/lora", {"b.txt": "b"})
    for revision, sha in {
        "v1.0": first,
        first[:8]: first,
        first: first,
        "feature/x": second,
        "main": third,
        "refs/heads/main": third,
    }.items():
        assert api.model_info("acme/lora", revision=revision).sha == sha


def test_the_tree_lists_folders_or_everything(lora: LocalHub, api: HfApi) -> None:
    top = {entry.path for entry in api.list_repo_tree("acme/lora")}
    assert "checkpoint-10" in top
    assert "checkpoint-10/adapter_config.json" not in top
    below = [entry.path for entry in api.list_repo_tree("acme/lora", "checkpoint-10")]
    assert below == ["checkpoint-10/adapter_config.json", "checkpoint-10/deep"]
    everything = list(api.list_repo_tree("acme/lora", recursive=True, expand=True))
    assert {"checkpoint-10/deep/notes.txt", "checkpoint-10/deep"} <= {e.path for e in everything}
    weights = next(e for e in everything if e.path == "adapter_model.safetensors")
    assert weights.lfs.size == weights.size
    assert weights.last_commit.title == "First"


def test_a_large_tree_comes_in_pages(hub: LocalHub, api: HfApi) -> None:
    hub.add_commit("acme/many", {f"f{i:04}.txt": str(i) for i in range(2001)})
    paths = [entry.path for entry in api.list_repo_tree("acme/many", recursive=True)]
    assert len(set(paths)) == 2001
    assert hub.log.count(path="/tree/") == 3


def test_paths_info_leaves_unknown_paths_out(lora: LocalHub, api: HfApi) -> None:
    asked = ["adapter_config.json", "checkpoint-10", "gone.txt"]
    assert [e.path for e in api.get_paths_info("acme/lora", asked)] == asked[:2]


def test_commits_come_newest_first_in_pages(hub: LocalHub, api: HfApi) -> None:
    shas = [hub.add_commit("acme/lora", {"a": str(i)}, title=f"c{i}") for i in range(120)]
    listed = api.list_repo_commits("acme/lora")
    assert [commit.commit_id for commit in listed] == shas[::-1]
    assert listed[0].title == "c119"
    assert hub.log.count(path="/commits/") == 3


def test_refs_are_branches_tags_and_pull_requests(lora: LocalHub, api: HfApi) -> None:
    sha = api.model_info("acme/lora").sha
    lora.add_tag("acme/lora", "v1")
    lora.add_branch("acme/lora", "dev")
    lora.add_branch("acme/lora", "refs/pr/1")
    refs = api.list_repo_refs("acme/lora", include_pull_requests=True)
    assert {ref.name: ref.target_commit for ref in refs.branches} == {"main": sha, "dev": sha}
    assert [ref.ref for ref in refs.tags] == ["refs/tags/v1"]
    assert [ref.ref for ref in refs.pull_requests] == ["refs/pr/1"]


def test_the_listing_filters_sorts_and_pages(hub: LocalHub, api: HfApi) -> None:
    for number in range(25):
        hub.add_commit(f"acme/lora-{number:02}", {"adapter_config.json": CONFIG})
    hub.add_commit("acme/base", {"config.json": "{}"})
    hub.add_commit("other/lora", {"adapter_config.json": CONFIG})
    hub.repository("acme/lora-03").downloads = 9
    wanted = ["peft", "base_model:adapter:acme/base"]
    assert len(list(api.list_models(filter=wanted))) == 26
    assert len(list(api.list_models(filter=wanted, author="acme"))) == 25
    assert [m.id for m in api.list_models(search="LORA-07")] == ["acme/lora-07"]
    assert next(iter(api.list_models(sort="downloads"))).id == "acme/lora-03"
    newest = [m.id for m in api.list_models(sort="last_modified", limit=2)]
    assert newest == ["other/lora", "acme/base"]
    assert not list(api.list_models(filter=["peft", "no-such-tag"]))


def test_pages_of_the_listing_follow_on_while_it_changes(hub: LocalHub) -> None:
    for number in range(10):
        hub.add_commit(f"acme/m{number}", {"a": "a"})
    pages = paginate(f"{hub.url}/api/models", params={"limit": 4, "filter": []}, headers={})
    found = [next(pages)["id"]]
    hub.delete("acme/m1")
    found += [entry["id"] for entry in pages]
    assert found == [f"acme/m{number}" for number in range(10)]
    assert hub.log.count(path="^/api/models$") == 3


def test_the_listing_expands_named_fields_and_hides_private_models(hub: LocalHub) -> None:
    sha = hub.add_commit("acme/open", {"a.txt": "a"})
    hub.add_commit("acme/secret", {"a.txt": "a"})
    hub.set_private("acme/secret")
    token = hub.add_token("hf_reader", may_read=("acme/secret",))
    listed = list(HfApi(hub.url, token=False).list_models(expand=["sha", "siblings"]))
    assert [(m.id, m.sha, [s.rfilename for s in m.siblings]) for m in listed] == [
        ("acme/open", sha, ["a.txt"])
    ]
    assert len(list(HfApi(hub.url, token=token).list_models())) == 2


def test_a_file_downloads_and_a_warm_sha_asks_nothing(lora: LocalHub, tmp_path: Path) -> None:
    head = lora.repository("acme/lora").head
    assert head is not None
    asked = {"endpoint": lora.url, "cache_dir": tmp_path, "revision": head.sha}
    for name in ("adapter_config.json", "adapter_model.safetensors", "empty.txt"):
        path = Path(hf_hub_download("acme/lora", name, **asked))
        assert path.stat().st_size == head.files[name].size
        assert head.sha in path.parts
    lora.log.reset()
    hf_hub_download("acme/lora", "adapter_model.safetensors", **asked)
    assert not lora.log.entries


def test_a_snapshot_downloads_whole(lora: LocalHub, tmp_path: Path) -> None:
    folder = Path(snapshot_download("acme/lora", endpoint=lora.url, cache_dir=tmp_path))
    assert (folder / "checkpoint-10/deep/notes.txt").read_text() == "notes"
    assert (folder / "adapter_model.safetensors").stat().st_size > 0


def test_a_safetensors_header_is_read_by_range(lora: LocalHub, api: HfApi) -> None:
    found = api.parse_safetensors_file_metadata("acme/lora", "adapter_model.safetensors")
    shapes = {name: (t.dtype, tuple(t.shape)) for name, t in found.tensors.items()}
    assert shapes == TENSORS
    ranges = [entry.range for entry in lora.log.select(host="cdn")]
    assert ranges == ["bytes=0-100000"]


def test_a_moved_repository_redirects_api_and_files(lora: LocalHub, api: HfApi) -> None:
    lora.move("acme/lora", "other/renamed")
    assert api.model_info("acme/lora").id == "other/renamed"
    path = hf_hub_download("acme/lora", "adapter_config.json", endpoint=lora.url)
    assert Path(path).read_text() == CONFIG
    assert lora.log.count(path="^/api/models/acme/lora$", status=307) == 1


def test_a_token_is_not_sent_to_the_cdn(lora: LocalHub, tmp_path: Path) -> None:
    token = lora.add_token("hf_reader")
    asked = {"endpoint": lora.url, "cache_dir": tmp_path, "token": token}
    hf_hub_download("acme/lora", "adapter_model.safetensors", **asked)
    assert all(entry.authorized for entry in lora.log.select(host="hub"))
    assert not any(entry.authorized for entry in lora.log.select(host="cdn"))
    assert HfApi(lora.url, token=token).whoami()["name"] == "reader"


def _file(hub: LocalHub, tmp_path: Path, token: str | bool = False, **more: str) -> str:
    return hf_hub_download(
        more.get("repo_id", "acme/lora"),
        more.get("filename", "adapter_config.json"),
        revision=more.get("revision"),
        endpoint=hub.url,
        cache_dir=tmp_path,
        token=token,
    )


def test_a_missing_repository_is_401_anonymously_and_404_with_a_token(
    hub: LocalHub, tmp_path: Path
) -> None:
    token = hub.add_token("hf_reader")
    for given, status in ((False, 401), (token, 404)):
        with pytest.raises(RepositoryNotFoundError) as error:
            HfApi(hub.url, token=given).model_info("acme/none")
        assert error.value.response.status_code == status
        assert error.value.response.headers["X-Error-Code"] == "RepoNotFound"
    with pytest.raises(RepositoryNotFoundError):
        _file(hub, tmp_path, repo_id="acme/none")


def test_a_private_repository_looks_missing_until_the_token_may_read_it(
    lora: LocalHub, tmp_path: Path
) -> None:
    lora.set_private("acme/lora")
    stranger = lora.add_token("hf_stranger")
    reader = lora.add_token("hf_reader", may_read=("acme/lora",))
    for given in (False, stranger):
        with pytest.raises(RepositoryNotFoundError):
            HfApi(lora.url, token=given).model_info("acme/lora")
    assert HfApi(lora.url, token=reader).model_info("acme/lora").private
    assert _file(lora, tmp_path, reader)


def test_a_gated_repository_shows_its_info_and_refuses_its_files(
    lora: LocalHub, tmp_path: Path
) -> None:
    lora.set_gated("acme/lora")
    stranger = lora.add_token("hf_stranger")
    reader = lora.add_token("hf_reader", may_read=("acme/lora",))
    assert HfApi(lora.url, token=False).model_info("acme/lora").gated == "manual"
    for given, status in ((False, 401), (stranger, 403)):
        with pytest.raises(GatedRepoError) as error:
            _file(lora, tmp_path, given)
        assert error.value.response.status_code == status
        with pytest.raises(GatedRepoError):
            HfApi(lora.url, token=given).auth_check("acme/lora")
    assert _file(lora, tmp_path, reader)
    HfApi(lora.url, token=reader).auth_check("acme/lora")


def test_a_disabled_repository_refuses_everything(
    lora: LocalHub, api: HfApi, tmp_path: Path
) -> None:
    lora.set_disabled("acme/lora")
    with pytest.raises(DisabledRepoError):
        api.model_info("acme/lora")
    # The download hides it behind "not in the cache", as it does every error but 401.
    with pytest.raises(LocalEntryNotFoundError) as error:
        _file(lora, tmp_path)
    assert isinstance(error.value.__cause__, DisabledRepoError)


def test_a_bad_token_is_told_so(lora: LocalHub) -> None:
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as error:
        HfApi(lora.url, token="hf_wrong").model_info("acme/lora")
    assert not isinstance(error.value, RepositoryNotFoundError)
    assert error.value.response.status_code == 401


def test_a_missing_revision_and_a_missing_file_have_their_own_errors(
    lora: LocalHub, api: HfApi, tmp_path: Path
) -> None:
    with pytest.raises(RevisionNotFoundError):
        api.model_info("acme/lora", revision="v9")
    with pytest.raises(RevisionNotFoundError):
        _file(lora, tmp_path, revision="v9")
    with pytest.raises(RemoteEntryNotFoundError) as error:
        _file(lora, tmp_path, filename="none.txt")
    assert len(error.value.response.headers["X-Repo-Commit"]) == SHA_LENGTH
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("acme/lora", "no-such-folder"))


def test_a_deleted_repository_is_gone(lora: LocalHub, api: HfApi) -> None:
    lora.delete("acme/lora")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("acme/lora")


def test_a_spent_quota_is_understood_by_the_client(lora: LocalHub, api: HfApi) -> None:
    lora.quotas = Quotas(api=0, window=60)
    with pytest.raises(HfHubHTTPError, match="you have reached your 'api' rate limit"):
        api.model_info("acme/lora")
