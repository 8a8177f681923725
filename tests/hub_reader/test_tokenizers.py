"""Tokenizers: which files are read, how often, and what a cache spares."""

from __future__ import annotations

import asyncio
import json

import pytest

from registry.domain.refs import make_reference
from registry.domain.tokenizer import TokenizerFacts
from registry.errors import HubError
from registry.hub import HubReader, Patience
from tests.data.tokenizers import slow_tokenizer_files, tokenizer_files
from tests.hub import Answer, LocalHub
from tests.hub_reader.asking import adapter_files, run_reader, small_tokenizer

LORA = "acme/lora"


class Kept(dict[str, TokenizerFacts]):
    """A cache between runs, in memory; counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def get(self, content_id: str) -> TokenizerFacts | None:  # type: ignore[override]
        self.asked.append(content_id)
        return dict.get(self, content_id)

    def put(self, facts: TokenizerFacts) -> None:
        self[facts.content_id] = facts


@pytest.fixture
def hub():
    with LocalHub() as hub:
        yield hub


def read(hub: LocalHub, repo_id: str = LORA, subfolder=None, **more):
    reference = make_reference(repo_id, None, subfolder)
    return run_reader(hub, lambda reader: reader.read_adapter(reference), **more)


@pytest.mark.parametrize("style", ["transformers-4", "transformers-5"])
def test_the_length_counts_added_tokens(hub, style):
    hub.add_commit(LORA, adapter_files() | tokenizer_files(310, added=["<a>"], style=style))
    facts = read(hub).tokenizer
    assert facts.length == 310
    assert facts.content_id.startswith("sha256:")


@pytest.mark.parametrize("style", ["transformers-4", "transformers-5"])
@pytest.mark.parametrize("template", [None, "{{ messages }}"])
def test_with_a_tokenizer_at_most_seven_answers_of_the_hub(hub, style, template):
    files = tokenizer_files(310, added=["<a>"], chat_template=template, style=style)
    hub.add_commit(LORA, adapter_files() | files)
    hub.log.reset()
    facts = read(hub)
    assert hub.log.count(host="hub") <= 7
    assert hub.log.count(host="cdn") == 1
    assert facts.tokenizer.chat_template == template


def test_a_large_tokenizer_is_read_where_the_hub_redirects(hub):
    hub.add_commit(LORA, adapter_files() | {"tokenizer.json": small_tokenizer() + " " * 11_000_000})
    hub.log.reset()
    assert read(hub).tokenizer.length == 11
    assert hub.log.count(host="hub") == 4
    assert hub.log.count(host="cdn") == 2


def test_old_files_are_read_only_without_a_decoder(hub):
    old = {"added_tokens.json": '{"<x>": 10}', "special_tokens_map.json": '{"pad_token": "<p>"}'}
    hub.add_commit(LORA, adapter_files() | {"tokenizer.json": small_tokenizer(added=())} | old)
    assert read(hub).tokenizer.length == 12
    assert hub.log.count(path="added_tokens") == 1
    decoder = {"added_tokens_decoder": {"10": {"content": "<x>", "special": True}}}
    hub.add_commit(LORA, {"tokenizer_config.json": json.dumps(decoder)})
    hub.log.reset()
    assert read(hub).tokenizer.length == 11
    assert hub.log.count(path="added_tokens") == 0


def test_a_slow_tokenizer_is_read_from_its_vocabulary(hub):
    files = slow_tokenizer_files(300, ["<|a|>", "<|b|>"])
    hub.add_commit(LORA, adapter_files() | files)
    assert read(hub).tokenizer.length == 302
    assert hub.log.count(path="merges") == 0


@pytest.mark.parametrize("name", ["special_tokens_map.json", "tokenizer_config.json"])
def test_left_over_files_are_no_tokenizer_and_are_not_read(hub, name):
    hub.add_commit(LORA, adapter_files())
    bare = read(hub).ref.digest
    hub.add_commit(LORA, {name: '{"pad_token": "<pad>"}'})
    hub.log.reset()
    facts = read(hub)
    assert facts.tokenizer is None
    assert facts.ref.digest == bare
    assert hub.log.count(host="hub") == 3


def test_sentencepiece_alone_is_unknown_not_absent(hub):
    hub.add_commit(LORA, adapter_files() | {"tokenizer.model": b"\0binary"})
    facts = read(hub).tokenizer
    assert facts.length is None
    assert facts.reason
    assert hub.log.count(path="tokenizer.model") == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"model": 3}'])
def test_an_unreadable_tokenizer_is_unknown(hub, text):
    hub.add_commit(LORA, adapter_files() | {"tokenizer.json": text})
    facts = read(hub)
    assert facts.tokenizer.length is None
    assert facts.tokenizer.reason
    assert facts.weights.layout is not None


def test_a_tokenizer_too_large_to_read_is_unknown(hub):
    hub.add_commit(LORA, adapter_files() | {"tokenizer.json": b" " * 70_000_000})
    facts = read(hub)
    assert facts.tokenizer.length is None
    assert hub.log.bytes_sent() < 1_000_000


def test_a_sub_folder_adapter_has_the_tokenizer_of_its_folder_only(hub):
    nested = {f"v1/{name}": content for name, content in adapter_files().items()}
    hub.add_commit(LORA, nested | {"tokenizer.json": small_tokenizer(10)})
    assert read(hub, subfolder="v1").tokenizer is None
    hub.add_commit(LORA, {"v1/tokenizer.json": small_tokenizer(20)})
    assert read(hub, subfolder="v1").tokenizer.length == 21


def test_equal_tokenizers_of_many_adapters_are_read_once(hub):
    for number in range(20):
        files = tokenizer_files(310 + number % 2, style="transformers-5")
        hub.add_commit(f"acme/lora-{number}", adapter_files(r=number + 1) | files)

    async def use(reader: HubReader):
        references = [make_reference(f"acme/lora-{number}") for number in range(20)]
        return await asyncio.gather(*map(reader.read_adapter, references))

    facts = run_reader(hub, use)
    assert [one.tokenizer.length for one in facts] == [310, 311] * 10
    assert hub.log.count(path="/tokenizer.json") == 2
    assert hub.log.count(path="tokenizer_config") == 2


def test_one_large_vocabulary_beside_differing_configs_is_sent_once(hub):
    vocabulary = small_tokenizer() + " " * 2_000_000
    for number in range(5):
        config = json.dumps({"name_or_path": f"run-{number}"})
        files = {"tokenizer.json": vocabulary, "tokenizer_config.json": config}
        hub.add_commit(f"acme/lora-{number}", adapter_files() | files)

    async def use(reader: HubReader):
        references = [make_reference(f"acme/lora-{number}") for number in range(5)]
        return await asyncio.gather(*map(reader.read_adapter, references))

    facts = run_reader(hub, use)
    assert len({one.tokenizer.content_id for one in facts}) == 5
    assert hub.log.count(path="/tokenizer.json") == 1


def test_a_cache_spares_a_later_run_every_tokenizer_file(hub):
    hub.add_commit(LORA, adapter_files() | tokenizer_files(310, style="transformers-5"))
    kept = Kept()
    first = read(hub, tokenizers=kept).tokenizer
    assert list(kept.values()) == [first]
    hub.log.reset()
    assert read(hub, tokenizers=kept).tokenizer == first
    assert hub.log.count(host="hub") == 3


def test_a_read_that_fails_is_not_remembered(hub):
    hub.add_commit(LORA, adapter_files() | {"tokenizer.json": small_tokenizer()})
    hub.inject(Answer(500), path="tokenizer", times=1)

    async def use(reader: HubReader):
        with pytest.raises(HubError):
            await reader.read_adapter(make_reference(LORA))
        return await reader.read_adapter(make_reference(LORA))

    assert run_reader(hub, use, patience=Patience(attempts=1)).tokenizer.length == 11
