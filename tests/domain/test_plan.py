"""The plan as a whole: the canonical case, real adapters, and what must hold of any pair."""

import json
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.domain.facts import WeightsFacts, WeightsFormat
from registry.domain.issues import Severity, make_issue
from registry.domain.plan import compute_plan
from registry.domain.record import Status, decide_status
from registry.domain.steps import LoadAdapter, LoadBase, LoadTokenizer, RenameKeys, ResizeEmbeddings
from registry.domain.summary import compute_facts
from registry.domain.tensors import TensorSpec
from tests.domain.recorded import (
    PREFIX,
    layout_of,
    llama_config,
    llama_shapes,
    lora_config,
    lora_shapes,
    make_adapter,
    make_base,
    read_adapter,
    ref,
    tokenizer_of,
)

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
BOTH = ["embed_tokens", "lm_head"]
LLAMA_2_LINEAR = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (4096, 4096),
    "self_attn.v_proj": (4096, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (4096, 11008),
    "mlp.up_proj": (4096, 11008),
    "mlp.down_proj": (11008, 4096),
}


def llama_2_base(rows=32000):
    shapes = {
        "model.embed_tokens.weight": (rows, 4096),
        "lm_head.weight": (rows, 4096),
        "model.norm.weight": (4096,),
    }
    for layer in range(32):
        stem = f"model.layers.{layer}"
        for name, (fan_in, fan_out) in LLAMA_2_LINEAR.items():
            shapes[f"{stem}.{name}.weight"] = (fan_out, fan_in)
        shapes[f"{stem}.input_layernorm.weight"] = (4096,)
        shapes[f"{stem}.post_attention_layernorm.weight"] = (4096,)
    config = llama_config(rows, layers=32, hidden_size=4096, torch_dtype="float16", dtype=None)
    return make_base(layout_of(shapes, "F16"), config)


def llama_2_adapter(targets, r, rows=33004, tokenizer=None):
    shapes = {f"{PREFIX}{m}.weight": (rows, 4096) for m in ("model.embed_tokens", "lm_head")}
    for layer in range(32):
        for name, (fan_in, fan_out) in LLAMA_2_LINEAR.items():
            if name.rpartition(".")[2] in targets:
                stem = f"{PREFIX}model.layers.{layer}.{name}"
                shapes[f"{stem}.lora_A.weight"] = (r, fan_in)
                shapes[f"{stem}.lora_B.weight"] = (fan_out, r)
    config = lora_config(targets, modules_to_save=BOTH) | {"r": r}
    return make_adapter(layout_of(shapes, "BF16"), config, tokenizer)


def codes(planned, *severities):
    wanted = severities or (Severity.ERROR, Severity.WARNING)
    return {issue.code for issue in planned.issues if issue.severity in wanted}


# --- the canonical case ------------------------------------------------------------------------


def test_the_canonical_adapter_gets_its_plan_and_figures():
    targets = ["q_proj", "v_proj", "gate_proj", "up_proj"]
    adapter = llama_2_adapter(targets, 1024, tokenizer=tokenizer_of(33004))
    base = llama_2_base()
    planned = compute_plan(adapter, base)
    assert planned.plan is not None
    assert planned.plan.steps == (
        LoadBase("AutoModelForCausalLM", "acme/base", "2" * 40, {"dtype": "float16"}),
        LoadTokenizer("adapter", "acme/adapter", "1" * 40, 33004),
        ResizeEmbeddings(33004),
        LoadAdapter("acme/adapter", "1" * 40, None),
    )
    assert codes(planned) == set()
    assert codes(planned, Severity.INFO) == {"vocabulary-grown", "base-unpinned"}
    assert codes(planned, Severity.ADVICE) == {
        *("rank-high", "full-embeddings-saved", "new-tokens-need-training")
    }
    facts = compute_facts(adapter, base)
    assert facts.trainable_parameters == 1_797_095_424
    assert facts.trainable_fraction == 0.210341
    assert facts.memory_bytes == 8_543_735_808 * 2
    assert (facts.embedding_rows, facts.output_rows) == (33004, 33004)
    assert (facts.base_embedding_rows, facts.base_output_rows) == (32000, 32000)
    assert facts.ranks == {"1024": 128}
    assert planned.spoken_for == 1.0


