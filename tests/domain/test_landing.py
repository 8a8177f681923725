"""Where tensors land, by shapes alone: what PEFT drops, lacks, replaces or refuses."""

import pytest

from registry.domain.issues import Severity
from registry.domain.plan import compute_plan
from registry.domain.steps import LoadAdapter, RenameKeys
from registry.domain.summary import compute_facts
from tests.domain.recorded import (
    PREFIX,
    llama_config,
    llama_shapes,
    lora_config,
    lora_shapes,
    make_adapter,
    make_base,
)

Q = f"{PREFIX}model.layers.0.self_attn.q_proj"
BASE = make_base(llama_shapes(), llama_config())


def plan(shapes, base=BASE, **config):
    return compute_plan(make_adapter(shapes, lora_config() | config), base)


def errors(planned):
    return {issue.code for issue in planned.issues if issue.severity is Severity.ERROR}


def renamed(shapes, old, new):
    return {name.replace(old, new): shape for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("shapes", "config", "code", "naive"),
    [
        pytest.param(
            lora_shapes(["q_proj", "v_proj", "o_proj"]),
            {},
            "tensors-unexpected",
            "loads-wrong",
            id="a module that the config does not target",
        ),
        pytest.param(
            lora_shapes(["q_proj"]), {}, "tensors-missing", "loads-wrong", id="a target not saved"
        ),
        pytest.param(
            lora_shapes(layers=3), {}, "layers-outside-base", "loads-wrong", id="a third layer"
        ),
        pytest.param(
            {**lora_shapes(), f"{Q}.lora_A.weight": (4, 16)},
            {},
            "shape-mismatch",
            "raises",
            id="another input width",
        ),
        pytest.param(
            {**lora_shapes(), f"{Q}.lora_B.weight": (16, 4)},
            {},
            "shape-mismatch",
            "raises",
            id="another output width",
        ),
        pytest.param(
            {**lora_shapes(), f"{PREFIX}model.norm.weight": (9,)},
            {},
            "shape-mismatch",
            "raises",
            id="a base parameter of another size",
        ),
        pytest.param(
            {**lora_shapes(), f"{PREFIX}model.norm.bias": (8,)},
            {"bias": "all"},
            "tensors-unexpected",
            "loads-wrong",
            id="a bias that the base does not have",
        ),
        pytest.param(
            {**lora_shapes(), f"{PREFIX}lm_head.weight": (32, 9)},
            {"modules_to_save": ["lm_head"]},
            "shape-mismatch",
            "raises",
            id="a saved module of another width",
        ),
        pytest.param(
            lora_shapes(),
            {"modules_to_save": ["norm"]},
            "modules-to-save-missing",
            "raises",
            id="a saved module that is not in the file",
        ),
    ],
)
def test_a_faulty_file_is_named_by_its_first_tensor(shapes, config, code, naive):
    planned = plan(shapes, **config)
    assert errors(planned) == {code}
    found = next(issue for issue in planned.issues if issue.code == code)
    assert found.tensor is not None
    assert planned.naive_load.outcome == naive
    assert planned.plan is None


def test_the_base_parameters_that_a_file_replaces_are_declared():
    planned = plan({**lora_shapes(), f"{PREFIX}model.norm.weight": (8,)})
    load = planned.plan.steps[-1]
    assert isinstance(load, LoadAdapter)
    assert load.overwrites == ("model.norm.weight",)
    assert "base-overwritten" in {issue.code for issue in planned.issues}


def test_conv1d_weights_are_stored_the_other_way():
    shapes = {"transformer.wte.weight": (32, 8), "transformer.h.0.attn.c_attn.weight": (8, 24)}
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 32}
    stem = f"{PREFIX}transformer.h.0.attn.c_attn"
    adapter = {f"{stem}.lora_A.weight": (4, 8), f"{stem}.lora_B.weight": (24, 4)}
    gpt2 = make_base(shapes, {**config, "n_layer": 1, "n_embd": 8})
    assert errors(plan(adapter, gpt2, target_modules=["c_attn"])) == set()
    swapped = {f"{stem}.lora_A.weight": (4, 24), f"{stem}.lora_B.weight": (8, 4)}
    assert errors(plan(swapped, gpt2, target_modules=["c_attn"])) == {"shape-mismatch"}


# --- names --------------------------------------------------------------------------------------


def renames(planned):
    return next(step for step in planned.plan.steps if isinstance(step, RenameKeys))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(PREFIX, f"{PREFIX}_orig_mod.", id="torch.compile"),
        pytest.param(PREFIX, f"{PREFIX}{PREFIX}", id="doubled"),
        pytest.param(PREFIX, "", id="without a prefix"),
        pytest.param(f"{PREFIX}model.", PREFIX, id="model. lost"),
        pytest.param(".weight", ".default.weight", id="the adapter's name left in"),
    ],
)
def test_a_certain_name_is_restored(old, new):
    shapes = lora_shapes()
    planned = plan(renamed(shapes, old, new))
    assert errors(planned) == set()
    assert set(renames(planned).renames.values()) == set(shapes)


def test_a_name_that_means_nothing_is_an_error():
    planned = plan({**lora_shapes(), "state.17": (4, 4)})
    assert errors(planned) == {"key-names-nonstandard"}


def test_equal_copies_are_dropped_and_others_are_an_error():
    copy = Q.replace(PREFIX, f"{PREFIX}_orig_mod.") + ".lora_A.weight"
    same = plan({**lora_shapes(), copy: (4, 8)})
    assert errors(same) == set()
    assert renames(same) == RenameKeys({}, (copy,))
    other = plan({**lora_shapes(), copy: (5, 8)})
    assert errors(other) == {"key-names-nonstandard"}


