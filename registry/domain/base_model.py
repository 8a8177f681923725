"""The base model's config.json, as transformers 5.23 reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from registry.domain.json_text import (
    integer_member,
    object_member,
    parse_json_object,
    text_member,
)
from registry.domain.model_defaults import (
    ENCODER_DECODER_MODEL_TYPES,
    LABELS,
    TIED_BY_TEXT_MODEL_TYPES,
    TIED_MODEL_TYPES,
    VOCABULARY_SIZES,
)
from registry.domain.model_types import AUTO_CLASSES, MODEL_TYPES
from registry.errors import ConfigInvalid

FILE_NAME = "config.json"
# A classifier with 20,000 labels writes about 1 MB.
MAX_BYTES = 8_000_000
# PretrainedConfig's own default.
DEFAULT_NUM_LABELS = 2

# Under which names a composite config keeps that of its language model (`get_text_config`, and
# the nesting of the omni models).
_TEXT_CONFIGS = ("text_encoder", "decoder", "generator", "text_config", "thinker_config")
_HIDDEN_SIZES = ("hidden_size", "n_embd", "d_model", "dim", "model_dim")
_LAYER_COUNTS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    *("decoder_layers", "encoder_layers"),
)
_ID_SUFFIXES = ("_token_id", "_token_index")
_DTYPES = frozenset(
    {
        *{"float64", "float32", "float16", "bfloat16"},
        *{"float8_e4m3fn", "float8_e5m2", "int8", "uint8"},
    }
)
_FAMILIES: Mapping[str, frozenset[str]] = {
    model_type: frozenset(AUTO_CLASSES[letter] for letter in letters)
    for letters, types in MODEL_TYPES.items()
    for model_type in types.split()
}
_VOCABULARIES: Mapping[str, int] = {
    model_type: size for size, types in VOCABULARY_SIZES.items() for model_type in types.split()
}


@dataclass(frozen=True)
class BaseConfig:
    """What config.json says. Nested text configs are flattened as transformers reads them.

    `vocab_size` is the config vocab size, `dtype` the torch spelling (`bfloat16`) or None,
    `quantization` the method's name or None, `remote_code` True when the config needs code from
    the repository (`auto_map`) and transformers has no class of its own for `model_type`.
    `token_ids` maps every `*_token_id` and `*_token_index` key to its ids, those of the nested
    text config included. Where the file leaves out the vocabulary size, the tie of the embeddings
    or `is_encoder_decoder`, the default of transformers' class stands, None where it has none.
    `num_labels` is 2 where the file does not say, as in transformers.
    """

    model_type: str | None
    architectures: tuple[str, ...]
    vocab_size: int | None
    hidden_size: int | None
    num_hidden_layers: int | None
    tie_word_embeddings: bool | None
    dtype: str | None
    is_encoder_decoder: bool = False
    num_labels: int | None = None
    quantization: str | None = None
    remote_code: bool = False
    token_ids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    raw: Mapping[str, object] = field(default_factory=dict)


def parse_base_config(data: bytes) -> BaseConfig:
    """Parse config.json. Raises ConfigInvalid."""
    raw = parse_json_object(data, FILE_NAME, max_bytes=MAX_BYTES)
    text = _text_config(raw)
    model_type = text_member(raw, "model_type")
    return BaseConfig(
        model_type=model_type,
        architectures=_architectures(raw),
        vocab_size=_vocab_size(raw, text, model_type),
        hidden_size=_first_integer(text, _HIDDEN_SIZES),
        num_hidden_layers=_first_integer(text, _LAYER_COUNTS),
        tie_word_embeddings=_tie(raw, text, model_type),
        dtype=_dtype(raw) or _dtype(text),
        is_encoder_decoder=_is_encoder_decoder(raw, model_type),
        num_labels=_num_labels(raw, model_type),
        quantization=_quantization(raw) or _quantization(text),
        remote_code=object_member(raw, "auto_map") is not None and model_type not in _FAMILIES,
        token_ids=dict(sorted(_token_ids(raw, text).items())),
        raw=raw,
    )


def part_types(config: BaseConfig) -> frozenset[str]:
    """The model types of the parts that a composite base is made of (its text model, its tower)."""
    nested = [member for member in config.raw.values() if isinstance(member, dict)]
    found = [member.get("model_type") for member in nested]
    return frozenset(name for name in found if isinstance(name, str))


def auto_classes(model_type: str | None) -> frozenset[str] | None:
    """The auto classes for which transformers has a model of this type; None for a type that it
    does not know. An empty set is the type of a mere part, such as a vision tower."""
    return None if model_type is None else _FAMILIES.get(model_type)


def _text_config(raw: dict[str, object]) -> dict[str, object]:
    """The nested config of the language model; the whole one when nothing is nested."""
    for name in _TEXT_CONFIGS:
        nested = object_member(raw, name)
        if nested is not None:
            return _text_config(nested) if name == "thinker_config" else nested
    return raw


def _architectures(raw: dict[str, object]) -> tuple[str, ...]:
    value = raw.get("architectures")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigInvalid("architectures is not a list of names.", field="architectures")
    return tuple(value)


def _vocab_size(
    raw: dict[str, object], text: dict[str, object], model_type: str | None
) -> int | None:
    for config in (text, raw):
        value = config.get("vocab_size")
        if value is None:
            continue
        size = integer_member(config, "vocab_size")
        if size is None or size < 0:
            raise ConfigInvalid("vocab_size is not a whole number.", field="vocab_size")
        return size
    nested = _VOCABULARIES.get(text_member(text, "model_type") or "")
    return _VOCABULARIES.get(model_type or "") if nested is None else nested


def _first_integer(config: dict[str, object], keys: tuple[str, ...]) -> int | None:
    values = (integer_member(config, key) for key in keys)
    return next((value for value in values if value is not None), None)


def _tie(raw: dict[str, object], text: dict[str, object], model_type: str | None) -> bool | None:
    """The library asks the outermost config; one that leaves it out has its class's default, which
    some composite classes take from their text config."""
    own, nested = raw.get("tie_word_embeddings"), text.get("tie_word_embeddings")
    if isinstance(own, bool):
        return own
    known = model_type in _FAMILIES
    if isinstance(nested, bool) and (not known or model_type in TIED_BY_TEXT_MODEL_TYPES):
        return nested
    return model_type in TIED_MODEL_TYPES if known else None


def _dtype(config: dict[str, object]) -> str | None:
    """`torch_dtype` before transformers 4.56, `dtype` since; an object names one per part."""
    for key in ("dtype", "torch_dtype"):
        value = config.get(key)
        if isinstance(value, dict):
            value = next((value[part] for part in ("", "text_config") if part in value), None)
        if isinstance(value, str) and value.removeprefix("torch.") in _DTYPES:
            return value.removeprefix("torch.")
    return None


def _is_encoder_decoder(raw: dict[str, object], model_type: str | None) -> bool:
    value = raw.get("is_encoder_decoder")
    return value if isinstance(value, bool) else model_type in ENCODER_DECODER_MODEL_TYPES


def _num_labels(raw: dict[str, object], model_type: str | None) -> int:
    """The number of names in `id2label`, else `num_labels` where it is written, else the class's
    default, which is nearly always 2."""
    written = integer_member(raw, "num_labels")
    names = object_member(raw, "id2label")
    if names is not None:
        return len(names)
    if written is not None and written >= 0:
        return written
    return LABELS.get(model_type or "", DEFAULT_NUM_LABELS)


def _quantization(config: dict[str, object]) -> str | None:
    nested = object_member(config, "quantization_config")
    if not nested:
        return "compressed-tensors" if object_member(config, "compression_config") else None
    method = text_member(nested, "quant_method")
    if method is not None:
        return method.strip().lower()
    if nested.get("load_in_4bit") or nested.get("load_in_8bit"):
        return "bitsandbytes"
    # bitsandbytes writes its switches even where both are off.
    if "load_in_4bit" in nested or "load_in_8bit" in nested:
        return None
    return "unknown"


def _token_ids(raw: dict[str, object], text: dict[str, object]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for key, value in _id_members(raw, text):
        ids = value if isinstance(value, list) else [value]
        # -1 stands for "none" in several configs.
        known = [item for item in ids if type(item) is int and item >= 0]
        found[key] = tuple(dict.fromkeys((*found.get(key, ()), *known)))
    return {key: ids for key, ids in found.items() if ids}


def _id_members(raw: dict[str, object], text: dict[str, object]) -> Iterator[tuple[str, object]]:
    for config in (raw,) if text is raw else (raw, text):
        yield from ((key, value) for key, value in config.items() if key.endswith(_ID_SUFFIXES))
