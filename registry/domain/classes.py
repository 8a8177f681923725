"""Which of transformers' auto classes builds the base for an adapter's task."""

from __future__ import annotations

from collections.abc import Iterable

from registry.domain.base_model import BaseConfig, auto_classes
from registry.domain.model_types import AUTO_CLASSES

_CAUSAL = "AutoModelForCausalLM"
_SEQ2SEQ = "AutoModelForSeq2SeqLM"
_IMAGE_TEXT = "AutoModelForImageTextToText"
_SPEECH = "AutoModelForSpeechSeq2Seq"
_MASKED = "AutoModelForMaskedLM"

_BY_TASK = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoModel",
}
_BY_ENDING = (
    ("ForCausalLM", _CAUSAL),
    ("LMHeadModel", _CAUSAL),
    ("ForSequenceClassification", "AutoModelForSequenceClassification"),
    ("ForTokenClassification", "AutoModelForTokenClassification"),
    ("ForQuestionAnswering", "AutoModelForQuestionAnswering"),
    ("ForMaskedLM", _MASKED),
    ("ForImageClassification", "AutoModelForImageClassification"),
    ("ForCTC", "AutoModelForCTC"),
)
# Segments that only a model with an image or sound tower has in its module paths.
_TOWERS = frozenset(
    {"language_model", "visual", "vision_tower", "vision_model", "multi_modal_projector"}
)
# Classes that have an output head over the vocabulary.
_WITH_HEAD = frozenset({_CAUSAL, _SEQ2SEQ, _IMAGE_TEXT, _SPEECH, _MASKED})

# The class by whose name PEFT's load errors call the model.
PEFT_CLASSES = {
    "SEQ_CLS": "PeftModelForSequenceClassification",
    "SEQ_2_SEQ_LM": "PeftModelForSeq2SeqLM",
    "CAUSAL_LM": "PeftModelForCausalLM",
    "TOKEN_CLS": "PeftModelForTokenClassification",
    "QUESTION_ANS": "PeftModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "PeftModelForFeatureExtraction",
}


def choose_auto_class(task_type: str | None, base: BaseConfig, modules: Iterable[str]) -> str:
    """By the adapter's task; without one by the base's architecture. `modules` are the paths that
    the file names: a path through a tower needs the class that has towers."""
    if task_type in _BY_TASK:
        return _BY_TASK[task_type]
    if task_type == "SEQ_2_SEQ_LM" or (base.is_encoder_decoder and task_type is not None):
        return _sequence_class(base)
    offered = auto_classes(base.model_type) or frozenset()
    if _IMAGE_TEXT in offered and (_CAUSAL not in offered or _names_tower(base, modules)):
        return _IMAGE_TEXT
    if task_type == "CAUSAL_LM":
        return _CAUSAL
    for architecture in base.architectures:
        for ending, auto_class in _BY_ENDING:
            if architecture.endswith(ending):
                # Some models with a head over the vocabulary are masked ones (FlaubertWithLMHead…).
                is_masked = auto_class == _CAUSAL and _CAUSAL not in offered and _MASKED in offered
                return _MASKED if is_masked else auto_class
        if architecture.endswith("ForConditionalGeneration"):
            return _sequence_class(base) if base.is_encoder_decoder else _IMAGE_TEXT
    return "AutoModel"


def has_output_head(auto_class: str) -> bool:
    """True for classes that keep the language model's head."""
    return auto_class in _WITH_HEAD


def is_offered(auto_class: str, model_type: str | None) -> bool:
    """False when transformers surely has no such class for this type of model."""
    offered = auto_classes(model_type)
    if offered is None:
        return False
    return auto_class in offered or auto_class not in AUTO_CLASSES.values()


def _sequence_class(base: BaseConfig) -> str:
    offered = auto_classes(base.model_type) or frozenset()
    if _SEQ2SEQ in offered:
        return _SEQ2SEQ
    return next((name for name in (_SPEECH, _IMAGE_TEXT) if name in offered), _SEQ2SEQ)


def _names_tower(base: BaseConfig, modules: Iterable[str]) -> bool:
    if not any(name.endswith("ForConditionalGeneration") for name in base.architectures):
        return False
    return any(not _TOWERS.isdisjoint(module.split(".")) for module in modules)