# --- classifiers --------------------------------------------------------------------------------


def encoder(labels=None):
    shapes = {
        "bert.embeddings.word_embeddings.weight": (32, 8),
        "bert.encoder.layer.0.attention.self.query.weight": (8, 8),
        "bert.encoder.layer.0.attention.self.query.bias": (8,),
    }
    if labels is not None:
        shapes |= {"classifier.weight": (labels, 8), "classifier.bias": (labels,)}
    config = {"model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": 32}
    return make_base(shapes, {**config, "hidden_size": 8, "num_hidden_layers": 1})


def classifier(labels):
    stem = f"{PREFIX}bert.encoder.layer.0.attention.self.query"
    return {
        f"{stem}.lora_A.weight": (4, 8),
        f"{stem}.lora_B.weight": (8, 4),
        f"{PREFIX}classifier.weight": (labels, 8),
        f"{PREFIX}classifier.bias": (labels,),
    }


CLASSIFIER = {"task_type": "SEQ_CLS", "target_modules": ["query"]}


@pytest.mark.parametrize(("labels", "naive"), [(2, "loads"), (5, "raises"), (1, "raises")])
def test_the_classifiers_rows_are_the_number_of_labels(labels, naive):
    planned = plan(classifier(labels), encoder(), **CLASSIFIER)
    assert errors(planned) == set()
    assert planned.plan.steps[0].kwargs["num_labels"] == labels
    assert planned.naive_load.outcome == naive


def test_a_base_with_a_classifier_of_its_own_must_agree():
    assert errors(plan(classifier(5), encoder(5), **CLASSIFIER)) == set()
    assert "shape-mismatch" in errors(plan(classifier(5), encoder(3), **CLASSIFIER))


def test_a_head_built_for_the_task_counts_in_the_base_and_in_the_adapter():
    adapter = make_adapter(classifier(3), lora_config() | CLASSIFIER)
    facts = compute_facts(adapter, encoder())
    head, lora, bare = 3 * 8 + 3, 2 * 4 * 8, 32 * 8 + 8 * 8 + 8
    assert facts.trainable_parameters == head + lora
    assert facts.trainable_fraction == round((head + lora) / (bare + 2 * head + lora), 6)


SHARED = "model.layers.1.mlp.shared_experts.down_proj"
SHARED_LORA = {
    f"{PREFIX}{SHARED}.lora_A.weight": (4, 12),
    f"{PREFIX}{SHARED}.lora_B.weight": (8, 4),
}


@pytest.mark.parametrize("exact", [True, False])
def test_a_module_that_the_library_renames_again_takes_nothing(exact):
    shapes = llama_shapes() | {f"{SHARED}.weight": (8, 12)}
    targets = ["q_proj", "v_proj", "down_proj"]
    answers = {}
    for model_type in ("laguna", "llama"):
        base = make_base(shapes, llama_config(model_type=model_type), exact=exact)
        file = lora_shapes(targets) | SHARED_LORA
        answers[model_type] = plan(file, base, target_modules=targets)
    assert errors(answers["llama"]) == set()
    assert errors(answers["laguna"]) == {"tensors-unexpected"}
    found = next(i for i in answers["laguna"].issues if i.code == "tensors-unexpected")
    assert found.tensor in SHARED_LORA
    assert "And 1 more" in found.message
    assert answers["laguna"].naive_load.outcome == "loads-wrong"


def test_a_saved_module_of_unknown_shape_may_stop_a_load_that_would_else_go_wrong():
    # The base's files call their embedding by a name that tells nothing.
    shapes = {name.replace("embed_tokens", "e"): s for name, s in llama_shapes().items()}
    base = make_base(shapes, llama_config(model_type="laguna"))
    config = {"target_modules": ["down_proj"], "modules_to_save": ["embed_tokens"]}
    saved = {f"{PREFIX}model.embed_tokens.weight": (40, 8)}
    assert plan(SHARED_LORA, base, **config).naive_load.outcome != "unknown"
    assert plan(SHARED_LORA | saved, base, **config).naive_load.outcome == "unknown"


@pytest.mark.parametrize(
    ("table", "code"), [("decoder.word_embeddings", None), ("other", "shape-mismatch")]
)
def test_a_decoder_that_stands_alone_shares_its_embedding(table, code):
    shapes = {
        "prophetnet.word_embeddings.weight": (32, 8),
        "prophetnet.other.weight": (32, 8),
        "prophetnet.decoder.layers.0.self_attn.query_proj.weight": (8, 8),
    }
    config = llama_config(
        model_type="prophetnet",
        architectures=["ProphetNetForCausalLM"],
        is_encoder_decoder=False,
        tie_word_embeddings=True,
    )
    adapter = lora_config(["query_proj"], modules_to_save=["word_embeddings", "other", "lm_head"])
    query = f"{PREFIX}prophetnet.decoder.layers.0.self_attn.query_proj"
    file = {f"{query}.lora_A.weight": (4, 8), f"{query}.lora_B.weight": (8, 4)}
    rows = dict.fromkeys(("lm_head", "prophetnet.word_embeddings", f"prophetnet.{table}"), (40, 8))
    saved = {f"{PREFIX}{name}.weight": shape for name, shape in rows.items()}
    if table != "other":
        saved[f"{PREFIX}prophetnet.other.weight"] = (32, 8)
    planned = compute_plan(make_adapter(file | saved, adapter), make_base(shapes, config))
    assert errors(planned) - {"new-rows-untrained"} == ({code} if code else set())
