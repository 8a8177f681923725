"""The rehearsal says what the real load would say, and its child costs one answer at most."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel

from registry.domain.refs import Digest
from registry.domain.steps import LoadAdapter, LoadBase, Plan, RenameKeys, ResizeEmbeddings, Step
from registry.domain.tensors import Layout, TensorSpec
from registry.errors import InvalidRequest, SandboxMissing
from registry.sandbox import Isolation, find_isolation
from tests.data.families import FAMILIES, HIDDEN, build_base
from tests.data.kinds import GROWN, Made, find_duplicates
from tests.data.pairs import adapter_facts, base_facts, read_base_facts, read_layout
from tests.data.sound import BY_NAME, SOUND
from workers.child.rehearse import answer
from workers.rehearse import Rehearsal, RehearsalRun, Rehearser, make_question, read_answer

MadeKind = Callable[[str], Made]
CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


def rehearse(
    made: Made, *, layout: Layout | None = None, plan: Plan | None = None, **config: Any
) -> Rehearsal:
    """In this process, which is quicker; the child's program and the reading of its answer."""
    adapter = adapter_facts(made.adapter_folder, layout, **config)
    question = make_question(adapter, read_base_facts(made.base_folder), plan or made.plan)
    document = json.loads(json.dumps(answer(json.loads(json.dumps(question)))))
    return read_answer(document, question["auto_class"])


def layout_of(made: Made) -> Layout:
    return read_layout(made.adapter_folder / "adapter_model.safetensors")


def along(rehearsal: Rehearsal) -> RehearsalRun:
    assert rehearsal.along_plan is not None
    return rehearsal.along_plan


@pytest.mark.parametrize("name", [kind.name for kind in SOUND])
def test_a_sound_adapter_lands_along_its_plan(name: str, made: MadeKind) -> None:
    run = along(rehearse(made(name)))
    if BY_NAME[name].rehearsable:
        assert (run.outcome, run.error, run.missing, run.unexpected) == ("landed", None, (), ())
    else:
        assert run.outcome == "unknown"
        assert run.error is not None


def test_the_naive_error_is_word_for_word_what_peft_raises(made: MadeKind) -> None:
    kind = made("llama-grown-plain")
    base = build_base(kind.base_folder, kind.kind.load_class)
    with pytest.raises(RuntimeError) as real:
        PeftModel.from_pretrained(base, kind.adapter_folder)
    naive = rehearse(kind).naive
    assert naive.outcome == "raises"
    assert naive.error == f"RuntimeError: {real.value}"
    assert "[101, 32]" in naive.error


@pytest.mark.parametrize("name", ["llama-lora", "tied-saved-embedding", "mixtral-per-expert"])
def test_the_warnings_are_those_of_the_real_load(name: str, made: MadeKind) -> None:
    kind = made(name)
    base = build_base(kind.base_folder, kind.kind.load_class)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PeftModel.from_pretrained(base, kind.adapter_folder)
    said = [w for w in caught if not issubclass(w.category, DeprecationWarning | FutureWarning)]
    real = dict.fromkeys(str(warning.message).split("\n")[0][:260] for warning in said)
    assert rehearse(kind).naive.warnings == tuple(real)


def test_a_missing_layer_is_a_fault_with_its_names(made: MadeKind) -> None:
    kind = made("llama-lora")
    kept = tuple(spec for spec in layout_of(kind) if ".layers.1." not in spec.name)
    rehearsal = rehearse(kind, layout=kept)
    assert rehearsal.naive.outcome == along(rehearsal).outcome == "faults"
    assert len(along(rehearsal).missing) == 8
    assert "missing adapter keys" in along(rehearsal).warnings[0]


def test_what_peft_drops_without_a_word_is_a_fault(made: MadeKind) -> None:
    kind = made("llama-lora")
    extra = TensorSpec("base_model.model.model.layers.9.mlp.up_proj.lora_A.weight", "F32", (4, 32))
    run = along(rehearse(kind, layout=(*layout_of(kind), extra)))
    assert (run.outcome, run.unexpected, run.warnings) == ("faults", (extra.name,), ())
    run = along(rehearse(made("llama-lora-dora"), use_dora=False))
    assert run.outcome == "faults"
    assert all("lora_magnitude_vector" in name for name in run.unexpected)
    assert len(run.unexpected) == 8


def test_an_overwritten_base_parameter_is_a_fault_unless_declared(made: MadeKind) -> None:
    kind = made("llama-lora")
    norm = TensorSpec("base_model.model.model.norm.weight", "F32", (HIDDEN,))
    layout = (*layout_of(kind), norm)
    run = along(rehearse(kind, layout=layout))
    assert (run.outcome, run.overwritten) == ("faults", ("model.norm.weight",))
    *others, last = kind.plan.steps
    assert isinstance(last, LoadAdapter)
    declared = replace(last, overwrites=("model.norm.weight",))
    plan = replace(kind.plan, steps=(*others, declared))
    run = along(rehearse(kind, layout=layout, plan=plan))
    assert (run.outcome, run.overwritten) == ("landed", ("model.norm.weight",))


