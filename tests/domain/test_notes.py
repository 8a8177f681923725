"""What is said beside the shapes: of configs, tokenizers, files and tied matrices."""

from dataclasses import replace

import pytest

from registry.domain.facts import WeightsFormat
from registry.domain.issues import Severity
from registry.domain.notes import UNJUDGED_TYPES
from registry.domain.plan import compute_plan
from registry.domain.record import Status, decide_status
from registry.domain.steps import LoadTokenizer
from tests.domain.recorded import (
    PREFIX,
    llama_config,
    llama_shapes,
    lora_config,
    lora_shapes,
    make_adapter,
    make_base,
    tokenizer_of,
)


def plan(shapes=None, config=None, *, base=None, tokenizer=None, base_tokenizer=None, **facts):
    adapter = make_adapter(shapes or lora_shapes(), {**lora_config(), **(config or {})}, tokenizer)
    head = not (base or {}).get("tie_word_embeddings")
    pair = make_base(llama_shapes(head=head), llama_config(**(base or {})), base_tokenizer)
    return compute_plan(replace(adapter, **facts), pair)


def codes(planned):
    return {issue.code for issue in planned.issues}


def issue(planned, code):
    return next(found for found in planned.issues if found.code == code)


@pytest.mark.parametrize(
    ("config", "code"),
    [
        pytest.param({"init_lora_weights": "pissa"}, "rewrites-base-weights", id="PiSSA"),
        pytest.param({"init_lora_weights": "olora"}, "rewrites-base-weights", id="OLoRA"),
        pytest.param({"init_lora_weights": "corda"}, "rewrites-base-weights", id="CorDA"),
        pytest.param({"init_lora_weights": "lora_ga"}, "rewrites-base-weights", id="LoRA-GA"),
        pytest.param({"init_lora_weights": "loftq"}, "rewrites-base-weights", id="LoftQ"),
        pytest.param({"init_lora_weights": "pissa_niter_16"}, "not-reproducible", id="fast PiSSA"),
        pytest.param({"brand_new_option": True}, "config-unknown-keys", id="unknown key"),
    ],
)
def test_a_config_that_does_more_than_shapes_tell_is_warned_of(config, code):
    planned = plan(config=config)
    assert issue(planned, code).severity is Severity.WARNING
    assert planned.plan is not None


@pytest.mark.parametrize("init", [True, False, "gaussian", "eva", "orthogonal"])
def test_an_initialisation_that_leaves_the_base_alone_is_not(init):
    assert codes(plan(config={"init_lora_weights": init})) == {"base-unpinned"}


def test_a_scale_that_the_config_leaves_out_is_said():
    members = {k: v for k, v in lora_config().items() if k != "lora_alpha"}
    adapter = make_adapter(lora_shapes(), members)
    planned = compute_plan(adapter, make_base(llama_shapes(), llama_config()))
    assert "scale-unverifiable" in codes(planned)


@pytest.mark.parametrize(
    ("revision", "unpinned"),
    [(None, True), ("main", True), ("v1.0", True), ("a" * 40, False)],
)
def test_only_a_commit_pins_the_base(revision, unpinned):
    planned = plan(config={"revision": revision})
    assert ("base-unpinned" in codes(planned)) is unpinned


@pytest.mark.parametrize(
    ("base", "code", "status"),
    [
        pytest.param(
            {"model_type": "unheard_of", "auto_map": {"AutoModel": "x.Y"}},
            "base-remote-code",
            Status.UNSUPPORTED,
            id="remote code",
        ),
        pytest.param(
            {"model_type": "unheard_of"},
            "base-architecture-unknown",
            Status.UNSUPPORTED,
            id="unknown type",
        ),
        pytest.param(
            {"model_type": None}, "base-architecture-unknown", Status.UNSUPPORTED, id="no type"
        ),
        pytest.param(
            {"quantization_config": {"quant_method": "gptq"}},
            "base-quantized",
            Status.PLANNED,
            id="quantised",
        ),
    ],
)
def test_a_base_that_we_cannot_judge_is_named(base, code, status):
    planned = plan(base=base)
    assert code in codes(planned)
    assert decide_status(planned.issues) is status


