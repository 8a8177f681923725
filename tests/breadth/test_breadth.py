"""A fast slice of the breadth of model types, and the page that the whole run makes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.record import Record
from registry.planning import plan_pair
from tests.breadth.model_types import FAMILIES, SLICE, list_types
from tests.breadth.running import Document, run_trials
from tests.breadth.table import explain, render, summarize

pytest.importorskip("peft", reason="needs the runner extra")
trial = pytest.importorskip("tests.breadth.trial", reason="needs the runner extra")


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, str], Document]:
    named = [*SLICE, ("causal", "no_such_type")]
    return dict(zip(named, run_trials(named, processes=1), strict=True))


@pytest.mark.parametrize(("family", "model_type"), SLICE)
def test_what_peft_saves_lands_and_the_rules_agree(
    family: str, model_type: str, answers: dict[tuple[str, str], Document]
) -> None:
    answer = answers[family, model_type]
    assert answer["outcome"] == "landed", answer
    assert answer["disagreements"] == []
    assert answer["tensors"] > 0


@pytest.mark.parametrize(("model_type", "found"), [("llama", 1), ("laguna", 0)])
def test_a_refusal_of_what_loads_as_it_was_trained_is_a_disagreement(
    model_type: str, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(adapter: AdapterFacts, base: BaseFacts) -> Record:
        return replace(plan_pair(adapter, base), plan=None, issues=(), naive_load=None)

    monkeypatch.setattr(trial, "plan_pair", refuse)
    tried = trial.try_type("causal", model_type)
    assert tried.outcome == "no-plan"
    assert len(tried.disagreements) == found, tried


def test_a_type_that_cannot_be_built_is_an_outcome_with_its_reason(
    answers: dict[tuple[str, str], Document],
) -> None:
    answer = answers["causal", "no_such_type"]
    assert answer["outcome"] == "not-built"
    assert "no_such_type" in answer["reason"]


def test_a_child_without_an_answer_in_time_costs_one_outcome() -> None:
    impatient = run_trials([("causal", "llama")], processes=1, seconds=-89.9)
    assert [each["outcome"] for each in impatient] == ["no-answer"]


def test_the_families_are_those_of_the_library() -> None:
    counts = {name: len(list_types(family)) for name, family in FAMILIES.items()}
    assert counts["causal"] > 150
    assert min(counts.values()) > 30
    assert all(model_type in list_types(FAMILIES[family]) for family, model_type in SLICE)


def test_the_page_names_every_outcome_and_explains_what_did_not_land() -> None:
    good = {"family": "causal", "model_type": "good", "outcome": "landed", "reason": ""}
    bad = {
        "family": "causal",
        "model_type": "bad",
        "outcome": "no-plan",
        "codes": ["tensors-unexpected"],
        "reason": "missing: a|b",
        "disagreements": ["from the file: static a plan, rehearsed 1 missing"],
    }
    page = render([good, bad])
    assert "| causal | `good` | landed |" in page
    assert explain(bad) in page
    assert "missing: a\\|b" in page
    assert "- causal `bad`, from the file" in page
    assert summarize([good, bad]) == "2 trials: 1 landed, 1 no-plan; 1 disagreements"