def test_biases_that_the_config_trains_are_overwritten_as_declared(made: MadeKind) -> None:
    run = along(rehearse(made("qwen2-bias-all")))
    assert run.outcome == "landed"
    assert len(run.overwritten) == 6


def test_a_wrong_prefix_misses_everything_and_a_rename_step_mends_it(made: MadeKind) -> None:
    kind = made("llama-lora")
    renames = {
        spec.name.replace("base_model.model.", "_orig_mod."): spec.name for spec in layout_of(kind)
    }
    wrong = tuple(
        TensorSpec(wrong, spec.dtype, spec.shape)
        for wrong, spec in zip(renames, layout_of(kind), strict=True)
    )
    run = along(rehearse(kind, layout=wrong))
    assert run.outcome == "faults"
    assert len(run.missing) == len(run.unexpected) == len(wrong)
    base, adapter = kind.plan.steps
    plan = replace(kind.plan, steps=(base, RenameKeys(renames, ()), adapter))
    rehearsal = rehearse(kind, layout=wrong, plan=plan)
    assert along(rehearsal).outcome == "landed"
    assert rehearsal.naive.outcome == "faults"


def test_another_rank_raises(made: MadeKind) -> None:
    run = along(rehearse(made("llama-lora"), r=8))
    assert run.outcome == "raises"
    assert "size mismatch" in (run.error or "")


def test_labels_that_only_the_file_knows_raise_naively_and_land_along_the_plan(
    made: MadeKind,
) -> None:
    rehearsal = rehearse(made("bert-classifier"))
    assert rehearsal.naive.outcome == "raises"
    assert along(rehearsal).outcome == "landed"


def test_the_error_text_names_no_place_of_ours(made: MadeKind) -> None:
    run = along(rehearse(made("llama-lora"), peft_type="BONE"))
    assert run.outcome == "raises"
    assert "/tmp" not in (run.error or "")
    run = along(rehearse(made("llama-lora"), target_modules=["nothing_here"]))
    assert run.outcome == "raises"
    assert "nothing_here" in (run.error or "")


def test_the_tree_is_the_plain_base_as_transformers_names_it(made: MadeKind) -> None:
    kind = made("llama-grown")
    rehearsal = rehearse(kind)
    assert rehearsal.auto_class == "AutoModelForCausalLM"
    base = build_base(kind.base_folder, kind.kind.load_class)
    expected = {name: tuple(tensor.shape) for name, tensor in base.state_dict().items()}
    assert rehearsal.tree is not None
    assert {spec.name: spec.shape for spec in rehearsal.tree} == expected
    assert {spec.dtype for spec in rehearsal.tree} == {"F32"}
    assert set(rehearsal.versions) == {"torch", "transformers", "peft", "python"}


def test_equal_questions_have_equal_answers(made: MadeKind) -> None:
    assert rehearse(made("llama-grown")) == rehearse(made("llama-grown"))


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"model_type": "no-such-model"},
        {"model_type": "llama", "hidden_size": 30, "num_attention_heads": 4},
        {"model_type": "llama", "hidden_size": "wide"},
        {"model_type": "acme", "auto_map": {"AutoModelForCausalLM": "evil.Model"}},
    ],
)
def test_a_base_that_cannot_be_built_is_unknown_and_never_a_fault(
    raw: dict[str, Any], made: MadeKind
) -> None:
    kind = made("llama-lora")
    question = make_question(adapter_facts(kind.adapter_folder), base_facts(raw), kind.plan)
    rehearsal = read_answer(answer(question), "AutoModelForCausalLM")
    assert rehearsal.naive.outcome == along(rehearsal).outcome == "unknown"
    assert rehearsal.tree is None
    assert along(rehearsal).error


def lora_on(raw: dict[str, Any], rows: int, auto_class: str) -> dict[str, Any]:
    """A question about a resize of some base: the adapter itself is of no interest."""
    step = LoadBase(auto_class, "acme/base", "0" * 40, {"dtype": "float32"})
    adapter = LoadAdapter("acme/adapter", "1" * 40, None)
    plan = Plan(Digest("sha256:" + "0" * 64), (step, ResizeEmbeddings(rows), adapter))
    return {
        "config": {"peft_type": "LORA", "target_modules": ["q_proj"], "r": 4},
        "tensors": [],
        "base": raw,
        "auto_class": auto_class,
        "dtype": "float32",
        "num_labels": None,
        "plan": plan.to_json(),
    }


def test_a_resize_that_leaves_the_old_vocabulary_behind_is_named() -> None:
    raw = {
        "model_type": "fsmt",
        "langs": ["en", "de"],
        "src_vocab_size": 64,
        "tgt_vocab_size": 64,
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "tie_word_embeddings": False,
    }
    run = answer(lora_on(raw, 70, "AutoModelForSeq2SeqLM"))["along_plan"]
    assert run["resize_left"] is not None
    assert run["outcome"] in ("faults", "raises")


