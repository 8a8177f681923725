"""adapter_config.json in all its spellings, with PEFT's own classes as the judge."""

import copy
import inspect
import json
import warnings
from pathlib import Path

import pytest
import rfc8785
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils.peft_types import TaskType
from transformers import AutoModelForCausalLM, LlamaConfig

from registry.domain.adapter_config import AdapterConfig, parse_adapter_config
from registry.domain.peft_types import KNOWN_KEYS, REMOVED_TYPES, TASK_TYPES
from registry.errors import ConfigInvalid, ForeignFormat, NotAPeftAdapter

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "adapters"
SOUND = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "acme/base",
    "r": 4,
    "lora_alpha": 16,
    "target_modules": ["q_proj", "v_proj"],
}
LLAMA = LlamaConfig(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
)


def _text(**changes: object) -> bytes:
    return json.dumps({**SOUND, **changes}).encode()


def _without(*keys: str) -> bytes:
    return json.dumps({key: SOUND[key] for key in SOUND if key not in keys}).encode()


def _parsed(**changes: object) -> AdapterConfig:
    return parse_adapter_config(_text(**changes))


# What PEFT takes: bytes -> what must be read of them.
TAKEN = {
    "as PEFT writes it": (_text(), {"r": 4, "lora_alpha": 16.0, "unknown_keys": ()}),
    "CRLF line ends": (_text().replace(b",", b",\r\n"), {"r": 4}),
    "a duplicate key": (_text()[:-1] + b',"r": 2}', {"r": 2}),
    "duplicate list entries": (
        _text(target_modules=["v_proj", "q_proj", "v_proj"]),
        {"target_modules": ("q_proj", "v_proj")},
    ),
    "no rank": (_without("r"), {"r": 8}),
    "no alpha": (_without("lora_alpha"), {"lora_alpha": None}),
    "alpha with a fraction": (_text(lora_alpha=0.5), {"lora_alpha": 0.5}),
    "alpha zero": (_text(lora_alpha=0), {"lora_alpha": 0.0}),
    "no targets": (_without("target_modules"), {"target_modules": None}),
    "targets null": (_text(target_modules=None), {"target_modules": None}),
    "a pattern": (_text(target_modules=".*q_proj"), {"target_modules": ".*q_proj"}),
    "all-linear": (_text(target_modules="All-Linear"), {"target_modules": "all-linear"}),
    "targets as keys": (_text(target_modules={"q_proj": 1}), {"target_modules": ("q_proj",)}),
    "excluded names": (_text(exclude_modules=["v_proj"]), {"exclude_modules": ("v_proj",)}),
    "an excluded pattern": (_text(exclude_modules=".*v_proj"), {"exclude_modules": ".*v_proj"}),
    "saved modules": (_text(modules_to_save=["lm_head"]), {"modules_to_save": ("lm_head",)}),
    "no saved modules": (_text(modules_to_save=[]), {"modules_to_save": ()}),
    "saved modules false": (_text(modules_to_save=False), {"modules_to_save": None}),
    "a rank pattern": (_text(rank_pattern={"q_proj": 2}), {"rank_pattern": {"q_proj": 2}}),
    "an alpha pattern": (_text(alpha_pattern={"q_proj": 2.5}), {"alpha_pattern": {"q_proj": 2.5}}),
    "one layer": (_text(layers_to_transform=1), {"layers_to_transform": (1,)}),
    "layers": (_text(layers_to_transform=[0, 1]), {"layers_to_transform": (0, 1)}),
    "no layers": (_text(layers_to_transform=[]), {"layers_to_transform": None}),
    "a layers pattern": (
        _text(layers_to_transform=[0], layers_pattern="layers"),
        {"layers_pattern": ("layers",)},
    ),
    "layers patterns": (
        _text(layers_to_transform=[0], layers_pattern=["layers", "h"]),
        {"layers_pattern": ("h", "layers")},
    ),
    "an empty layers pattern": (_text(layers_pattern=""), {"layers_pattern": None}),
    "layer replication": (
        _text(layer_replication=[[0, 2], [1, 2]]),
        {"layer_replication": ((0, 2), (1, 2))},
    ),
    "token indices": (_text(trainable_token_indices=[3, 1]), {"trainable_token_indices": (3, 1)}),
    "token indices by module": (
        _text(trainable_token_indices={"embed_tokens": [1]}),
        {"trainable_token_indices": {"embed_tokens": (1,)}},
    ),
    "no init": (_text(init_lora_weights=False), {"init_weights": False}),
    "gaussian init": (_text(init_lora_weights="gaussian"), {"init_weights": "gaussian"}),
    "DoRA": (_text(use_dora=True), {"use_dora": True}),
    "DoRA null": (_text(use_dora=None), {"use_dora": False}),
    "rank-stabilised": (_text(use_rslora=True), {"use_rslora": True}),
    "biases": (_text(bias="lora_only"), {"bias": "lora_only"}),
    "bias of another type": (_text(bias="boft_only"), {"bias": "boft_only"}),
    "no task": (_without("task_type"), {"task_type": None}),
    "task null": (_text(task_type=None), {"task_type": None}),
    "a base that is a number": (
        _text(base_model_name_or_path=3),
        {"base_model_name_or_path": None},
    ),
    "a blank base": (
        _text(base_model_name_or_path="  "),
        {"base_model_name_or_path": None},
    ),
    "a revision": (_text(revision="main"), {"revision": "main"}),
    "invocation tokens": (
        _text(alora_invocation_tokens=[1, 2]),
        {"alora_invocation_tokens": (1, 2)},
    ),
    "an auto mapping": (
        _text(auto_mapping={"base_model_class": "X", "parent_library": "y"}),
        {"has_auto_mapping": True},
    ),
    "keys of a later version": (
        _text(use_teleport=True, another=1),
        {"unknown_keys": ("another", "use_teleport")},
    ),
    "keys of PEFT 0.2": (
        _text(enable_lora=None, merge_weights=False),
        {"unknown_keys": ("enable_lora", "merge_weights")},
    ),
    "a runtime config": (
        _text(runtime_config={"ephemeral_gpu_offload": False}),
        {"unknown_keys": ()},
    ),
    "prefix tuning": (
        json.dumps(
            {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4, "task_type": "CAUSAL_LM"}
        ).encode(),
        {"peft_type": "PREFIX_TUNING", "r": None, "unknown_keys": ()},
    ),
    "trainable tokens": (
        json.dumps({"peft_type": "TRAINABLE_TOKENS", "token_indices": [7, 9]}).encode(),
        {"trainable_token_indices": (7, 9), "unknown_keys": ()},
    ),
    "IA3": (
        json.dumps(
            {"peft_type": "IA3", "target_modules": ["k_proj"], "feedforward_modules": []}
        ).encode(),
        {"target_modules": ("k_proj",), "lora_alpha": None},
    ),
    "BOFT with its own bias": (
        json.dumps(
            {"peft_type": "BOFT", "target_modules": ["q_proj"], "bias": "boft_only"}
        ).encode(),
        {"bias": "boft_only"},
    ),
}

