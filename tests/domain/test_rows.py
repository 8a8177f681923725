"""Vocabulary rows: which resize, what is filled, what is refused (domain rules 1 and 3)."""

import pytest

from registry.domain.issues import Severity
from registry.domain.plan import compute_plan
from registry.domain.steps import FillRows, ResizeEmbeddings
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

BOTH = ["embed_tokens", "lm_head"]
EMBED, HEAD = f"{PREFIX}model.embed_tokens", f"{PREFIX}lm_head"
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}"
)


def plan(
    shapes,
    *,
    rows=32,
    output_rows=None,
    saved=BOTH,
    tokenizer=None,
    base_tokenizer=None,
    base=None,
    **config,
):
    adapter = make_adapter(shapes, lora_config(modules_to_save=saved, **config), tokenizer)
    head = not (base or {}).get("tie_word_embeddings")
    tree = llama_shapes(rows, head=head, output_rows=output_rows)
    return compute_plan(
        adapter, make_base(tree, llama_config(rows, **(base or {})), base_tokenizer)
    )


def steps_of(planned, kind):
    return [] if planned.plan is None else [s for s in planned.plan.steps if isinstance(s, kind)]


def codes(planned, *severities):
    wanted = severities or (Severity.ERROR, Severity.WARNING)
    return {issue.code for issue in planned.issues if issue.severity in wanted}


# --- rule 1 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "base_rows", "code"),
    [
        pytest.param(33, 32, "vocabulary-grown", id="one more"),
        pytest.param(64, 32, "vocabulary-grown", id="padded to a multiple"),
        pytest.param(31, 32, "vocabulary-shrunk", id="one less"),
        pytest.param(16, 32, "vocabulary-shrunk", id="half"),
    ],
)
def test_the_base_is_resized_to_the_files_rows_and_nothing_else(rows, base_rows, code):
    planned = plan(lora_shapes(rows=rows), rows=base_rows)
    assert steps_of(planned, ResizeEmbeddings) == [ResizeEmbeddings(rows)]
    issue = next(issue for issue in planned.issues if issue.code == code)
    assert issue.severity is Severity.INFO
    assert (issue.file_shape, issue.base_shape) == ((rows, 8), (base_rows, 8))
    assert str(rows) in issue.message
    assert str(base_rows) in issue.message


def test_equal_rows_need_no_resize():
    planned = plan(lora_shapes(rows=32))
    assert steps_of(planned, ResizeEmbeddings) == []
    assert codes(planned) == set()


def test_a_tokenizer_never_decides_the_rows():
    longer = tokenizer_of(33, [(32, "<pad>")], pad_token="<pad>")
    shorter = tokenizer_of(20)
    for tokenizer in (longer, shorter):
        assert steps_of(plan(lora_shapes(rows=40), tokenizer=tokenizer), ResizeEmbeddings) == [
            ResizeEmbeddings(40)
        ]
        assert steps_of(plan(lora_shapes(rows=32), tokenizer=tokenizer), ResizeEmbeddings) == []


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [
        pytest.param(f"{EMBED}.weight", (40, 8), id="saved embedding"),
        pytest.param(f"{EMBED}.base_layer.weight", (40, 8), id="embedding below LoRA"),
        pytest.param(f"{EMBED}.lora_embedding_A", (4, 40), id="LoRA of the embedding"),
        pytest.param(f"{HEAD}.weight", (40, 8), id="saved head"),
        pytest.param(f"{HEAD}.base_layer.weight", (40, 8), id="head below LoRA"),
        pytest.param(f"{HEAD}.lora_B.weight", (40, 4), id="LoRA of the head"),
    ],
)
def test_every_dimension_that_pins_rows_is_evidence(tensor, shape):
    # The other side pins another number: only if both are read do they contradict each other.
    other = f"{HEAD}.weight" if tensor.startswith(EMBED) else f"{EMBED}.weight"
    planned = plan({**lora_shapes(), tensor: shape, other: (48, 8)})
    conflict = next(i for i in planned.issues if i.code == "vocabulary-conflict")
    assert conflict.severity is Severity.ERROR
    assert "40" in conflict.message
    assert "48" in conflict.message
    assert planned.plan is None


@pytest.mark.parametrize(
    ("embedding", "head"),
    [
        pytest.param(40, 48, id="both grown, differently"),
        pytest.param(40, 32, id="the head kept its rows"),
        pytest.param(32, 40, id="the embedding kept its rows"),
        pytest.param(40, 24, id="one grown, one shrunk"),
    ],
)
def test_contradicting_sides_are_a_conflict(embedding, head):
    shapes = {**lora_shapes(), f"{EMBED}.weight": (embedding, 8), f"{HEAD}.weight": (head, 8)}
    assert codes(plan(shapes)) == {"vocabulary-conflict"}


