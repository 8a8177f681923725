"""Which modules PEFT adapts, and with which rank, by the config alone."""

import json

import pytest

from registry.domain.adapter_config import parse_adapter_config
from registry.domain.targets import make_rank_rule, make_target_rule

Q0, Q1 = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"
EXPERT = "model.layers.1.mlp.experts.0.q_proj"


def config(**members):
    known = {"peft_type": "LORA", "base_model_name_or_path": "a/b", "r": 8, "lora_alpha": 8}
    return parse_adapter_config(json.dumps({**known, **members}).encode())


@pytest.mark.parametrize(
    ("members", "module", "expected"),
    [
        pytest.param({"target_modules": ["q_proj"]}, Q0, True, id="by suffix"),
        pytest.param({"target_modules": ["q_proj"]}, "q_proj", True, id="by the whole name"),
        pytest.param({"target_modules": ["proj"]}, Q0, False, id="not within a segment"),
        pytest.param({"target_modules": ["self_attn.q_proj"]}, Q0, True, id="two segments"),
        pytest.param({"target_modules": ["mlp.q_proj"]}, Q0, False, id="two others"),
        pytest.param({"target_modules": [Q0]}, Q1, False, id="another layer's full name"),
        pytest.param(
            {"target_modules": ["q_proj"], "layers_to_transform": [0]}, Q1, False, id="layers"
        ),
        pytest.param(
            {"target_modules": ["q_proj"], "layers_to_transform": [1]},
            EXPERT,
            True,
            id="the first number is the layer",
        ),
        pytest.param(
            {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "h"},
            Q1,
            None,
            id="a pattern of layers",
        ),
        pytest.param(
            {"target_modules": ["q_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
            Q0,
            False,
            id="excluded",
        ),
        pytest.param(
            {"target_modules": ["q_proj"], "exclude_modules": ".*q_proj"},
            Q0,
            None,
            id="excluded by a pattern",
        ),
        pytest.param(
            {"target_modules": ["q_proj"], "modules_to_save": ["self_attn"]},
            Q0,
            False,
            id="inside a saved module",
        ),
        pytest.param(
            {"target_modules": ["q_proj"], "modules_to_save": ["attn"]},
            Q0,
            True,
            id="a saved name within a segment",
        ),
        pytest.param({"target_modules": "all-linear"}, Q0, None, id="all-linear"),
        pytest.param(
            {"target_parameters": ["experts.gate_up_proj"]}, Q0, None, id="target parameters"
        ),
        pytest.param({"target_modules": None}, Q0, True, id="the type's default"),
    ],
)
def test_a_module_is_targeted_as_peft_targets_it(members, module, expected):
    rule = make_target_rule(config(**members), "llama", None)
    assert rule.matches(module) is expected


def test_no_default_is_known_for_an_unknown_type():
    assert make_target_rule(config(target_modules=None), "unheard-of", None).matches(Q0) is None


def test_a_pattern_is_what_the_child_process_matched():
    members = config(target_modules=r".*\.q_proj")
    assert make_target_rule(members, "llama", frozenset({Q0})).matches(Q0) is True
    assert make_target_rule(members, "llama", frozenset({Q0})).matches(Q1) is False
    assert make_target_rule(members, "llama", None).matches(Q0) is None


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        pytest.param({}, 8, id="none"),
        pytest.param({"q_proj": 2}, 2, id="by suffix"),
        pytest.param({"proj": 2}, 8, id="not within a segment"),
        pytest.param({r"layers\.0\.self_attn\.q_proj": 3}, 3, id="escaped dots"),
        pytest.param({f"^{Q0}": 4}, 4, id="anchored"),
        pytest.param({"^q_proj": 4}, 8, id="anchored at another place"),
        pytest.param({"self_attn.q_proj": 5, "q_proj": 6}, 5, id="the first that matches"),
        pytest.param({"q_proj": 6, "self_attn.q_proj": 5}, 6, id="in the file's order"),
        pytest.param({"q_proj|k_proj": 2}, None, id="a regular expression"),
        pytest.param({r"(a+)+$": 2}, None, id="a hostile one"),
    ],
)
def test_the_rank_is_that_of_the_first_matching_pattern(patterns, expected):
    assert make_rank_rule(config(rank_pattern=patterns))(Q0) == expected


def test_an_absent_rank_is_pefts_default():
    members = {"peft_type": "LORA", "base_model_name_or_path": "a/b", "target_modules": ["q_proj"]}
    assert make_rank_rule(parse_adapter_config(json.dumps(members).encode()))(Q0) == 8
