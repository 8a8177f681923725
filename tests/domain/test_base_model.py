"""config.json of any version, with transformers' own config classes as the judge."""

import json
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING, AutoConfig
from transformers.conversion_mapping import _build_checkpoint_conversion_mapping
from transformers.models.auto import modeling_auto

from registry.domain.base_model import DEFAULT_NUM_LABELS, auto_classes, parse_base_config
from registry.domain.model_defaults import (
    ENCODER_DECODER_MODEL_TYPES,
    LABELS,
    RENAMED_MODEL_TYPES,
    TIED_MODEL_TYPES,
    VOCABULARY_SIZES,
)
from registry.domain.model_types import AUTO_CLASSES
from registry.domain.modules import _RENAMED_HEADS
from registry.errors import ConfigInvalid

BASES = Path(__file__).parents[3] / "shared" / "corpus" / "bases"
MAPPINGS = {
    "AutoModel": "MODEL_MAPPING_NAMES",
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForSeq2SeqLM": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "AutoModelForSequenceClassification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForTokenClassification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "AutoModelForQuestionAnswering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "AutoModelForImageTextToText": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "AutoModelForMaskedLM": "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "AutoModelForSpeechSeq2Seq": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
}


def _parsed(**document: object):
    return parse_base_config(json.dumps(document).encode())


@pytest.mark.parametrize("folder", sorted(BASES.glob("*")) or [None], ids=lambda f: f and f.name)
def test_real_configs_are_read_as_transformers_reads_them(folder):
    if folder is None:
        pytest.skip("the corpus is not beside this checkout")
    ours = parse_base_config((folder / "config.json").read_bytes())
    theirs = AutoConfig.from_pretrained(folder)
    assert ours.model_type == theirs.model_type
    assert ours.vocab_size == theirs.vocab_size
    assert ours.hidden_size == theirs.hidden_size
    assert ours.num_hidden_layers == theirs.num_hidden_layers
    assert ours.tie_word_embeddings == theirs.tie_word_embeddings
    assert ours.is_encoder_decoder == theirs.is_encoder_decoder
    assert ours.num_labels == theirs.num_labels
    assert not ours.remote_code


@pytest.mark.parametrize(
    "model_type",
    [
        *("llama", "gpt2", "bert", "roberta", "distilbert", "t5", "bart", "opt", "gpt_neox"),
        *("bloom", "falcon", "mistral", "mixtral", "qwen2", "qwen3", "gemma2", "phi3", "mamba"),
        *("gemma3", "qwen2_vl", "qwen2_5_vl", "llava", "mllama", "whisper", "m2m_100", "paligemma"),
    ],
)
def test_a_config_that_leaves_everything_out_has_the_defaults_of_its_class(model_type):
    theirs = CONFIG_MAPPING[model_type]()
    ours = _parsed(model_type=model_type)
    assert ours.vocab_size == theirs.get_text_config().vocab_size
    assert ours.is_encoder_decoder == theirs.is_encoder_decoder
    assert ours.num_labels == theirs.num_labels
    assert ours.tie_word_embeddings == bool(getattr(theirs, "tie_word_embeddings", False))


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "t5", "gemma3", "qwen2_vl", "llava"])
def test_a_config_that_the_library_wrote_reads_back(model_type, tmp_path):
    theirs = CONFIG_MAPPING[model_type](num_labels=5)
    theirs.save_pretrained(tmp_path)
    ours = parse_base_config((tmp_path / "config.json").read_bytes())
    text = theirs.get_text_config()
    assert (ours.vocab_size, ours.hidden_size) == (text.vocab_size, text.hidden_size)
    assert ours.num_hidden_layers == text.num_hidden_layers
    assert ours.num_labels == 5