def test_two_numbers_on_one_side_are_a_conflict():
    shapes = {**lora_shapes(), f"{HEAD}.lora_B.weight": (40, 4), f"{HEAD}.weight": (41, 8)}
    assert "vocabulary-conflict" in codes(plan(shapes))


def test_each_side_is_compared_with_its_own_rows():
    """Llama-3.2-Vision has 128264 input and 128256 output rows."""
    shapes = {**lora_shapes(), f"{EMBED}.weight": (40, 8), f"{HEAD}.weight": (32, 8)}
    planned = plan(shapes, rows=40, output_rows=32)
    assert steps_of(planned, ResizeEmbeddings) == []
    assert codes(planned) == set()


def test_a_resize_of_a_model_that_keeps_old_rows_elsewhere_is_unsupported():
    planned = plan(lora_shapes(rows=40), base={"model_type": "fsmt"})
    assert "resize-incomplete" in codes(planned, Severity.ERROR)


# --- ids ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        pytest.param({"tokenizer": tokenizer_of(30)}, id="the adapter's tokenizer"),
        pytest.param({"base_tokenizer": tokenizer_of(30)}, id="the base's tokenizer"),
        pytest.param({"base": {"eos_token_id": [2, 28]}}, id="the base's config"),
        pytest.param({"trainable_token_indices": [3, 28]}, id="trained tokens"),
    ],
)
def test_a_shrunk_vocabulary_must_keep_every_id_in_use(use):
    shapes = lora_shapes(rows=24)
    if "trainable_token_indices" in use:
        shapes[f"{EMBED}.token_adapter.trainable_tokens_delta"] = (2, 8)
    planned = plan(shapes, **use)
    assert "token-index-out-of-range" in codes(planned, Severity.ERROR)
    assert planned.plan is None


def test_a_shrunk_vocabulary_may_lose_ids_that_nothing_uses():
    planned = plan(lora_shapes(rows=24), tokenizer=tokenizer_of(24))
    assert codes(planned) == set()
    assert steps_of(planned, ResizeEmbeddings) == [ResizeEmbeddings(24)]


def test_ids_above_the_files_own_rows_have_no_row():
    added = [(40, "<a>"), (41, "<b>")]
    planned = plan(lora_shapes(rows=40), tokenizer=tokenizer_of(42, added))
    assert "token-index-out-of-range" in codes(planned, Severity.ERROR)


def test_trained_ids_must_have_rows():
    shapes = {**lora_shapes(), f"{EMBED}.token_adapter.trainable_tokens_delta": (2, 8)}
    for indices in ([3, 32], [-1, 3]):
        planned = plan(shapes, saved=None, trainable_token_indices=indices)
        assert codes(planned, Severity.ERROR) == {"token-index-out-of-range"}
    assert codes(plan(shapes, saved=None, trainable_token_indices=[3, 31])) == set()


# --- rule 3 (a): no row evidence ---------------------------------------------------------------


def test_a_padding_token_above_the_rows_is_harmless():
    tokenizer = tokenizer_of(33, [(32, "[PAD]")], pad_token="[PAD]", eos_token="</s>")
    planned = plan(lora_shapes(), saved=None, tokenizer=tokenizer)
    assert steps_of(planned, ResizeEmbeddings) == []
    assert codes(planned) == set()
    assert "tokenizer-longer-than-rows" in codes(planned, Severity.INFO)


@pytest.mark.parametrize(
    "tokenizer",
    [
        pytest.param(tokenizer_of(33, [(32, "<tool>")]), id="no padding token"),
        pytest.param(
            tokenizer_of(34, [(32, "<tool>"), (33, "[PAD]")], pad_token="[PAD]"),
            id="another token beside it",
        ),
        pytest.param(
            tokenizer_of(33, [(32, "<end>")], pad_token="<end>", eos_token="<end>"),
            id="padding that also ends texts",
        ),
        pytest.param(
            tokenizer_of(40, [(32, "[PAD]")], pad_token="[PAD]"), id="a longer vocabulary"
        ),
    ],
)
def test_used_tokens_without_published_rows_are_an_error(tokenizer):
    planned = plan(lora_shapes(), saved=None, tokenizer=tokenizer)
    assert codes(planned, Severity.ERROR) == {"new-rows-untrained"}
    assert planned.naive_load.outcome == "loads-wrong"


def test_a_tokenizer_shorter_than_the_rows_is_normal():
    planned = plan(lora_shapes(), saved=None, tokenizer=tokenizer_of(30))
    assert codes(planned, *Severity) == {"base-unpinned"}


