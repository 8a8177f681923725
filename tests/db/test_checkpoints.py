"""Facts come back exactly, however hostile, and shared content is stored once."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from registry.db import checkpoints
from registry.db.documents import from_document, to_document
from registry.db.layouts import load_layout, save_layout
from registry.db.models import CheckpointRow, LayoutRow, LayoutTensorRow, TokenizerRow
from registry.domain.adapter_config import AdapterConfig
from registry.domain.facts import AdapterFacts
from registry.domain.issues import Issue, Severity
from registry.domain.refs import Source
from registry.domain.tensors import TensorSpec
from tests.db.examples import adapter_facts, base_facts, digest, lora_layout, ref, tokenizer
from tests.db.statements import count_statements


def save_adapter(database, *facts: AdapterFacts) -> None:
    def work(session):
        for one in facts:
            checkpoints.save_adapter(session, one)

    database.write(work)


def pinned(facts):
    """As loaded: the revision of facts found by content is the commit itself."""
    return replace(facts, ref=replace(facts.ref, revision=facts.ref.commit_sha))


def count(database, row) -> int:
    with database.reading() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(row)).scalar_one()


def test_adapter_facts_come_back_exactly(database):
    facts = adapter_facts(ref("acme/lora", "one", subfolder="a/b"))
    save_adapter(database, facts)
    with database.reading() as connection:
        loaded = checkpoints.load_adapter(connection, facts.ref.digest, "a/b")
        assert checkpoints.load_adapter(connection, facts.ref.digest) is None
        assert checkpoints.load_adapter(connection, digest("other"), "a/b") is None
        at_commit = checkpoints.load_adapter_at(
            connection, Source.HUB, "acme/lora", facts.ref.commit_sha, "a/b"
        )
    assert loaded == pinned(facts) == at_commit
    assert type(loaded.config.lora_alpha) is int


def test_base_facts_come_back_with_the_tree_of_a_version(database):
    facts = base_facts(ref("acme/base", "one"))
    trees = {
        version: (TensorSpec(f"tree.{version}", "F32", (1,)),) for version in ("5.22.0", "5.23.0")
    }

    def work(session):
        checkpoints.save_base(session, facts)
        for version, tree in trees.items():
            checkpoints.save_base_tree(session, facts.ref.digest, version, tree)

    database.write(work)
    with database.reading() as connection:
        newest = checkpoints.load_base(connection, facts.ref.digest)
        older = checkpoints.load_base(connection, facts.ref.digest, "5.22.0")
        unknown = checkpoints.load_base(connection, facts.ref.digest, "6.0.0")
        at_commit = checkpoints.load_base_at(
            connection, Source.HUB, "acme/base", facts.ref.commit_sha
        )
        (listed,) = checkpoints.list_recorded_bases(connection, limit=10)
    assert newest == replace(pinned(facts), tree=trees["5.23.0"]) == at_commit == listed
    assert older.tree == trees["5.22.0"]
    assert unknown.tree is None


def test_what_could_not_be_read_is_null_and_not_zero(database):
    facts = AdapterFacts(
        ref=ref("acme/lora", "unreadable"),
        config=None,
        weights=replace(adapter_facts(ref("x", 1)).weights, layout=None),
        tokenizer=tokenizer("sentencepiece", None),
    )
    save_adapter(database, facts)
    with database.reading() as connection:
        assert checkpoints.load_adapter(connection, facts.ref.digest) == pinned(facts)


def test_saving_twice_changes_nothing_and_a_later_reading_wins(database):
    facts = adapter_facts(ref("acme/lora", "one"))
    save_adapter(database, facts, facts)
    save_adapter(database, facts)
    assert count(database, CheckpointRow) == 1
    better = replace(facts, other_adapters=("found", "later"))
    save_adapter(database, better)
    with database.reading() as connection:
        assert checkpoints.load_adapter(connection, facts.ref.digest) == pinned(better)
    assert count(database, CheckpointRow) == 1


def test_checkpoints_share_layouts_tokenizers_and_configs(database):
    save_adapter(database, *(adapter_facts(ref(f"acme/lora-{n}", n)) for n in range(5)))
    assert count(database, CheckpointRow) == 5
    assert count(database, LayoutRow) == 1
    assert count(database, LayoutTensorRow) == 14
    assert count(database, TokenizerRow) == 1


def test_a_tokenizer_that_told_nothing_is_replaced_by_one_that_tells_a_length(database):
    unknown, known = tokenizer("files", None), tokenizer("files", 100)
    for facts, expected in ((unknown, unknown), (known, known), (unknown, known)):
        database.write(lambda session, facts=facts: checkpoints.save_tokenizer(session, facts))
        with database.reading() as connection:
            assert checkpoints.load_tokenizer(connection, facts.content_id) == expected


def test_the_readers_tokenizer_cache_is_the_database(database):
    cache = checkpoints.StoredTokenizers(database)
    assert cache.get(digest("tokenizer")) is None
    cache.put(tokenizer())
    assert cache.get(digest("tokenizer")) == tokenizer()


HOSTILE = "nul \x00 surrogate \ud800 ' OR 1=1; -- \\u0000 \u202e {{}} %s :x"


def test_hostile_text_comes_back_as_it_was(database):
    facts = adapter_facts(ref("acme/lora", "hostile"))
    config = replace(
        facts.config,
        base_model_name_or_path=HOSTILE,
        target_modules=HOSTILE,
        task_type=HOSTILE,
        unknown_keys=(HOSTILE,),
        raw={HOSTILE: [HOSTILE, {"deep": 10**400}]},
        r=10**30,
        lora_alpha=10**400,
    )
    facts = replace(
        facts,
        config=config,
        weights=replace(
            facts.weights,
            files={HOSTILE: "ab"},
            size_bytes=2**70,
            layout=(TensorSpec(HOSTILE, HOSTILE, (2**62, 0)),),
        ),
        other_adapters=(HOSTILE,),
        problems=(Issue("config-unknown-keys", Severity.WARNING, HOSTILE, HOSTILE, HOSTILE, (1,)),),
    )
    save_adapter(database, facts)
    with database.reading() as connection:
        assert checkpoints.load_adapter(connection, facts.ref.digest) == pinned(facts)


def test_layouts_of_any_size_come_back(database):
    for layout in ((), lora_layout(), (TensorSpec("", "F32", ()),)):
        layout_id = database.write(lambda session, layout=layout: save_layout(session, layout))
        with database.reading() as connection:
            assert load_layout(connection, layout_id) == layout


def test_many_tensors_take_as_many_statements_as_few(database):
    counted = []
    # The first brings its repository along.
    for number in (1, 8, 448):
        facts = adapter_facts(ref("acme/lora", number), layout=lora_layout()[:number])
        assert len(facts.weights.layout) == number
        counted.append(
            count_statements(
                database, lambda session, facts=facts: checkpoints.save_adapter(session, facts)
            )
        )
    assert counted[1] == counted[2]
    assert count(database, LayoutRow) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
TEXT = st.text(max_size=8)
NUMBER = st.integers() | st.floats(allow_nan=False)
CONFIGS = st.builds(
    AdapterConfig,
    peft_type=TEXT,
    task_type=st.none() | TEXT,
    base_model_name_or_path=st.none() | TEXT,
    revision=st.none() | TEXT,
    r=st.none() | st.integers(),
    lora_alpha=st.none() | NUMBER,
    target_modules=st.none() | TEXT | st.lists(TEXT).map(tuple),
    rank_pattern=st.dictionaries(TEXT, NUMBER, max_size=3),
    init_weights=st.none() | st.booleans() | TEXT,
    layer_replication=st.none() | st.lists(st.tuples(st.integers(), st.integers())).map(tuple),
    trainable_token_indices=st.none()
    | st.lists(st.integers()).map(tuple)
    | st.dictionaries(TEXT, st.lists(st.integers()).map(tuple), max_size=3),
    declared=st.frozensets(TEXT, max_size=4),
    raw=st.dictionaries(TEXT, JSON, max_size=3),
)


@given(CONFIGS)
def test_any_config_comes_back_from_its_document(config):
    assert from_document(AdapterConfig, to_document(config)) == config


def test_a_document_of_the_release_before_is_read_and_of_the_one_after_too():
    document = to_document(adapter_facts(ref("acme/lora", "one")).config)
    del document["ensure_weight_tying"]
    document["a_later_member"] = {"x": 1}
    assert from_document(AdapterConfig, document) == adapter_facts(ref("acme/lora", "one")).config