def test_a_nested_text_config_is_flattened():
    config = _parsed(
        model_type="gemma3",
        architectures=["Gemma3ForConditionalGeneration"],
        image_token_index=262144,
        eos_token_id=[1, 106],
        text_config={
            "model_type": "gemma3_text",
            "hidden_size": 2560,
            "num_hidden_layers": 34,
            "eos_token_id": 1,
            "torch_dtype": "bfloat16",
        },
    )
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (262208, 2560, 34)
    assert config.dtype == "bfloat16"
    assert config.token_ids == {"eos_token_id": (1, 106), "image_token_index": (262144,)}


@pytest.mark.parametrize("tied", [True, False])
def test_the_tie_of_a_composite_config_is_that_of_its_class(tied):
    compared = 0
    for model_type in CONFIG_MAPPING:
        if not {"AutoModelForImageTextToText"} & (auto_classes(model_type) or frozenset()):
            continue
        try:
            document = CONFIG_MAPPING[model_type]().to_dict()
            document.pop("tie_word_embeddings", None)
            document["text_config"]["tie_word_embeddings"] = tied
            theirs = CONFIG_MAPPING[model_type].from_dict(document)
        except Exception:
            # No text config, or none that can be built without arguments.
            continue
        compared += 1
        ours = _parsed(model_type=model_type, text_config={"tie_word_embeddings": tied})
        expected = bool(getattr(theirs, "tie_word_embeddings", False))
        assert ours.tie_word_embeddings == expected, model_type
    assert compared > 50


def test_a_thinker_inside_a_talker_is_found():
    nested = {"text_config": {"vocab_size": 7, "hidden_size": 8, "pad_token_id": 3}}
    config = _parsed(model_type="qwen2_5_omni", thinker_config=nested)
    assert (config.vocab_size, config.hidden_size, config.token_ids) == (
        7,
        8,
        {"pad_token_id": (3,)},
    )


@pytest.mark.parametrize(
    ("document", "dtype"),
    [
        ({"torch_dtype": "float16"}, "float16"),
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "torch.float32"}, "float32"),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, "bfloat16"),
        ({"dtype": {"text_config": "bfloat16", "vision_config": "float32"}}, "bfloat16"),
        ({"torch_dtype": "auto"}, None),
        ({"torch_dtype": None}, None),
        ({"torch_dtype": 3}, None),
        ({}, None),
    ],
)
def test_the_dtype_has_the_spelling_of_torch(document, dtype):
    assert _parsed(**document).dtype == dtype


@pytest.mark.parametrize(
    ("quantization", "method"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "AWQ"}, "awq"),
        ({"load_in_4bit": True}, "bitsandbytes"),
        ({"load_in_4bit": False, "load_in_8bit": False}, None),
        ({"bits": 4, "group_size": 128}, "unknown"),
        ({}, None),
        (None, None),
    ],
)
def test_the_quantisation_method_is_named(quantization, method):
    assert _parsed(quantization_config=quantization).quantization == method
    assert _parsed(text_config={"quantization_config": quantization}).quantization == method


@pytest.mark.parametrize(
    ("document", "labels"),
    [
        ({}, 2),
        ({"num_labels": 4}, 4),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, 3),
        ({"id2label": {"0": "a"}, "num_labels": 4}, 1),
        ({"id2label": None, "num_labels": 7}, 7),
        ({"num_labels": "7"}, 2),
    ],
)
def test_labels_are_counted_as_transformers_counts_them(document, labels):
    assert _parsed(**document).num_labels == labels


def test_only_code_that_the_library_lacks_is_remote():
    code = {"AutoModelForCausalLM": "modeling.Model"}
    assert _parsed(model_type="acme", auto_map=code).remote_code
    assert _parsed(auto_map=code).remote_code
    assert not _parsed(model_type="phi3", auto_map=code).remote_code
    assert not _parsed(model_type="acme").remote_code


def test_ids_are_whole_numbers_from_zero():
    config = _parsed(
        eos_token_id=[2, 3, 2],
        pad_token_id=-1,
        bos_token_id=None,
        sep_token_id="5",
        x_token_id=True,
    )
    assert config.token_ids == {"eos_token_id": (2, 3)}


