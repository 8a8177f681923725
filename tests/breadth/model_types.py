"""Which model types there are in each family, from transformers' own tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """How its adapters are trained and its bases are published.

    `mapping` names transformers' table of the family. `auto_class` builds the model that is
    trained, with `task` as the adapter's. `published` are tables of classes as which bases of the
    family are published, the first that has the type; empty means as the trained class. `grown`:
    the vocabulary is resized before training, and both of its tables are saved.
    """

    name: str
    mapping: str
    auto_class: str
    task: str | None
    published: tuple[str, ...] = ()
    grown: bool = False


_CAUSAL = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
_MASKED = "MODEL_FOR_MASKED_LM_MAPPING_NAMES"
_SEQ2SEQ = "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"
_BARE = "MODEL_MAPPING_NAMES"
FAMILIES = {
    family.name: family
    for family in (
        Family("causal", _CAUSAL, "AutoModelForCausalLM", "CAUSAL_LM"),
        Family("causal-grown", _CAUSAL, "AutoModelForCausalLM", "CAUSAL_LM", grown=True),
        Family(
            "classification",
            "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
            "AutoModelForSequenceClassification",
            "SEQ_CLS",
            (_SEQ2SEQ, _CAUSAL, _MASKED, _BARE),
        ),
        Family("seq2seq", _SEQ2SEQ, "AutoModelForSeq2SeqLM", "SEQ_2_SEQ_LM"),
        Family("encoder", _MASKED, "AutoModelForMaskedLM", None),
        Family("embedding", _MASKED, "AutoModel", "FEATURE_EXTRACTION", (_MASKED,)),
        Family(
            "image-text",
            "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
            "AutoModelForImageTextToText",
            "CAUSAL_LM",
        ),
    )
}
# A fast slice for the suite: one of each way in which names, heads and ties differ.
SLICE = (
    ("causal", "llama"),
    ("causal", "gpt2"),
    ("causal", "gpt_neox"),
    ("causal", "mixtral"),
    ("causal", "bloom"),
    ("causal", "gemma2"),
    ("causal", "mamba2"),
    ("causal-grown", "mixtral"),
    ("causal-grown", "gpt2"),
    ("classification", "roberta"),
    ("classification", "qwen2"),
    ("classification", "bart"),
    ("seq2seq", "t5"),
    ("seq2seq", "bart"),
    ("encoder", "bert"),
    ("embedding", "distilbert"),
    ("image-text", "llava"),
    ("image-text", "vision-encoder-decoder"),
    ("image-text", "qwen2_vl"),
)


def list_types(family: Family) -> list[str]:
    """Every model type of the family, sorted."""
    from transformers.models.auto import modeling_auto

    return sorted(getattr(modeling_auto, family.mapping))


def published_class(family: Family, model_type: str) -> str | None:
    """The auto class as which a base of this type is published; None for the trained class."""
    from transformers.models.auto import modeling_auto

    classes = {
        _CAUSAL: "AutoModelForCausalLM",
        _MASKED: "AutoModelForMaskedLM",
        _SEQ2SEQ: "AutoModelForSeq2SeqLM",
        _BARE: "AutoModel",
    }
    for mapping in family.published:
        if model_type in getattr(modeling_auto, mapping):
            return classes[mapping]
    return None