def test_the_canonical_naive_load_fails_in_pefts_words():
    planned = compute_plan(llama_2_adapter(["q_proj"], 8), llama_2_base())
    assert planned.naive_load.outcome == "raises"
    size = (
        "copying a param with shape torch.Size([33004, 4096]) from checkpoint, "
        "the shape in current model is torch.Size([32000, 4096])."
    )
    assert planned.naive_load.error == (
        "RuntimeError: Error(s) in loading state_dict for PeftModelForCausalLM:\n"
        f"\tsize mismatch for base_model.model.model.embed_tokens.modules_to_save.default.weight: "
        f"{size}\n"
        f"\tsize mismatch for base_model.model.lm_head.modules_to_save.default.weight: {size}"
    )


@pytest.mark.parametrize(
    ("targets", "fraction"),
    [
        pytest.param(["q_proj", "v_proj"], 0.1069, id="q, v"),
        pytest.param(["gate_proj", "up_proj", "down_proj"], 0.206445, id="the MLP"),
        pytest.param([name.rpartition(".")[2] for name in LLAMA_2_LINEAR], 0.2954, id="all"),
    ],
)
def test_the_fraction_follows_from_the_targets(targets, fraction):
    facts = compute_facts(llama_2_adapter(targets, 1024), llama_2_base())
    assert facts.trainable_fraction == pytest.approx(fraction, abs=5e-5)


def test_a_plan_of_450_tensors_takes_milliseconds():
    adapter = llama_2_adapter([name.rpartition(".")[2] for name in LLAMA_2_LINEAR], 8)
    base = llama_2_base()
    assert len(adapter.weights.layout) == 450
    compute_plan(adapter, base)
    best = min(_seconds(lambda: compute_plan(adapter, base)) for _ in range(50))
    # 1.5 ms where the machine has nothing else to do; a quadratic rule would take a hundred.
    assert best < 0.01


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# --- real adapters -----------------------------------------------------------------------------

REAL = {
    "gpt2-chat": ("gpt2", set(), {}),
    "distilgpt2": ("distilgpt2", set(), {}),
    "llama32-1b": ("meta-llama__Llama-3.2-1B", set(), {}),
    "qwen25-tokenizer-shorter": ("Qwen__Qwen2.5-0.5B-Instruct", set(), {}),
    "gemma3-270m-local-base": ("google__gemma-3-270m", set(), {}),
    "nllb-seq2seq": ("facebook__nllb-200-distilled-600M", set(), {}),
    "distilbert-imdb": ("distilbert-base-uncased", {"labels-from-file"}, {"num_labels": 2}),
    "gpt2-score-head": ("gpt2", {"labels-from-file"}, {"num_labels": 2}),
    "roberta-agnews-bias-all": (
        "roberta-base",
        {"labels-from-file", "base-overwritten", "duplicate-tensors-saved"},
        {"num_labels": 4},
    ),
}
CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "CAUSAL_LM": "AutoModelForCausalLM",
}


def real_base(name, *, as_files):
    """`as_files`: the names that a class without a prefix writes, and no tied head."""
    folder = CORPUS / "bases" / name
    described = json.loads((folder / "tensors.json").read_text())
    shapes = {tensor: tuple(shape) for tensor, shape in described["tensors"].items()}
    if as_files:
        shapes = {
            tensor.removeprefix("transformer."): shape
            for tensor, shape in shapes.items()
            if tensor != "lm_head.weight"
        }
    config = json.loads((folder / "config.json").read_text())
    return make_base(layout_of(shapes, described["dtype"]), config)


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not beside this checkout")
@pytest.mark.parametrize("as_files", [False, True], ids=["built names", "file names"])
@pytest.mark.parametrize("name", sorted(REAL))
def test_a_real_adapter_gets_the_outcome_that_the_libraries_gave_it(name, as_files):
    base_name, extra, kwargs = REAL[name]
    adapter = read_adapter(CORPUS / "adapters" / name)
    base = real_base(base_name, as_files=as_files)
    planned = compute_plan(adapter, base)
    assert {issue.code for issue in planned.issues} == {"base-unpinned", *extra}
    assert planned.plan is not None
    load = planned.plan.steps[0]
    assert load.auto_class == CLASSES[adapter.config.task_type]
    assert {k: v for k, v in load.kwargs.items() if k != "dtype"} == kwargs
    assert not [step for step in planned.plan.steps if isinstance(step, ResizeEmbeddings)]
    assert planned.naive_load.outcome == ("raises" if "roberta" in name else "loads")
    assert planned.spoken_for == 1.0


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not beside this checkout")
def test_the_roberta_plan_drops_two_copies_and_declares_99_biases():
    adapter = read_adapter(CORPUS / "adapters" / "roberta-agnews-bias-all")
    planned = compute_plan(adapter, real_base("roberta-base", as_files=False))
    steps = {type(step): step for step in planned.plan.steps}
    stem = f"{PREFIX}classifier.modules_to_save"
    assert steps[RenameKeys] == RenameKeys(
        {}, (f"{stem}.dense.bias", f"{stem}.out_proj.bias")
    )  # fmt: skip
    overwrites = steps[LoadAdapter].overwrites
    assert len(overwrites) == 99
    assert all(name.endswith(".bias") for name in overwrites)
    assert "classifier.modules_to_save.default.out_proj.weight" in planned.naive_load.error