# What PEFT refuses, when it reads the config or when it wraps the model: bytes -> field named.
REFUSED = {
    "a byte order mark": (b"\xef\xbb\xbf" + _text(), None),
    "UTF-16": (_text().decode().encode("utf-16"), None),
    "Latin-1": (_text().replace(b"acme", b"\xe9"), None),
    "an empty file": (b"", None),
    "a list": (b"[]", None),
    "cut off": (_text()[:-1], None),
    "a comment": (b"// by hand\n" + _text(), None),
    "a trailing comma": (_text()[:-1] + b",}", None),
    "a web page": (b"<!DOCTYPE html>", None),
    "rank as text": (_text(r="8"), "r"),
    "rank with a fraction": (_text(r=8.0), "r"),
    "rank true": (_text(r=True), "r"),
    "rank null": (_text(r=None), "r"),
    "rank zero": (_text(r=0), "r"),
    "rank below zero": (_text(r=-1), "r"),
    "alpha as text": (_text(lora_alpha="16"), "lora_alpha"),
    "alpha null": (_text(lora_alpha=None), "lora_alpha"),
    "dropout as text": (_text(lora_dropout="0.1"), "lora_dropout"),
    "dropout null": (_text(lora_dropout=None), "lora_dropout"),
    "targets as a number": (_text(target_modules=3), "target_modules"),
    "targets of numbers": (_text(target_modules=["q_proj", 3]), "target_modules"),
    "saved modules of numbers": (_text(modules_to_save=[1]), "modules_to_save"),
    "excluded as a number": (_text(exclude_modules=3), "exclude_modules"),
    "target parameters as text": (_text(target_parameters="x"), "target_parameters"),
    "a rank pattern that is a list": (_text(rank_pattern=["q_proj"]), "rank_pattern"),
    "a rank pattern null": (_text(rank_pattern=None), "rank_pattern"),
    "a rank pattern of texts": (_text(rank_pattern={"q_proj": "4"}), "rank_pattern"),
    "a rank pattern of fractions": (_text(rank_pattern={"q_proj": 4.0}), "rank_pattern"),
    "a rank pattern of zero": (_text(rank_pattern={"q_proj": 0}), "rank_pattern"),
    "an alpha pattern null": (_text(alpha_pattern=None), "alpha_pattern"),
    "an alpha pattern of texts": (_text(alpha_pattern={"q_proj": "4"}), "alpha_pattern"),
    "an unknown bias": (_text(bias="some"), "bias"),
    "bias null": (_text(bias=None), "bias"),
    "bias true": (_text(bias=True), "bias"),
    "layers as text": (_text(layers_to_transform="0"), "layers_to_transform"),
    "layers as texts": (_text(layers_to_transform=["0"]), "layers_to_transform"),
    "a layers pattern alone": (_text(layers_pattern="layers"), "layers_pattern"),
    "a layers pattern as a number": (
        _text(layers_to_transform=[0], layers_pattern=3),
        "layers_pattern",
    ),
    "layers with a pattern": (
        _text(target_modules=".*q_proj", layers_to_transform=[0]),
        "layers_to_transform",
    ),
    "a layers pattern with a pattern": (
        _text(target_modules=".*q_proj", layers_pattern=""),
        "layers_pattern",
    ),
    "replication of one": (_text(layer_replication=[[0]]), "layer_replication"),
    "replication as text": (_text(layer_replication="x"), "layer_replication"),
    "replication without pairs": (_text(layer_replication=[0, 2]), "layer_replication"),
    "token indices as text": (_text(trainable_token_indices="1"), "trainable_token_indices"),
    "token indices as texts": (_text(trainable_token_indices=["1"]), "trainable_token_indices"),
    "token indices true": (_text(trainable_token_indices=[True]), "trainable_token_indices"),
    "init as a number": (_text(init_lora_weights=1), "init_lora_weights"),
    "init as a list": (_text(init_lora_weights=[1]), "init_lora_weights"),
    "an unknown task": (_text(task_type="CHAT"), "task_type"),
    "a task in lower case": (_text(task_type="causal_lm"), "task_type"),
    "a task as a number": (_text(task_type=3), "task_type"),
    "a type in lower case": (_text(peft_type="lora"), "peft_type"),
    "a removed type": (_text(peft_type="BONE"), "peft_type"),
    "an unknown type": (_text(peft_type="TELEPORT"), "peft_type"),
    "type null": (_text(peft_type=None), "peft_type"),
    "type as a number": (_text(peft_type=3), "peft_type"),
    "no type": (_without("peft_type"), "peft_type"),
    "LoRA bias with DoRA": (_text(lora_bias=True, use_dora=True), "lora_bias"),
    "LoRA bias with a named init": (
        _text(lora_bias=True, init_lora_weights="gaussian"),
        "lora_bias",
    ),
    "Megatron": (_text(megatron_config={"a": 1}), "megatron_config"),
}

