"""What the static rules know of single model types is what the library builds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transformers import CONFIG_MAPPING

from registry.domain.base_model import auto_classes
from registry.domain.library_tables import OTHER_HEAD_MODEL_TYPES, TIED_HEADS
from registry.loading.base import table_of
from workers.child.meta_base import build_meta_base, read_config

WITH_HEAD = ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSeq2SeqLM")
CLASSIFIER = "AutoModelForSequenceClassification"


def build(model_type: str, auto_class: str, labels: int | None = None) -> Any:
    raw = json.loads(CONFIG_MAPPING[model_type]().to_json_string())
    return build_meta_base(read_config(raw, labels), auto_class, "bfloat16")


@pytest.mark.parametrize("model_type", sorted(TIED_HEADS))
def test_a_tied_head_is_where_the_table_says(model_type: str) -> None:
    offered = auto_classes(model_type) or frozenset()
    # Those that only an image-text class builds have no class of a language model.
    classes = [name for name in WITH_HEAD if name in offered] or ["AutoModelForImageTextToText"]
    model = build(model_type, classes[0])
    head = table_of(model, "output")
    paths = [name for name, module in model.named_modules() if module is head]
    assert paths == [TIED_HEADS[model_type]]


@pytest.mark.parametrize("model_type", sorted(OTHER_HEAD_MODEL_TYPES))
def test_a_head_of_another_name_is_no_classifier_or_score(model_type: str) -> None:
    three, five = (
        {name: tuple(p.shape) for name, p in build(model_type, CLASSIFIER, n).named_parameters()}
        for n in (3, 5)
    )
    heads = {name.partition(".")[0] for name in three if three[name] != five[name]}
    assert heads
    assert heads.isdisjoint({"classifier", "score"})
