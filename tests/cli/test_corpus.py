"""Every real adapter of the corpus gets exactly the outcome and codes that are known of it.

Where the corpus is absent its stand-ins take its place: they are equal tensor by tensor.
"""

import pytest

from tests.data.bases import CORPUS
from tests.data.corpus import ADAPTERS, GATED, corpus_repositories

SEVERE = ("error", "warning")
# Codes beside base-unpinned, which all have, and the plan's own particulars.
EXPECTED = {
    "gpt2-chat": (set(), {}),
    "distilgpt2": (set(), {}),
    "llama32-1b": (set(), {}),
    "qwen25-tokenizer-shorter": (set(), {}),
    "gemma3-270m-local-base": ({"base-local-path"}, {}),
    "nllb-seq2seq": (set(), {}),
    "distilbert-imdb": ({"labels-from-file"}, {"num_labels": 2}),
    "gpt2-score-head": ({"labels-from-file"}, {"num_labels": 2}),
    "roberta-agnews-bias-all": (
        {"labels-from-file", "base-overwritten", "duplicate-tensors-saved"},
        {"num_labels": 4},
    ),
}
NAMED_BASE = {"gemma3-270m-local-base": "google/gemma-3-270m"}


@pytest.fixture(scope="module")
def published(hub):
    names = corpus_repositories(hub)
    hub.add_token("hf_reader", may_read=(GATED,))
    return names


def check(loadplan, published, name, *more, **environment):
    return loadplan(
        "check", published[name], "--require", "planned", "--json", *more, **environment
    )


def test_the_table_names_every_adapter():
    assert set(EXPECTED) == {adapter.name for adapter in ADAPTERS}
    folders = CORPUS / "adapters"
    if folders.is_dir():
        assert set(EXPECTED) == {path.name for path in folders.iterdir()}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_corpus_adapter_has_exactly_the_known_codes(loadplan, published, name):
    named = ("--base", NAMED_BASE[name]) if name in NAMED_BASE else ()
    done = check(loadplan, published, name, *named, HF_TOKEN="hf_reader")
    expected, kwargs = EXPECTED[name]
    assert (done.exit_code, done.record["status"]) == (0, "planned"), done.out
    advice = {"rank-high", "full-embeddings-saved", "new-tokens-need-training"}
    assert set(done.codes) - advice == expected | {"base-unpinned"}
    assert not [code for severity in SEVERE for code in done.codes_of(severity)] or (
        name == "roberta-agnews-bias-all" and done.codes_of("warning") == ["base-overwritten"]
    )
    steps = {step["op"]: step for step in done.record["plan"]["steps"]}
    assert "resize_embeddings" not in steps
    given = steps["load_base"]["kwargs"]
    assert {key: value for key, value in given.items() if key != "dtype"} == kwargs


def test_the_qwen_tokenizer_is_shorter_than_its_rows_and_that_is_normal(loadplan, published):
    done = check(loadplan, published, "qwen25-tokenizer-shorter")
    facts = done.record["facts"]
    assert (facts["tokenizer_length"], facts["base_embedding_rows"]) == (151665, 151936)


def test_the_duplicates_of_roberta_are_dropped_by_the_plan(loadplan, published):
    done = check(loadplan, published, "roberta-agnews-bias-all")
    (rename,) = [s for s in done.record["plan"]["steps"] if s["op"] == "rename_keys"]
    assert rename["dropped"]


def test_a_redirected_base_keeps_the_declared_id_in_the_facts(loadplan, published):
    record = check(loadplan, published, "distilgpt2").record
    assert record["base"]["repo_id"] == "distilbert/distilgpt2"
    assert record["facts"]["declared_base"] == "distilbert/distilgpt2"


def test_a_gated_base_blocks_without_access(loadplan, published):
    done = check(loadplan, published, "llama32-1b")
    assert (done.exit_code, done.record["status"]) == (4, "blocked")
    assert done.codes_of("error") == ["base-gated"]


def test_a_local_path_blocks_until_a_base_is_named(loadplan, published):
    done = check(loadplan, published, "gemma3-270m-local-base")
    assert (done.exit_code, done.record["status"]) == (3, "blocked")
    assert done.codes_of("error") == ["base-local-path"]


def test_all_are_recorded_by_one_scan_and_listed(loadplan, published):
    done = loadplan("scan", *published.values(), "--json", HF_TOKEN="hf_reader")
    statuses = {record["adapter"]["repo_id"]: record["status"] for record in done.document}
    assert len(statuses) == len(ADAPTERS)
    blocked = {name for name, status in statuses.items() if status != "planned"}
    assert blocked == {"corpus/gemma3-270m-local-base"}
    assert len(loadplan("list", "--json").document) == len(ADAPTERS)