# What PEFT takes and we do not, each with its reason.
REFUSED_BY_US = {
    # Read letter by letter; the saved tensors are then not found.
    "saved modules as text": (_text(modules_to_save="lm_head"), "modules_to_save"),
    # Every scale would be NaN.
    "alpha NaN": (_text(lora_alpha=float("nan")), "lora_alpha"),
    # No database and no digest takes these.
    "a lone surrogate": (_text(base_model_name_or_path="\ud800"), None),
    "a NUL character": (_text(base_model_name_or_path="a\0b"), None),
    "a NUL character in a key": (_text(**{"a\0": 1}), None),
    "fifty levels": (_text(note=json.loads("[" * 50 + "]" * 50)), None),
}


def _peft_takes(data: bytes, folder: Path) -> bool:
    (folder / "adapter_config.json").write_bytes(data)
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        try:
            config = PeftConfig.from_pretrained(str(folder))
            if config.peft_type.value == "LORA":
                get_peft_model(AutoModelForCausalLM.from_config(copy.deepcopy(LLAMA)), config)
        except Exception:
            return False
    return True


@pytest.mark.parametrize("case", TAKEN)
def test_what_peft_takes_is_read_as_peft_reads_it(case, tmp_path):
    data, expected = TAKEN[case]
    config = parse_adapter_config(data)
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.declared == config.raw.keys()
    assert _peft_takes(data, tmp_path)