# --- what must hold of any pair ----------------------------------------------------------------


@given(st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_a_plan_does_not_depend_on_the_order_of_keys(order: random.Random):
    shapes = lora_shapes(["q_proj", "o_proj", "up_proj"], rows=40)
    shapes[f"{PREFIX}lm_head.original_module.weight"] = (40, 8)
    shapes[f"{PREFIX}_orig_mod.model.layers.0.mlp.gate_proj.lora_A.weight"] = (4, 8)
    shapes[f"{PREFIX}_orig_mod.model.layers.0.mlp.gate_proj.lora_B.weight"] = (12, 4)
    targets = ["q_proj", "o_proj", "up_proj", "gate_proj"]
    adapter = make_adapter(shapes, lora_config(targets, modules_to_save=BOTH))
    base = make_base(llama_shapes(), llama_config())
    expected = compute_plan(adapter, base)

    def shuffled(layout):
        return tuple(order.sample(layout, len(layout)))

    mixed = replace(
        adapter,
        weights=replace(adapter.weights, layout=shuffled(adapter.weights.layout)),
        config=replace(adapter.config, target_modules=shuffled(adapter.config.target_modules)),
    )
    mixed_base = replace(base, weights=replace(base.weights, layout=shuffled(base.weights.layout)))
    assert compute_plan(mixed, mixed_base) == expected


ROWS = st.integers(1, 80)


@given(base_in=ROWS, base_out=ROWS, file_in=st.none() | ROWS, file_out=st.none() | ROWS)
@settings(max_examples=300)
def test_any_rows_lead_to_the_files_rows_or_to_a_named_code(base_in, base_out, file_in, file_out):
    shapes = lora_shapes()
    if file_in is not None:
        shapes[f"{PREFIX}model.embed_tokens.weight"] = (file_in, 8)
    if file_out is not None:
        shapes[f"{PREFIX}lm_head.weight"] = (file_out, 8)
    saved = [n for n, rows in zip(BOTH, (file_in, file_out), strict=True) if rows is not None]
    adapter = make_adapter(shapes, lora_config(modules_to_save=saved or None))
    base = make_base(llama_shapes(base_in, output_rows=base_out), llama_config(base_in))
    planned = compute_plan(adapter, base)
    if planned.plan is None:
        errors = {issue.code for issue in planned.issues if issue.severity is Severity.ERROR}
        # The last where the end-of-sequence id is among the rows that nothing fills.
        assert errors <= {"vocabulary-conflict", "token-index-out-of-range", "new-rows-untrained"}
        return
    resized = [step.rows for step in planned.plan.steps if isinstance(step, ResizeEmbeddings)]
    final_in, final_out = (resized * 2) or (base_in, base_out)
    assert file_in in (None, final_in)
    assert file_out in (None, final_out)


NAMES = st.lists(
    st.sampled_from(
        [
            *("base_model", "model", "layers", "0", "1", "99", "self_attn", "q_proj", "lm_head"),
            *("embed_tokens", "lora_A", "lora_B", "weight", "bias", "default", "modules_to_save"),
            *("original_module", "base_layer", "_orig_mod", "", "lora_embedding_A", "é", "score"),
            *("trainable_tokens_delta", "token_adapter", "lora_magnitude_vector", "experts"),
        ]
    ),
    min_size=1,
    max_size=8,
).map(".".join)
SHAPE = st.lists(st.integers(0, 40), max_size=4).map(tuple)


@given(
    st.dictionaries(NAMES, SHAPE, max_size=12),
    st.fixed_dictionaries(
        {},
        optional={
            "peft_type": st.sampled_from(["LORA", "IA3", "ADALORA", "PROMPT_TUNING", "LOHA"]),
            "task_type": st.sampled_from(["CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS", None]),
            "modules_to_save": st.sampled_from([None, [], ["lm_head"], ["score", "embed_tokens"]]),
            "bias": st.sampled_from(["none", "all", "lora_only"]),
            "trainable_token_indices": st.sampled_from([[0], [2**40], {"embed_tokens": [1, 2]}]),
            "layers_to_transform": st.sampled_from([[0], 1]),
            "rank_pattern": st.sampled_from([{"q_proj": 2}, {"(a+)+$": 3}]),
        },
    ),
    st.booleans(),
)
@settings(max_examples=300)
def test_no_names_or_shapes_make_the_planner_raise(shapes, config, exact):
    members = lora_config() | config
    if members.get("peft_type") != "LORA":
        members = {k: v for k, v in members.items() if k not in ("bias", "rank_pattern")}
    adapter = make_adapter(shapes, members)
    base = make_base(llama_shapes(), llama_config(), exact=exact)
    planned = compute_plan(adapter, base)
    assert (planned.plan is None) == bool(codes(planned, Severity.ERROR))
    assert 0.0 <= planned.spoken_for <= 1.0
    # What the plan tells of the pair on its way is what would be found out without it.
    assert compute_facts(adapter, base, planned.described) == compute_facts(adapter, base)


# --- facts that are missing --------------------------------------------------------------------


def sound_pair():
    return make_adapter(lora_shapes(), lora_config()), make_base(llama_shapes(), llama_config())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"config": None}, "config-invalid", id="config"),
        pytest.param({"weights": None}, "weights-missing", id="weights"),
        pytest.param(
            {"weights": WeightsFacts(WeightsFormat.SAFETENSORS, {}, 0, None)},
            "header-invalid",
            id="header",
        ),
    ],
)
def test_what_the_reader_could_not_read_is_named_even_if_it_did_not_say(change, code):
    adapter, base = sound_pair()
    planned = compute_plan(replace(adapter, **change), base)
    assert planned.plan is None
    assert code in codes(planned, Severity.ERROR)
    assert planned.naive_load.outcome == "unknown"


