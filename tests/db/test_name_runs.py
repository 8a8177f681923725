"""Folding numbered names never loses or invents a tensor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.db.name_runs import fold, unfold
from registry.domain.tensors import TensorSpec

SEGMENTS = st.sampled_from(
    ["model", "layers", "experts", "0", "1", "2", "10", "007", "-1", "*", "", "w", "٣", "9" * 12]
)
NAMES = st.one_of(
    st.lists(SEGMENTS, min_size=1, max_size=6).map(".".join),
    st.text(max_size=12),
)
TENSORS = st.builds(
    TensorSpec,
    name=NAMES,
    dtype=st.sampled_from(["BF16", "F32"]),
    shape=st.sampled_from([(), (2,), (8, 4)]),
)


@given(st.lists(TENSORS, unique_by=lambda tensor: tensor.name, max_size=40))
def test_folding_and_unfolding_gives_the_same_tensors(tensors):
    layout = tuple(sorted(tensors))
    assert unfold(fold(layout)) == layout


def test_a_lora_on_seven_modules_of_32_layers_is_fourteen_runs():
    layout = tuple(
        sorted(
            TensorSpec(
                f"base_model.model.model.layers.{layer}.{module}.{part}.weight", "F32", shape
            )
            for layer in range(32)
            for module in ("q", "k", "v", "o", "up", "gate", "down")
            for part, shape in (("lora_A", (8, 64)), ("lora_B", (64, 8)))
        )
    )
    runs = fold(layout)
    assert len(runs) == 14
    assert all(run.members == [[[[0, 31]]]] for run in runs)
    assert unfold(runs) == layout


def test_experts_of_layers_are_one_product_and_a_gap_is_kept():
    layout = tuple(
        sorted(
            TensorSpec(f"model.layers.{layer}.mlp.experts.{expert}.w", "F32", (4, 4))
            for layer in range(1, 5)
            for expert in range(8)
            if (layer, expert) != (3, 5)
        )
    )
    (run,) = fold(layout)
    assert run.members == [
        [[[1, 2], [4, 4]], [[0, 7]]],
        [[[3, 3]], [[0, 4], [6, 7]]],
    ]
    assert unfold([run]) == layout


def test_a_star_in_a_name_is_a_star():
    layout = (
        TensorSpec("model.layers.*.w", "F32", (1,)),
        TensorSpec("model.layers.0.w", "F32", (1,)),
    )
    layout = tuple(sorted(layout))
    assert unfold(fold(layout)) == layout