@pytest.mark.parametrize("case", REFUSED)
def test_what_peft_refuses_is_invalid_with_its_field_named(case, tmp_path):
    data, field = REFUSED[case]
    with pytest.raises(ConfigInvalid) as refusal:
        parse_adapter_config(data)
    assert type(refusal.value) is ConfigInvalid
    assert refusal.value.fields.get("field") == field
    assert field is None or field in str(refusal.value)
    assert not _peft_takes(data, tmp_path)


@pytest.mark.parametrize("case", REFUSED_BY_US)
def test_what_would_load_wrong_or_cannot_be_stored_is_invalid_too(case, tmp_path):
    data, field = REFUSED_BY_US[case]
    with pytest.raises(ConfigInvalid) as refusal:
        parse_adapter_config(data)
    assert refusal.value.fields.get("field") == field
    assert _peft_takes(data, tmp_path)


@pytest.mark.parametrize(
    ("document", "tool"),
    [
        ({"fine_tune_type": "lora", "num_layers": 16, "lora_parameters": {"rank": 8}}, "mlx-lm"),
        ({"lora_layers": 16, "model": "mlx-community/x", "train": True}, "mlx-lm"),
        ({"adapter_path": "adapters", "num_layers": 8}, "mlx-lm"),
        ({"rank": 10, "alpha": 0.1, "dropout": 0.1}, "mlx-vlm"),
        ({"config": {"reduction_factor": 16}, "hidden_size": 768, "name": "x"}, "AdapterHub"),
        ({"model_class": "BertAdapterModel", "version": "0.2.0"}, "AdapterHub"),
        ({"version": "adapters.1.0.0", "model_type": "bert"}, "AdapterHub"),
        ({"network_module": "networks.lora", "network_dim": 32}, "kohya"),
        ({"_class_name": "AutoencoderKL", "_diffusers_version": "0.30"}, "diffusers"),
        ({"peft": {"peft_scheme": "lora"}, "model": {}}, "NeMo"),
        ({"_target_": "nemo.collections.llm.peft.lora.LoRA"}, "NeMo"),
        ({"delta_type": "lora", "opendelta_version": "0.1"}, "OpenDelta"),
        ({"swift_type": "LORA", "r": 8}, "ms-swift"),
        ({"lora_r": 8, "lora_query": True}, "LitGPT"),
        ({"r": 8, "enable_lora": [True, False, True]}, "before PEFT"),
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "transformers"),
        ({**SOUND, "enable_lora": [True, False, True]}, "PEFT before 0.3"),
    ],
)
def test_a_file_of_another_tool_is_named_after_it(document, tool):
    with pytest.raises(ForeignFormat, match=tool) as refusal:
        parse_adapter_config(json.dumps(document).encode())
    assert tool in str(refusal.value.fields["tool"])


