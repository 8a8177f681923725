"""Figures and advice: parameters, bytes, rank, whole matrices, new tokens."""

import pytest

from registry.domain.issues import Severity
from registry.domain.plan import compute_plan
from registry.domain.record import RecordFacts
from registry.domain.summary import compute_facts
from tests.domain.recorded import (
    PREFIX,
    layout_of,
    llama_config,
    llama_shapes,
    lora_config,
    lora_shapes,
    make_adapter,
    make_base,
    tokenizer_of,
)

BOTH = ["embed_tokens", "lm_head"]
BASE = 2 * 32 * 8 + 8 + 2 * (8 + 8 * 8 * 2 + 2 * 4 * 8 + 3 * 8 * 12)
LORA = 2 * (2 * 4 * 8 + 4 * 8 + 4 * 4)


def pair(shapes=None, config=None, **base):
    adapter = make_adapter(shapes or lora_shapes(), {**lora_config(), **(config or {})})
    head = not base.get("tie_word_embeddings")
    return adapter, make_base(llama_shapes(head=head), llama_config(**base))


def advice(adapter, base):
    issues = compute_plan(adapter, base).issues
    return {issue.code: issue.message for issue in issues if issue.severity is Severity.ADVICE}


def test_trainable_is_what_the_file_holds_and_all_is_the_base_beside_it():
    facts = compute_facts(*pair())
    assert facts.trainable_parameters == LORA
    assert facts.trainable_fraction == round(LORA / (BASE + LORA), 6)
    assert facts.memory_bytes == 2 * (BASE + LORA)


def test_saved_matrices_count_beside_their_originals_in_the_resized_base():
    shapes = lora_shapes(rows=40)
    facts = compute_facts(*pair(shapes, {"modules_to_save": BOTH}))
    trainable = LORA + 2 * 40 * 8
    everything = BASE + 2 * 8 * 8 + trainable
    assert facts.trainable_parameters == trainable
    assert facts.trainable_fraction == round(trainable / everything, 6)


def test_matrices_that_replace_the_bases_own_are_not_trained_beside_it():
    facts = compute_facts(*pair(lora_shapes(rows=40)))
    assert facts.trainable_parameters == LORA
    assert facts.memory_bytes == 2 * (BASE + 2 * 8 * 8 + LORA)


def test_a_tied_head_is_counted_once():
    facts = compute_facts(*pair(tie_word_embeddings=True))
    assert facts.memory_bytes == 2 * (BASE - 32 * 8 + LORA)
    assert facts.tie_word_embeddings is True


def test_a_quantised_base_is_weighed_by_its_files():
    adapter, base = pair(quantization_config={"quant_method": "awq"})
    facts = compute_facts(adapter, base)
    assert facts.memory_bytes == base.weights.size_bytes + 2 * LORA
    assert facts.trainable_fraction is None


def test_facts_of_an_adapter_alone_leave_the_rest_unknown():
    adapter = make_adapter(
        layout_of(lora_shapes(), "BF16"), lora_config(modules_to_save=[]), tokenizer_of(30)
    )
    facts = compute_facts(adapter)
    assert facts == RecordFacts(
        peft_type="LORA",
        task_type="CAUSAL_LM",
        rank=4,
        ranks={"4": 4},
        lora_alpha=8,
        target_modules=("q_proj", "v_proj"),
        modules_to_save=(),
        weights_file="adapter_model.safetensors",
        weights_bytes=adapter.weights.size_bytes,
        tensor_count=8,
        dtypes={"BF16": 8},
        tokenizer_length=30,
        declared_base="a/b",
        other_adapters=(),
    )


def test_several_ranks_are_counted_by_module():
    shapes = lora_shapes(["q_proj"]) | lora_shapes(["v_proj"], r=2)
    facts = compute_facts(*pair(shapes, {"rank_pattern": {"v_proj": 2}}))
    assert facts.ranks == {"2": 2, "4": 2}


@pytest.mark.parametrize(
    ("rank", "said"),
    [
        pytest.param(8, False, id="usual"),
        pytest.param(16, False, id="usual, on a tiny base"),
        pytest.param(64, True, id="a large share of this base"),
        pytest.param(1024, True, id="far above"),
    ],
)
def test_a_high_rank_is_advised_against_with_this_adapters_figures(rank, said):
    shapes = lora_shapes(r=rank)
    found = advice(*pair(shapes, {"r": rank}))
    assert ("rank-high" in found) is said
    if said:
        assert str(rank) in found["rank-high"]
        assert "%" in found["rank-high"]


def test_whole_matrices_are_weighed():
    found = advice(*pair(lora_shapes(rows=32), {"modules_to_save": BOTH}))
    share = 2 * 32 * 8 / (2 * 32 * 8 + LORA)
    assert f"({share:.0%})" in found["full-embeddings-saved"]
    assert "2 whole vocabulary matrices" in found["full-embeddings-saved"]


def test_new_rows_need_text_that_uses_them():
    found = advice(*pair(lora_shapes(rows=40), {"modules_to_save": BOTH}))
    assert "8 vocabulary rows" in found["new-tokens-need-training"]
    assert "new-tokens-need-training" not in advice(
        *pair(lora_shapes(rows=24), {"modules_to_save": BOTH})
    )


def test_copies_are_advised_against():
    shapes = lora_shapes(rows=32)
    shapes[f"{PREFIX}lm_head.modules_to_save.default.weight"] = (32, 8)
    shapes[f"{PREFIX}lm_head.original_module.weight"] = (32, 8)
    found = advice(*pair(shapes, {"modules_to_save": BOTH}))
    assert "And 1 more" in found["duplicate-tensors-saved"]