def test_a_hidden_size_equal_to_the_vocabulary_is_no_leftover(made: MadeKind) -> None:
    raw = FAMILIES["llama"].config().to_dict() | {"vocab_size": HIDDEN}
    run = answer(lora_on(raw, GROWN, "AutoModelForCausalLM"))["along_plan"]
    assert run["resize_left"] is None


@pytest.mark.parametrize(
    ("name", "base", "outcome", "labels"),
    [
        ("gpt2-chat", "gpt2", "landed", None),
        ("distilgpt2", "distilgpt2", "landed", None),
        ("llama32-1b", "meta-llama__Llama-3.2-1B", "landed", None),
        ("qwen25-tokenizer-shorter", "Qwen__Qwen2.5-0.5B-Instruct", "landed", None),
        ("gemma3-270m-local-base", "google__gemma-3-270m", "landed", None),
        ("nllb-seq2seq", "facebook__nllb-200-distilled-600M", "landed", None),
        ("distilbert-imdb", "distilbert-base-uncased", "landed", 2),
        ("gpt2-score-head", "gpt2", "landed", 2),
        ("roberta-agnews-bias-all", "roberta-base", "raises", 4),
    ],
)
def test_real_adapters_rehearse_as_they_really_load(
    name: str, base: str, outcome: str, labels: int | None
) -> None:
    if not CORPUS.is_dir():
        pytest.skip(f"the corpus is not at {CORPUS}")
    adapter = adapter_facts(CORPUS / "adapters" / name)
    facts = read_base_facts(CORPUS / "bases" / base)
    assert adapter.weights is not None
    assert adapter.weights.layout is not None
    names = [spec.name for spec in adapter.weights.layout]
    steps: list[Step] = [
        LoadBase(
            make_question(adapter, facts, None)["auto_class"],
            "acme/base",
            "0" * 40,
            {"dtype": "float32"} | ({"num_labels": labels} if labels else {}),
        ),
        LoadAdapter("acme/adapter", "1" * 40, None),
    ]
    if duplicates := find_duplicates(names):
        steps.insert(1, RenameKeys({}, duplicates))
    plan = Plan(Digest("sha256:" + "0" * 64), tuple(steps))
    question = make_question(adapter, facts, plan)
    rehearsal = read_answer(answer(question), question["auto_class"])
    assert rehearsal.naive.outcome == outcome
    assert along(rehearsal).outcome == "landed"


def test_facts_without_a_header_cannot_be_rehearsed(made: MadeKind) -> None:
    kind = made("llama-lora")
    adapter = adapter_facts(kind.adapter_folder)
    base = read_base_facts(kind.base_folder)
    assert adapter.weights is not None
    bare = replace(adapter, weights=replace(adapter.weights, layout=None))
    for pair in ((bare, base), (replace(adapter, config=None), base)):
        with pytest.raises(InvalidRequest):
            make_question(*pair, kind.plan)
    with pytest.raises(InvalidRequest):
        make_question(adapter, replace(base, config=None), kind.plan)


@pytest.fixture(scope="module")
def rehearser() -> Iterator[Rehearser]:
    with Rehearser(find_or_process(), seconds=10) as started:
        started.start()
        yield started


def test_the_warm_child_answers_as_the_program_does(made: MadeKind, rehearser: Rehearser) -> None:
    kind = made("llama-grown")
    pair = adapter_facts(kind.adapter_folder), read_base_facts(kind.base_folder)
    assert rehearser.rehearse(*pair, kind.plan) == rehearse(kind)
    without = rehearser.rehearse(*pair, None)
    assert without.along_plan is None
    assert without.naive == rehearse(kind).naive
    assert without.failure is None


def test_a_child_that_hangs_costs_one_answer(made: MadeKind, rehearser: Rehearser) -> None:
    kind = made("llama-lora")
    base = read_base_facts(kind.base_folder)
    slow = adapter_facts(kind.adapter_folder, target_modules="(.*a?){9,99}(.*a?){9,99}z")
    rehearsal = rehearser.rehearse(slow, base, kind.plan)
    assert rehearsal.naive.outcome == along(rehearsal).outcome == "unknown"
    assert "deadline" in (rehearsal.failure or "")
    after = rehearser.rehearse(adapter_facts(kind.adapter_folder), base, kind.plan)
    assert along(after).outcome == "landed"


def test_a_child_that_grows_costs_one_answer(made: MadeKind) -> None:
    kind = made("llama-lora")
    adapter = adapter_facts(kind.adapter_folder)
    base = read_base_facts(kind.base_folder)
    assert base.config is not None
    # A config object makes a name for every label that the config claims.
    labels = base_facts({**base.config.raw, "num_labels": 10**9})
    with Rehearser(find_or_process(), memory_bytes=1 << 30) as small:
        rehearsal = small.rehearse(adapter, labels, kind.plan)
        assert along(rehearsal).outcome == "unknown"
        assert "memory" in (rehearsal.failure or "")
        assert along(small.rehearse(adapter, base, kind.plan)).outcome == "landed"


def find_or_process() -> Isolation:
    try:
        return find_isolation("auto")
    except SandboxMissing:
        return Isolation.PROCESS
