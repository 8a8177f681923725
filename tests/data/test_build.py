"""What the fixtures hold, with the official readers and the corpus as the judges."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from tests.data import corpus as published
from tests.data.bases import CORPUS, STAND_INS, as_on_hub, base_repository, llama_2_7b, load_base
from tests.data.broken import cut_off, hostile_configs, hostile_headers, misnamed
from tests.data.build import CASES, canonical_adapter, grown_tokenizer, populate
from tests.data.tokenizers import CHATML, slow_tokenizer_files, tokenizer_files
from tests.data.weights import safetensors_file, truncated, write_files
from tests.hub import Hole, LocalHub

# Where the official reader is laxer than the format's own text.
LAX = {"duplicate name", "space before the brace", "name with NUL"}


def read_header(content: Hole | Path) -> dict[str, dict]:
    head = content.read_bytes() if isinstance(content, Path) else content.head
    length = int.from_bytes(head[:8], "little")
    entries = json.loads(head[8 : 8 + length])
    entries.pop("__metadata__")
    return entries


def test_the_canonical_adapter_is_the_one_that_was_published() -> None:
    weights = canonical_adapter()["adapter_model.safetensors"]
    tensors = read_header(weights)
    assert len(tensors) == 258
    assert weights.size - len(weights.head) == 3_594_190_848
    for name in ("base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight"):
        assert tensors[name]["shape"] == [33004, 4096]


def test_a_written_adapter_is_valid_and_takes_no_room(tmp_path: Path) -> None:
    write_files(canonical_adapter(), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    assert path.stat().st_blocks * 512 < 1_000_000
    with safe_open(path, framework="np") as reader:
        shape = reader.get_slice("base_model.model.lm_head.weight").get_shape()
    assert shape == [33004, 4096]


def test_a_large_base_is_sharded_and_its_index_is_true(tmp_path: Path) -> None:
    base = llama_2_7b()
    files = base_repository(base)
    index = json.loads(files["model.safetensors.index.json"])
    write_files(files, tmp_path)
    assert len({*index["weight_map"].values()}) == 2
    total = 0
    for shard in set(index["weight_map"].values()):
        with safe_open(tmp_path / shard, framework="np") as reader:
            names = set(reader.keys())
            total += sum(math.prod(reader.get_slice(name).get_shape()) * 2 for name in names)
        assert names == {name for name, file in index["weight_map"].items() if file == shard}
    assert index["metadata"]["total_size"] == total


@pytest.mark.parametrize("repo_id", STAND_INS)
def test_a_stand_in_is_the_base_of_the_corpus(repo_id: str, corpus: Path) -> None:
    made, real = STAND_INS[repo_id](), load_base(repo_id, corpus)
    assert list(made.shapes.items()) == list(real.shapes.items())
    assert made.dtype == real.dtype
    assert {key: real.config[key] for key in made.config} == made.config


@pytest.mark.parametrize("adapter", published.ADAPTERS, ids=lambda adapter: adapter.name)
def test_a_stand_in_is_the_adapter_of_the_corpus(
    adapter: published.CorpusAdapter, corpus: Path
) -> None:
    made = published.adapter_files(adapter, None)
    real = published.adapter_files(adapter, corpus)
    name = "adapter_model.safetensors"
    assert read_header(made[name]) == read_header(real[name])
    made_config = json.loads(made["adapter_config.json"])
    real_config = json.loads(real["adapter_config.json"].read_text())
    for key in ("r", "lora_alpha", "bias", "fan_in_fan_out", "task_type", "peft_type"):
        assert made_config[key] == real_config[key], key
    assert set(made_config["target_modules"]) == set(real_config["target_modules"])
    assert ("tokenizer_config.json" in made) == ("tokenizer_config.json" in real)


def test_files_on_the_hub_differ_from_the_module_tree_as_the_real_ones_do() -> None:
    gpt2, roberta = as_on_hub(load_base("gpt2")), as_on_hub(load_base("roberta-base"))
    assert "h.0.attn.c_attn.weight" in gpt2
    assert gpt2["h.0.attn.bias"][1] == (1, 1, 1024, 1024)
    # The number that the real file holds.
    assert len(gpt2) == 160
    assert "lm_head.decoder.weight" not in roberta
    assert roberta["roberta.embeddings.position_ids"] == ("I64", (1, 514))


@pytest.mark.parametrize("style", ["transformers-4", "transformers-5"])
@pytest.mark.parametrize("length", [300, 32001, 33004])
def test_a_tokenizer_has_the_length_asked_for(style: str, length: int) -> None:
    files = tokenizer_files(length, added=("term", "<pad>"), pad="<pad>", style=style)
    tokenizer = Tokenizer.from_str(files["tokenizer.json"])
    assert tokenizer.get_vocab_size(with_added_tokens=True) == length
    assert tokenizer.token_to_id("<pad>") == length - 1
    assert tokenizer.decode(tokenizer.encode("any text: ä").ids) == "any text: ä"


def test_a_grown_tokenizer_keeps_the_ids_of_the_base() -> None:
    base = Tokenizer.from_str(tokenizer_files(32000)["tokenizer.json"])
    grown = Tokenizer.from_str(grown_tokenizer(33004)["tokenizer.json"])
    assert grown.token_to_id("</s>") == base.token_to_id("</s>") == 2
    assert grown.encode("hello").ids == base.encode("hello").ids
    assert grown.token_to_id("term0") == 32000


def test_the_two_styles_keep_template_and_added_tokens_where_each_version_does() -> None:
    old = tokenizer_files(300, added=("<pad>",), chat_template=CHATML, style="transformers-4")
    new = tokenizer_files(300, added=("<pad>",), chat_template=CHATML)
    old_config, new_config = (json.loads(f["tokenizer_config.json"]) for f in (old, new))
    assert old_config["chat_template"] == new["chat_template.jinja"] == CHATML
    assert old_config["added_tokens_decoder"]["299"]["content"] == "<pad>"
    assert "added_tokens_decoder" not in new_config
    assert "special_tokens_map.json" in old
    assert "special_tokens_map.json" not in new


def test_a_slow_tokenizer_has_no_tokenizer_json() -> None:
    files = slow_tokenizer_files(400, ("<|endoftext|>", "<|im_start|>"))
    assert "tokenizer.json" not in files
    assert len(json.loads(files["vocab.json"])) == 400
    assert json.loads(files["added_tokens.json"])["<|im_start|>"] == 401


@pytest.mark.parametrize("name", hostile_headers())
def test_the_official_reader_refuses_each_hostile_header(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    hostile_headers()[name].write(path)
    if name in LAX:
        with safe_open(path, framework="np") as reader:
            assert list(reader.keys())
        return
    with pytest.raises((SafetensorError, OSError)), safe_open(path, framework="np"):
        pass


def test_files_that_broke_off_are_refused_and_whole_ones_are_not(tmp_path: Path) -> None:
    tensors = {"a": ("F32", (4, 4)), "b": ("BF16", (3,))}
    path = tmp_path / "model.safetensors"
    safetensors_file(tensors).write(path)
    with safe_open(path, framework="np") as reader:
        assert set(reader.keys()) == {"a", "b"}
    for broken in (cut_off(tensors), truncated(safetensors_file(tensors))):
        broken.write(path)
        with pytest.raises(SafetensorError), safe_open(path, framework="np"):
            pass


def test_misnamed_weights_keep_everything_but_the_name() -> None:
    files = {"adapter_config.json": "{}", "adapter_model.safetensors": b"x"}
    assert set(misnamed(files)) == {"adapter_config.json", "pytorch_lora_weights.safetensors"}
    assert "adapter_model.safetensors" in files


def test_hostile_configs_name_the_base_unless_that_is_the_harm() -> None:
    configs = hostile_configs("acme/base")
    assert "acme/base" in configs["rank is a text"]
    assert json.loads(configs["pattern that never ends"])["target_modules"].endswith("!")


@pytest.mark.parametrize("where", [CORPUS, None], ids=["with the corpus", "without"])
def test_everything_is_published(where: Path | None, hub: LocalHub) -> None:
    names = populate(hub, where)
    assert len(names) == len(CASES) + len(published.ADAPTERS)
    for repo_id in names.values():
        files = hub.repository(repo_id).head.files
        assert {"adapter_config.json", "adapter_model.safetensors"} <= set(files)
    assert hub.repository("meta-llama/Llama-3.2-1B").gated
    assert hub.store.moved["distilgpt2"] == "distilbert/distilgpt2"