def test_a_peft_config_stays_one_whatever_keys_others_add():
    assert _parsed(lora_layers=1, fine_tune_type="lora", swift_type="LORA").r == 4


def test_an_object_without_any_key_of_peft_is_no_adapter():
    with pytest.raises(NotAPeftAdapter):
        parse_adapter_config(b'{"hello": "world"}')


def test_an_lfs_pointer_in_place_of_the_config_is_named():
    with pytest.raises(ConfigInvalid, match="Git LFS pointer"):
        parse_adapter_config(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def test_size_and_depth_are_bounded():
    with pytest.raises(ConfigInvalid, match="at most"):
        parse_adapter_config(_text(note="x" * 5_000_000))
    with pytest.raises(ConfigInvalid):
        parse_adapter_config(b"[" * 1_000_000)
    with pytest.raises(ConfigInvalid, match="values"):
        parse_adapter_config(_text(note=[0] * 250_000))


def test_numbers_that_json_lacks_keep_the_raw_object_digestible():
    config = parse_adapter_config(
        b'{"peft_type": "LORA", "lora_dropout": NaN, "a": -Infinity, "b": 1e999, "c": 123456789012'
        b'34567890, "d": ' + b"9" * 400 + b"}"
    )
    assert config.raw["a"] == {"__float__": "-Infinity"}
    assert config.raw["b"] == config.raw["d"] == {"__float__": "Infinity"}
    assert rfc8785.dumps(dict(config.raw))


def test_adalora_ranks_are_counted():
    config = _parsed(peft_type="ADALORA", rank_pattern={"q_proj.lora_E": [True, False, True]})
    assert config.rank_pattern == {"q_proj.lora_E": 2}
    assert _parsed(peft_type="ADALORA", rank_pattern=None).rank_pattern == {}


def test_the_table_of_keys_is_that_of_the_installed_peft():
    for peft_type, config_class in PEFT_TYPE_TO_CONFIG_MAPPING.items():
        known = set(inspect.signature(config_class.__init__).parameters) - {"self"}
        assert KNOWN_KEYS[peft_type.value] == known | {"runtime_config"}, peft_type
    assert len(KNOWN_KEYS) == len(PEFT_TYPE_TO_CONFIG_MAPPING)
    assert {task.value for task in TaskType} == TASK_TYPES
    assert not REMOVED_TYPES.keys() & KNOWN_KEYS.keys()


@pytest.mark.parametrize("folder", sorted(CORPUS.glob("*")) or [None], ids=lambda f: f and f.name)
def test_real_configs_are_read_as_peft_reads_them(folder):
    if folder is None:
        pytest.skip("the corpus is not beside this checkout")
    ours = parse_adapter_config((folder / "adapter_config.json").read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = PeftConfig.from_pretrained(str(folder))
    assert (ours.peft_type, ours.r) == (theirs.peft_type, theirs.r)
    assert ours.lora_alpha == theirs.lora_alpha
    assert set(ours.target_modules or ()) == set(theirs.target_modules or ())
    assert set(ours.modules_to_save or ()) == set(theirs.modules_to_save or ())
    assert (ours.bias, ours.task_type) == (theirs.bias, theirs.task_type)


def _read(data: bytes) -> AdapterConfig | None:
    try:
        return parse_adapter_config(data)
    except ConfigInvalid:
        return None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_our_errors(data):
    assert isinstance(_read(data), AdapterConfig | None)


@given(
    st.sampled_from(sorted(KNOWN_KEYS)),
    st.dictionaries(st.sampled_from(sorted(KNOWN_KEYS["LORA"] - {"peft_type"})), _json),
)
def test_no_values_raise_anything_but_our_errors_and_what_is_read_can_be_digested(kind, values):
    config = _read(json.dumps({"peft_type": kind, **values}).encode())
    if config is not None:
        assert rfc8785.dumps(dict(config.raw))


@given(st.permutations(sorted(SOUND)))
def test_the_order_of_keys_does_not_matter(keys):
    data = json.dumps({key: SOUND[key] for key in keys}).encode()
    assert parse_adapter_config(data) == parse_adapter_config(_text())
