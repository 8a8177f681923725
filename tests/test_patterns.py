"""Patterns of a config are matched as PEFT does, and a hostile one costs a second."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time

import pytest

from registry.domain.adapter_config import AdapterConfig
from registry.domain.facts import AdapterFacts, BaseFacts, WeightsFacts, WeightsFormat
from registry.domain.refs import CheckpointRef, RepoId, Source
from registry.domain.tensors import Layout, TensorSpec
from registry.errors import ConfigInvalid, PatternTooSlow
from registry.hub.patterns import match_modules, match_patterns

MODULES = [
    f"model.layers.{layer}.{part}"
    for layer in range(3)
    for part in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj")
]
REF = CheckpointRef(Source.HUB, RepoId("acme/some"), None, None, None)


def layout(names: list[str]) -> Layout:
    return tuple(TensorSpec(name, "F32", (4, 4)) for name in sorted(names))


def facts(target: object, exclude: object = None) -> tuple[AdapterFacts, BaseFacts]:
    config = AdapterConfig(
        "LORA", "CAUSAL_LM", "acme/base", None, target_modules=target, exclude_modules=exclude
    )
    file_names = ["base_model.model.model.extra.q_proj.lora_A.weight"]
    weights = WeightsFacts(WeightsFormat.SAFETENSORS, {}, 0, layout(file_names))
    base_weights = WeightsFacts(
        WeightsFormat.SAFETENSORS, {}, 0, layout([f"{name}.weight" for name in MODULES])
    )
    return AdapterFacts(REF, config, weights, None), BaseFacts(REF, None, base_weights, None)


def match(*patterns: str) -> tuple[frozenset[str], ...]:
    return asyncio.run(match_patterns(patterns, MODULES))


@pytest.mark.parametrize(
    "pattern",
    [".*q_proj", "q_proj", r"model\.layers\.[01]\..*(up|v)_proj", ".*", "", "(?i).*Q_PROJ", "$"],
)
def test_a_pattern_matches_what_fullmatch_does(pattern: str) -> None:
    expected = frozenset(name for name in MODULES if re.fullmatch(pattern, name))
    assert match(pattern) == (expected,)


def test_each_pattern_has_its_own_answer() -> None:
    first, second = match(r".*layers\.0\..*", ".*up_proj")
    assert len(first) == 3
    assert second == {name for name in MODULES if name.endswith("up_proj")}


def test_a_string_target_is_matched_in_base_and_adapter_file() -> None:
    matched = asyncio.run(match_modules(*facts(r".*\.q_proj")))
    q_proj = {name for name in MODULES if name.endswith("q_proj")}
    assert matched == q_proj | {"model.extra.q_proj"}


def test_an_excluding_pattern_is_taken_off() -> None:
    matched = asyncio.run(match_modules(*facts(r".*q_proj", r".*layers\.1.*|model\.extra.*")))
    assert matched == {"model.layers.0.self_attn.q_proj", "model.layers.2.self_attn.q_proj"}


@pytest.mark.parametrize("target", [("q_proj",), None, "all-linear", "All-Linear"])
def test_what_is_no_pattern_is_not_matched(target: object) -> None:
    assert asyncio.run(match_modules(*facts(target))) is None


@pytest.mark.parametrize("pattern", ["(", "*", "(?P<a>x)(?P<a>y)", "a{2,1}", "(" * 5000])
def test_what_is_no_regular_expression_is_a_fault_of_the_config(pattern: str) -> None:
    with pytest.raises(ConfigInvalid, match="not a regular expression"):
        match(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(\w+\.?)+!",
        r"(.*)*(.*)*(.*)*(.*)*(.*)*!",
        r"(?:(?:.?){40}){40}(?:.?){400}!",
        "(((((a{100}){100}){100}){100}){100})",
        "(" + "a?" * 20_000 + "){9}" + "a" * 20_000,
    ],
    ids=["nested", "stars", "optional", "repeats", "long"],
)
def test_a_hostile_pattern_ends_within_its_time(pattern: str) -> None:
    began = time.monotonic()
    with contextlib.suppress(PatternTooSlow):
        asyncio.run(match_patterns([pattern], ["model." + "a" * 200]))
    assert time.monotonic() - began < 5


def test_catastrophic_backtracking_is_too_slow() -> None:
    with pytest.raises(PatternTooSlow, match="longer than a second") as caught:
        asyncio.run(match_patterns([r"(\w+\.?)+!"], ["a" * 200]))
    assert caught.value.code == "config-pattern-too-slow"