def test_the_readers_own_reason_stands_alone():
    adapter, base = sound_pair()
    said = make_issue("weights-truncated", "x")
    planned = compute_plan(replace(adapter, weights=None, problems=(said,)), base)
    assert codes(planned, Severity.ERROR) == {"weights-truncated"}


def test_problems_of_reading_are_kept_beside_the_plans_own_issues():
    adapter, base = sound_pair()
    note = make_issue("weights-pickle", "x")
    planned = compute_plan(replace(adapter, problems=(note,)), replace(base, problems=(note,)))
    assert [issue.code for issue in planned.issues].count("weights-pickle") == 1
    assert planned.plan is not None


def test_a_base_without_a_config_is_unsupported():
    adapter, base = sound_pair()
    planned = compute_plan(adapter, replace(base, config=None))
    assert decide_status(planned.issues) is Status.UNSUPPORTED


def test_tensors_of_an_unknown_base_are_not_spoken_for():
    adapter, _ = sound_pair()
    named_otherwise = make_base({"encoder.block.w": (8, 8)}, llama_config())
    planned = compute_plan(adapter, replace(named_otherwise, ref=ref("a/b", "2")))
    assert codes(planned) == set()
    assert planned.plan is not None
    assert planned.spoken_for < 1.0
    assert planned.naive_load.outcome == "unknown"


def test_equal_facts_give_an_equal_answer():
    adapter, base = sound_pair()
    assert compute_plan(adapter, base) == compute_plan(adapter, base)


def test_a_dtype_comes_from_the_config_else_the_header_else_float32():
    adapter, _ = sound_pair()

    def dtype(base):
        return compute_plan(adapter, base).plan.steps[0].kwargs["dtype"]

    plain = llama_config(dtype=None)
    mixed = [
        TensorSpec(name, "F32" if "norm" in name else "F16", shape)
        for name, shape in llama_shapes().items()
    ]
    assert dtype(make_base(llama_shapes(), llama_config(dtype="bfloat16"))) == "bfloat16"
    assert dtype(make_base(tuple(sorted(mixed)), plain)) == "float16"
    assert dtype(make_base({}, plain)) == "float32"
