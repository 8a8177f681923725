"""What the static rules know of single model types is what the library builds."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.utils.transformers_weight_conversion import (
    convert_peft_adapter_state_dict_for_transformers,
)
from transformers import CONFIG_MAPPING, PreTrainedModel

from registry.domain.base_model import auto_classes
from registry.domain.library_tables import (
    CONVERTED_MODEL_TYPES,
    OTHER_HEAD_MODEL_TYPES,
    RENAMED_AGAIN,
    SHARED_EMBEDDING_MODEL_TYPES,
    TIED_HEADS,
)
from registry.domain.rows import RESIZE_LEAVES_BEHIND
from registry.loading.base import rows_of, table_of
from workers.child.meta_base import build_meta_base, read_config, resize_meta_base

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


def class_of(model_type: str) -> str:
    offered = auto_classes(model_type) or frozenset()
    return next(
        name for name in (*WITH_HEAD, "AutoModelForImageTextToText", "AutoModel") if name in offered
    )


def renamed_modules(model: PreTrainedModel) -> tuple[set[str], set[str]]:
    """Modules with a matrix: those whose LoRA names the conversion changes, and the others."""
    matrices = {
        name
        for name, module in model.named_modules()
        if isinstance(weight := getattr(module, "weight", None), torch.Tensor) and weight.ndim == 2
    }
    key = "base_model.model.{}.lora_A.weight"
    with torch.device("meta"):
        state = {key.format(name): torch.empty(1, 1) for name in matrices}
        kept = convert_peft_adapter_state_dict_for_transformers(model, LoraConfig(), dict(state))
    same = {name for name in matrices if key.format(name) in kept}
    return matrices - same, same


@pytest.mark.parametrize("model_type", sorted(RENAMED_AGAIN))
def test_modules_renamed_again_are_those_of_the_table(model_type: str) -> None:
    changed, same = renamed_modules(build(model_type, class_of(model_type)))
    pattern = re.compile(RENAMED_AGAIN[model_type])
    assert changed
    assert {name for name in changed | same if pattern.search(name)} == changed
    assert model_type in CONVERTED_MODEL_TYPES


@pytest.mark.parametrize("model_type", ["mixtral", "qwen3_moe", "llava", "jamba", "gemma3n_text"])
def test_other_converted_types_keep_their_own_names(model_type: str) -> None:
    assert model_type in CONVERTED_MODEL_TYPES
    assert renamed_modules(build(model_type, class_of(model_type)))[0] == set()


@pytest.mark.parametrize("model_type", sorted(set(RESIZE_LEAVES_BEHIND) - {"xlstm"}))
def test_a_resize_leaves_behind_what_the_table_says(model_type: str) -> None:
    model = build(model_type, class_of(model_type))
    assert resize_meta_base(model, (rows_of(model, "input") or 0) + 8) is not None


def test_a_model_that_cannot_be_resized_raises() -> None:
    with pytest.raises(AttributeError):
        resize_meta_base(build("xlstm", "AutoModelForCausalLM"), 50_400)


@pytest.mark.parametrize("model_type", sorted(SHARED_EMBEDDING_MODEL_TYPES))
def test_a_resize_reaches_every_use_of_a_shared_embedding(model_type: str) -> None:
    for auto_class in {class_of(model_type), "AutoModelForCausalLM"} & set(
        auto_classes(model_type) or ()
    ):
        model = build(model_type, auto_class)
        rows = rows_of(model, "input") or 0
        assert resize_meta_base(model, rows + 8) is None
