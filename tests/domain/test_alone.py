"""What an adapter's own files decide while nothing is known of its base."""

import pytest

from registry.domain.alone import judge_adapter
from registry.domain.issues import Severity, make_issue
from registry.domain.plan import compute_plan
from registry.domain.record import Status, decide_status
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


def without(shapes, *names):
    return {name: shape for name, shape in shapes.items() if name not in names}


CASES = [
    pytest.param(lora_shapes(), {"r": 8}, "rank-mismatch", id="another rank"),
    pytest.param({**lora_shapes(), f"{Q}.lora_A.weight": (0,)}, {}, "empty-tensors", id="emptied"),
    pytest.param(
        {**lora_shapes(), f"{Q}.lora_magnitude_vector": (8,)},
        {},
        "dora-flag-missing",
        id="DoRA without the flag",
    ),
    pytest.param(
        without(lora_shapes(), f"{Q}.lora_B.weight"), {}, "tensors-missing", id="half a pair"
    ),
    pytest.param(
        lora_shapes(),
        {"task_type": "SEQ_CLS"},
        "modules-to-save-missing",
        id="a classifier without a head",
    ),
    pytest.param(
        lora_shapes(), {"peft_type": "XLORA"}, "peft-type-unsupported", id="a type nobody can run"
    ),
]


@pytest.mark.parametrize(("shapes", "config", "code"), CASES)
def test_these_faults_need_no_base(shapes, config, code):
    adapter = make_adapter(shapes, lora_config() | config)
    alone = {i.code for i in judge_adapter(adapter) if i.severity is Severity.ERROR}
    assert code in alone
    base = make_base(llama_shapes(), llama_config())
    assert alone <= {issue.code for issue in compute_plan(adapter, base).issues}


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param(lora_shapes(), id="plain"),
        pytest.param(lora_shapes(rows=40), id="grown"),
        pytest.param({"nobody.knows.this": (2, 2)}, id="unknown names"),
    ],
)
def test_nothing_else_is_held_against_it(shapes):
    found = judge_adapter(make_adapter(shapes, lora_config()))
    assert not [issue for issue in found if issue.severity is Severity.ERROR]


@pytest.mark.parametrize(("shapes", "config", "code"), CASES)
def test_a_fault_of_its_own_comes_before_a_gated_base(shapes, config, code):
    adapter = make_adapter(shapes, lora_config() | config)
    gated = make_issue("base-gated", "x")
    unsupported = code == "peft-type-unsupported"
    expected = Status.UNSUPPORTED if unsupported else Status.INCOMPATIBLE
    assert decide_status((*judge_adapter(adapter), gated)) is expected


def test_a_sound_adapter_waits_for_its_gated_base():
    gated = make_issue("base-gated", "x")
    sound = make_adapter(lora_shapes(), lora_config())
    assert decide_status((*judge_adapter(sound), gated)) is Status.BLOCKED