def test_of_a_quantised_base_no_shape_is_compared():
    shapes = {f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight": (4, 999)}
    shapes[f"{PREFIX}model.layers.0.self_attn.q_proj.lora_B.weight"] = (999, 4)
    planned = plan(shapes, base={"quantization_config": {"load_in_4bit": True}})
    assert codes(planned) == {"base-unpinned", "base-quantized"}
    assert planned.spoken_for == 0.0
    assert planned.naive_load.outcome == "unknown"


def test_a_class_that_the_type_does_not_have_is_unsupported():
    planned = plan(config={"task_type": "QUESTION_ANS"}, base={"model_type": "gemma2"})
    assert "base-architecture-unknown" in codes(planned)


@pytest.mark.parametrize("peft_type", sorted(UNJUDGED_TYPES))
def test_types_that_nothing_can_run_are_unsupported(peft_type):
    planned = plan(config={"peft_type": peft_type})
    assert decide_status(planned.issues) is Status.UNSUPPORTED
    assert planned.plan is None


def test_pickled_weights_are_planned_with_a_warning():
    adapter = make_adapter(lora_shapes(), lora_config())
    base = make_base(llama_shapes(), llama_config())
    pickled = replace(adapter.weights, format=WeightsFormat.PICKLE)
    base_pickled = replace(base.weights, format=WeightsFormat.PICKLE)
    planned = compute_plan(replace(adapter, weights=pickled), replace(base, weights=base_pickled))
    assert {"weights-pickle", "base-weights-pickle"} <= codes(planned)
    assert planned.plan is not None


# --- tokenizers and generation ------------------------------------------------------------------


def tokenizer_steps(planned):
    return [step for step in planned.plan.steps if isinstance(step, LoadTokenizer)]


def test_the_adapters_tokenizer_is_loaded_where_it_ships_one():
    planned = plan(tokenizer=tokenizer_of(30), base_tokenizer=tokenizer_of(31))
    assert [(s.of, s.length) for s in tokenizer_steps(planned)] == [("adapter", 30)]
    planned = plan(base_tokenizer=tokenizer_of(31))
    assert [(s.of, s.length) for s in tokenizer_steps(planned)] == [("base", 31)]
    assert tokenizer_steps(plan()) == []


def test_a_tokenizer_of_unknown_length_is_named_and_not_replaced_by_another():
    unknown = replace(tokenizer_of(30), length=None, largest_id=None, reason="SentencePiece alone")
    planned = plan(tokenizer=unknown, base_tokenizer=tokenizer_of(31))
    assert "SentencePiece alone" in issue(planned, "tokenizer-unknown").message
    assert tokenizer_steps(planned) == []
    of_base = plan(base_tokenizer=unknown)
    assert "base" in issue(of_base, "tokenizer-unknown").message


@pytest.mark.parametrize(
    ("own", "theirs", "differs"),
    [
        pytest.param("a", "a", False, id="equal"),
        pytest.param(None, None, False, id="neither"),
        pytest.param("a", "b", True, id="another"),
        pytest.param("a", None, True, id="the base has none"),
        pytest.param(None, "b", True, id="the adapter has none"),
    ],
)
def test_chat_templates_are_compared(own, theirs, differs):
    planned = plan(
        tokenizer=tokenizer_of(30, template=own), base_tokenizer=tokenizer_of(30, template=theirs)
    )
    assert ("chat-template-differs" in codes(planned)) is differs


def test_nothing_is_said_of_what_is_not_at_hand():
    planned = plan(tokenizer=tokenizer_of(30, template="a"), generation_config_digest="sha256:1")
    assert codes(planned) == {"base-unpinned"}


def test_generation_configs_are_compared_by_content():
    adapter = replace(make_adapter(lora_shapes(), lora_config()), generation_config_digest="a")
    base = make_base(llama_shapes(), llama_config())
    same = compute_plan(adapter, replace(base, generation_config_digest="a"))
    other = compute_plan(adapter, replace(base, generation_config_digest="b"))
    assert "generation-config-differs" not in codes(same)
    assert "generation-config-differs" in codes(other)


# --- tied matrices and rows ---------------------------------------------------------------------


@pytest.mark.parametrize("side", ["model.embed_tokens", "lm_head"])
def test_lora_on_a_tied_matrix_warns_of_merging(side):
    shapes = lora_shapes()
    if side == "lm_head":
        shapes |= {
            f"{PREFIX}{side}.lora_A.weight": (4, 8),
            f"{PREFIX}{side}.lora_B.weight": (32, 4),
        }
    else:
        shapes |= {
            f"{PREFIX}{side}.lora_embedding_A": (4, 32),
            f"{PREFIX}{side}.lora_embedding_B": (8, 4),
        }
    targets = {"target_modules": ["q_proj", "v_proj", side.rpartition(".")[2]]}
    tied = plan(shapes, targets, base={"tie_word_embeddings": True})
    assert "merge-unsafe" in codes(tied)
    assert "merge-unsafe" not in codes(plan(shapes, targets))


def test_weights_and_config_of_a_base_that_disagree_are_named():
    planned = plan(base={"vocab_size": 40})
    assert issue(planned, "base-rows-disagree").severity is Severity.WARNING
    assert "base-rows-disagree" not in codes(plan())


def test_names_of_strangers_are_shown_as_one_quoted_line():
    planned = plan(config={"evil\n\x1b[31m": 1})
    message = issue(planned, "config-unknown-keys").message
    assert "\n" not in message
    assert "\x1b" not in message