def test_the_tables_of_classes_are_those_of_the_library():
    tables = {name: getattr(modeling_auto, table) for name, table in MAPPINGS.items()}
    assert set(tables) == set(AUTO_CLASSES.values())
    for model_type in CONFIG_MAPPING:
        known = {name for name, table in tables.items() if model_type in table}
        assert auto_classes(model_type) == known, model_type
    assert auto_classes("acme") is None
    assert auto_classes(None) is None


def test_the_tables_of_defaults_are_those_of_the_library():
    vocabularies = {
        model_type: size for size, types in VOCABULARY_SIZES.items() for model_type in types.split()
    }
    heads = {AUTO_CLASSES[letter] for letter in "CEIMP"}
    compared = 0
    for model_type in CONFIG_MAPPING:
        if not heads & (auto_classes(model_type) or frozenset()):
            continue
        try:
            config = CONFIG_MAPPING[model_type]()
            size = getattr(config.get_text_config(), "vocab_size", None)
        except Exception:
            # A class that cannot be built without arguments has no defaults.
            continue
        compared += 1
        assert vocabularies.get(model_type) == size, model_type
        tied = bool(getattr(config, "tie_word_embeddings", False))
        assert (model_type in TIED_MODEL_TYPES) == tied, model_type
        encoder_decoder = model_type in ENCODER_DECODER_MODEL_TYPES
        assert encoder_decoder == config.is_encoder_decoder, model_type
        assert LABELS.get(model_type, DEFAULT_NUM_LABELS) == config.num_labels, model_type
    assert compared > 300


def test_the_table_of_renamed_types_is_that_of_the_library():
    by_class: dict[str, set[str]] = {}
    for name, table in vars(modeling_auto).items():
        if name.endswith("_MAPPING_NAMES") and isinstance(table, dict):
            for model_type, classes in table.items():
                for one in (classes,) if isinstance(classes, str) else classes:
                    by_class.setdefault(one, set()).add(model_type)
    renamed: set[str] = set()
    for key, transforms in _build_checkpoint_conversion_mapping().items():
        targets = [transform.target_patterns for transform in transforms]
        flat = [text for one in targets for text in ([one] if isinstance(one, str) else one)]
        if not all("expert" in text for text in flat):
            renamed |= {key} if key in CONFIG_MAPPING else by_class.get(key, set())
    assert renamed - _RENAMED_HEADS.keys() == RENAMED_MODEL_TYPES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"{",
        b'{"architectures": "LlamaForCausalLM"}',
        b'{"architectures": [1]}',
        b'{"vocab_size": "32000"}',
        b'{"vocab_size": -1}',
        b'{"vocab_size": 1.5}',
        b"version https://git-lfs.github.com/spec/v1\n",
        b'{"a":' * 1000,
    ],
)
def test_a_file_that_is_no_config_is_invalid(data):
    with pytest.raises(ConfigInvalid):
        parse_base_config(data)


def test_infinities_of_real_configs_are_read():
    config = parse_base_config(b'{"model_type": "mamba2", "time_step_limit": [0.0, Infinity]}')
    assert config.raw["time_step_limit"] == [0.0, {"__float__": "Infinity"}]


_keys = st.sampled_from(
    [
        *("model_type", "architectures", "vocab_size", "text_config", "thinker_config", "dtype"),
        *("eos_token_id", "id2label", "num_labels", "quantization_config", "auto_map", "n_layer"),
        *("tie_word_embeddings", "is_encoder_decoder", "hidden_size", "quant_method", "decoder"),
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(_keys, _json) | _json)
def test_no_values_raise_anything_but_our_errors_and_what_is_read_can_be_digested(document):
    try:
        config = parse_base_config(json.dumps(document).encode())
    except ConfigInvalid:
        return
    assert rfc8785.dumps(dict(config.raw))


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_our_errors(data):
    try:
        config = parse_base_config(data)
    except ConfigInvalid:
        return
    assert dict(config.raw) == json.loads(data)
