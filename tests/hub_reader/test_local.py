"""Local folders: the same facts and digests as the Hub gives for the same content."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from registry.domain.refs import Reference, Source, make_reference
from registry.errors import FileNotFound, InvalidRequest, NotAPeftAdapter, RepositoryNotFound
from registry.hub import LocalReader, open_reader
from tests.hub import Hole, LocalHub
from tests.hub_reader.asking import (
    adapter_config,
    adapter_files,
    lora_tensors,
    run_reader,
    small_tokenizer,
)

LORA = "acme/lora"
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def write(folder: Path, files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Hole):
            content.write(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def read(folder: Path | str, subfolder: str | None = None):
    reference = Reference(str(folder), None, subfolder, Source.LOCAL)
    return asyncio.run(LocalReader().read_adapter(reference))


def test_a_folder_is_read_like_a_repository(tmp_path):
    facts = read(write(tmp_path, adapter_files()))
    assert facts.ref.source is Source.LOCAL
    assert facts.ref.repo_id == str(tmp_path)
    assert facts.ref.revision is None
    assert facts.ref.commit_sha.startswith("sha256:")
    assert {spec.name: spec.shape for spec in facts.weights.layout} == lora_tensors()
    assert facts.problems == ()


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"tokenizer.json": small_tokenizer(), "tokenizer_config.json": "{}"},
        {"tokenizer.json": small_tokenizer() + " " * 11_000_000},
    ],
    ids=["bare", "tokenizer", "large-tokenizer"],
)
def test_a_folder_has_the_digest_of_the_same_files_on_the_hub(tmp_path, more):
    files = adapter_files() | more | {"README.md": "other"}
    with LocalHub() as hub:
        hub.add_commit(LORA, files)
        there = run_reader(hub, lambda reader: reader.read_adapter(make_reference(LORA)))
    here = read(write(tmp_path, files | {"README.md": "differs"}))
    assert here.ref.digest == there.ref.digest
    assert here.weights == there.weights
    assert here.tokenizer == there.tokenizer


def test_a_cached_snapshot_of_the_real_library_has_the_hubs_digest(tmp_path, monkeypatch):
    with LocalHub() as hub:
        hub.add_commit(LORA, adapter_files())
        there = run_reader(hub, lambda reader: reader.read_adapter(make_reference(LORA)))
        folder = snapshot_download(LORA, cache_dir=tmp_path, endpoint=hub.url)
    assert (Path(folder) / "adapter_config.json").is_symlink()
    # The cache's own names are taken: the weights are not hashed again.
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("hashed"))
    assert read(folder).ref.digest == there.ref.digest


def test_gitattributes_decide_what_would_be_in_lfs(tmp_path):
    files = adapter_files()
    plain = read(write(tmp_path / "a", files | {".gitattributes": "*.bin filter=lfs -text\n"}))
    usual = read(write(tmp_path / "b", files))
    assert len(plain.weights.files["adapter_model.safetensors"]) == 40
    assert len(usual.weights.files["adapter_model.safetensors"]) == 64


def test_the_commit_follows_config_header_and_tokenizer_only(tmp_path):
    write(tmp_path, adapter_files())
    first = read(tmp_path).ref.commit_sha
    write(tmp_path, {"README.md": "new"})
    assert read(tmp_path).ref.commit_sha == first
    write(tmp_path, {"adapter_config.json": adapter_config(r=9)})
    second = read(tmp_path).ref.commit_sha
    assert second != first
    write(tmp_path, {"tokenizer.json": small_tokenizer()})
    assert read(tmp_path).ref.commit_sha not in {first, second}


def test_changed_weights_change_the_digest_within_one_reader(tmp_path):
    write(tmp_path, adapter_files())
    reader = LocalReader()
    reference = Reference(str(tmp_path), None, None, Source.LOCAL)
    first = asyncio.run(reader.read_adapter(reference)).ref.digest
    with (tmp_path / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"abcd")
    assert asyncio.run(reader.read_adapter(reference)).ref.digest != first


def test_sub_folders_are_found(tmp_path):
    write(tmp_path, {f"v1/{name}": content for name, content in adapter_files().items()})
    reference = Reference(str(tmp_path), None, None, Source.LOCAL)
    assert asyncio.run(LocalReader().find_adapters(reference)) == ("v1",)
    assert len(read(tmp_path, "v1").weights.layout) == len(lora_tensors())
    with pytest.raises(NotAPeftAdapter):
        read(tmp_path)


def test_a_folder_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(RepositoryNotFound, match="No such file"):
        read(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RepositoryNotFound):
        read(tmp_path / "file")


def test_a_pipe_in_the_place_of_a_file_does_not_block(tmp_path):
    write(tmp_path, adapter_files())
    (tmp_path / "adapter_model.safetensors").unlink()
    os.mkfifo(tmp_path / "adapter_model.safetensors")
    assert [one.code for one in read(tmp_path).problems] == ["weights-missing"]


def test_a_link_loop_ends(tmp_path):
    write(tmp_path, adapter_files())
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert read(tmp_path).problems == ()


def test_a_file_that_goes_between_listing_and_reading_is_named(tmp_path):
    write(tmp_path, adapter_files())
    reader = LocalReader()

    async def use():
        snapshot = await reader.resolve(Reference(str(tmp_path), None, None, Source.LOCAL))
        (tmp_path / "adapter_config.json").unlink()
        await reader.read_file(snapshot, "adapter_config.json")

    with pytest.raises(FileNotFound):
        asyncio.run(use())


def test_a_pipe_that_takes_a_files_place_after_listing_does_not_block(tmp_path):
    write(tmp_path, adapter_files())
    reader = LocalReader()

    async def use():
        snapshot = await reader.resolve(Reference(str(tmp_path), None, None, Source.LOCAL))
        (tmp_path / "adapter_config.json").unlink()
        os.mkfifo(tmp_path / "adapter_config.json")
        await reader.read_file(snapshot, "adapter_config.json", 0, 10)

    with pytest.raises(FileNotFound):
        asyncio.run(use())


def test_files_are_read_in_part_and_whole(tmp_path):
    write(tmp_path, {"notes.txt": "0123456789"})
    reader = LocalReader()

    async def use():
        snapshot = await reader.resolve(Reference(str(tmp_path), None, None, Source.LOCAL))
        return [
            await reader.read_file(snapshot, "notes.txt"),
            await reader.read_file(snapshot, "notes.txt", 2, 5),
            await reader.read_file(snapshot, "notes.txt", 8),
        ]

    assert asyncio.run(use()) == [b"0123456789", b"234", b"89"]


def test_one_reader_serves_both_sources_and_the_reference_decides(tmp_path):
    write(tmp_path, adapter_files())
    with LocalHub() as hub:
        hub.add_commit(LORA, adapter_files())

        async def use():
            async with open_reader(hub.url) as reader:
                local = Reference(str(tmp_path), None, None, Source.LOCAL)
                return (
                    await reader.read_adapter(local),
                    await reader.read_adapter(make_reference(LORA)),
                )

        here, there = asyncio.run(use())
    assert here.ref.digest == there.ref.digest
    assert (here.ref.source, there.ref.source) == (Source.LOCAL, Source.HUB)


def test_a_folder_never_reaches_the_hubs_reader(tmp_path):
    reference = Reference(str(tmp_path), None, None, Source.LOCAL)
    with LocalHub() as hub:
        with pytest.raises(InvalidRequest):
            run_reader(hub, lambda reader: reader.read_adapter(reference))
        assert hub.log.count() == 0


def test_folders_have_no_listing():
    with pytest.raises(InvalidRequest):
        LocalReader().list_repositories()


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real adapters is not here")
def test_every_corpus_adapter_is_read_alike_from_folder_and_hub():
    folders = sorted((CORPUS / "adapters").iterdir())
    with LocalHub() as hub:
        for folder in folders:
            hub.add_commit(f"corpus/{folder.name}", {p.name: p for p in folder.iterdir()})

        async def all_of(reader):
            references = [make_reference(f"corpus/{folder.name}") for folder in folders]
            return await asyncio.gather(*map(reader.read_adapter, references))

        there = run_reader(hub, all_of)
    for folder, theirs in zip(folders, there, strict=True):
        here = read(folder)
        assert here.problems == theirs.problems == ()
        assert here.ref.digest == theirs.ref.digest
        assert here.weights == theirs.weights
        assert here.tokenizer == theirs.tokenizer