def test_the_bases_own_longer_tokenizer_is_not_the_adapters_fault():
    planned = plan(lora_shapes(), saved=None, base_tokenizer=tokenizer_of(40))
    assert codes(planned) == set()


# --- rule 3 (b) and (c): one side --------------------------------------------------------------


def test_an_unfilled_head_is_filled_with_the_mean_and_said():
    planned = plan(lora_shapes(rows=40, saved=["model.embed_tokens"]), saved=["embed_tokens"])
    assert steps_of(planned, FillRows) == [FillRows("output", 32, 40)]
    assert codes(planned) == {"new-rows-untrained"}


def test_a_tied_head_is_filled_when_the_embedding_is_a_copy():
    planned = plan(
        lora_shapes(rows=40, saved=["model.embed_tokens"]),
        saved=["embed_tokens"],
        base={"tie_word_embeddings": True},
    )
    assert steps_of(planned, FillRows) == [FillRows("output", 32, 40)]
    assert codes(planned) == {"new-rows-untrained"}


def test_a_tied_embedding_in_the_bases_place_fills_both_sides():
    planned = plan(
        lora_shapes(rows=40, saved=["model.embed_tokens"]),
        saved=None,
        base={"tie_word_embeddings": True},
    )
    assert steps_of(planned, FillRows) == []
    assert codes(planned) == {"base-overwritten"}


@pytest.mark.parametrize(
    ("tokenizer", "base"),
    [
        pytest.param(
            tokenizer_of(34, [(33, "<end>")], eos_token="<end>"), None, id="the tokenizer's end"
        ),
        pytest.param(None, {"eos_token_id": 35}, id="the config's end"),
        pytest.param(
            tokenizer_of(35, [(33, "<|im_start|>"), (34, "<|im_end|>")], template=CHATML),
            None,
            id="a token of the template's answer",
        ),
    ],
)
def test_an_unfilled_head_that_must_write_new_ids_is_an_error(tokenizer, base):
    planned = plan(
        lora_shapes(rows=40, saved=["model.embed_tokens"]),
        saved=["embed_tokens"],
        tokenizer=tokenizer,
        base=base,
    )
    assert codes(planned, Severity.ERROR) == {"new-rows-untrained"}


def test_a_token_of_the_question_need_not_be_written():
    tokenizer = tokenizer_of(34, [(33, "<|im_start|>")], template=CHATML)
    planned = plan(
        lora_shapes(rows=40, saved=["model.embed_tokens"]),
        saved=["embed_tokens"],
        tokenizer=tokenizer,
    )
    assert codes(planned, Severity.ERROR) == set()


def test_unfilled_input_rows_that_the_tokenizer_feeds_are_an_error():
    shapes = lora_shapes(rows=40, saved=["lm_head"])
    fed = plan(shapes, saved=["lm_head"], tokenizer=tokenizer_of(36, [(35, "<tool>")]))
    assert codes(fed, Severity.ERROR) == {"new-rows-untrained"}
    not_fed = plan(shapes, saved=["lm_head"], tokenizer=tokenizer_of(32))
    assert codes(not_fed) == set()
    assert steps_of(not_fed, FillRows) == [FillRows("input", 32, 40)]
    unknown = plan(shapes, saved=["lm_head"])
    assert codes(unknown) == {"new-rows-untrained"}
    assert codes(unknown, Severity.ERROR) == set()


def test_lora_on_grown_tables_without_the_tables_fills_both_sides():
    shapes = {
        **lora_shapes(),
        f"{EMBED}.lora_embedding_A": (4, 40),
        f"{EMBED}.lora_embedding_B": (8, 4),
        f"{HEAD}.lora_A.weight": (4, 8),
        f"{HEAD}.lora_B.weight": (40, 4),
    }
    planned = plan(
        shapes, saved=None, target_modules=["q_proj", "v_proj", "embed_tokens", "lm_head"]
    )
    assert steps_of(planned, FillRows) == [FillRows("input", 32, 40), FillRows("output", 32, 40)]


def test_a_claim_of_endless_rows_costs_nothing():
    planned = plan(lora_shapes(rows=2**50), tokenizer=tokenizer_of(32), saved=BOTH)
    assert steps_of(planned, ResizeEmbeddings) == [ResizeEmbeddings(2**50)]


def test_rows_of_a_base_without_weights_are_not_guessed():
    adapter = make_adapter(lora_shapes(rows=40), lora_config(modules_to_save=BOTH))
    planned = compute_plan(adapter, make_base({}, llama_config(32)))
    assert planned.spoken_for < 1
    assert planned.naive_load.outcome == "unknown"
