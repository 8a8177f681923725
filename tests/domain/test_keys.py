"""File keys taken apart, with the names that PEFT itself writes as the judge."""

import json
import struct
from pathlib import Path

import peft
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils.save_and_load import get_peft_model_state_dict
from transformers import AutoModelForCausalLM, LlamaConfig

from registry.domain.keys import PROMPT_TYPES, Part, canonical_candidates, parse_key

CORPUS = Path(__file__).parents[3] / "shared" / "corpus" / "adapters"
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
MODULE = "model.layers.0.self_attn.q_proj"

# name, PEFT type, module, part, leaf
STANDARD = [
    (f"{LAYER}.lora_A.weight", "LORA", MODULE, Part.LORA_A, "weight"),
    (f"{LAYER}.lora_B.weight", "LORA", MODULE, Part.LORA_B, "weight"),
    (f"{LAYER}.lora_B.bias", "LORA", MODULE, Part.LORA_B, "bias"),
    (f"{LAYER}.lora_magnitude_vector", "LORA", MODULE, Part.MAGNITUDE, ""),
    (f"{LAYER}.lora_magnitude_vector.weight", "LORA", MODULE, Part.MAGNITUDE, "weight"),
    (f"{LAYER}.lora_A", "ADALORA", MODULE, Part.LORA_A, ""),
    (f"{LAYER}.lora_E", "ADALORA", MODULE, Part.LORA_E, ""),
    (f"{LAYER}.ia3_l", "IA3", MODULE, Part.OTHER, ""),
    (f"{LAYER}.hada_w1_a", "LOHA", MODULE, Part.OTHER, ""),
    (f"{LAYER}.oft_R.weight", "OFT", MODULE, Part.OTHER, "weight"),
    (f"{LAYER}.vera_lambda_b", "VERA", MODULE, Part.OTHER, ""),
    ("base_model.vera_A", "VERA", "", Part.OTHER, ""),
    ("base_model.vblora_vector_bank", "VBLORA", "", Part.OTHER, ""),
    ("prompt_embeddings", "PREFIX_TUNING", "", Part.PROMPT, ""),
    ("base_model.score.weight", "PROMPT_TUNING", "score", Part.SAVED, "weight"),
    (
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "LORA",
        "model.embed_tokens",
        Part.LORA_EMBEDDING_A,
        "",
    ),
    ("base_model.model.lm_head.weight", "LORA", "lm_head", Part.SAVED, "weight"),
    ("base_model.model.classifier.dense.bias", "LORA", "classifier.dense", Part.BIAS, "bias"),
    (f"{LAYER}.base_layer.bias", "LORA", MODULE, Part.BASE_LAYER, "bias"),
    (f"{LAYER}.base_layer.weight", "LORA", MODULE, Part.BASE_LAYER, "weight"),
    (
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
        "LORA",
        "model.embed_tokens",
        Part.TOKEN_DELTA,
        "",
    ),
    (
        "base_model.model.model.embed_tokens.trainable_tokens_delta",
        "TRAINABLE_TOKENS",
        "model.embed_tokens",
        Part.TOKEN_DELTA,
        "",
    ),
]

# name, PEFT type, the name that PEFT expects
CERTAIN = [
    (f"{LAYER}.lora_A.default.weight", "LORA", f"{LAYER}.lora_A.weight"),
    (f"{LAYER}.lora_B.my-adapter.bias", "LORA", f"{LAYER}.lora_B.bias"),
    (f"{LAYER}.lora_A.default", "ADALORA", f"{LAYER}.lora_A"),
    (f"{LAYER}.lora_embedding_B.default", "LORA", f"{LAYER}.lora_embedding_B"),
    (f"{LAYER}.lora_magnitude_vector.default.weight", "LORA", f"{LAYER}.lora_magnitude_vector"),
    (f"{LAYER}.lora_magnitude_vector.default", "LORA", f"{LAYER}.lora_magnitude_vector"),
    (f"{LAYER}.ia3_l.default", "IA3", f"{LAYER}.ia3_l"),
    (f"{LAYER}.lora_down.weight", "LORA", f"{LAYER}.lora_A.weight"),
    (f"{LAYER}.lora_up.weight", "LORA", f"{LAYER}.lora_B.weight"),
    (f"_orig_mod.{LAYER}.lora_A.weight", "LORA", f"{LAYER}.lora_A.weight"),
    (f"_fsdp_wrapped_module.{LAYER}.lora_A.weight", "LORA", f"{LAYER}.lora_A.weight"),
    (f"module.{LAYER}.lora_A.weight", "LORA", f"{LAYER}.lora_A.weight"),
    (f"module.module.{LAYER}.lora_A.weight", "LORA", f"{LAYER}.lora_A.weight"),
    (f"pretrained_model.{LAYER}.lora_A.weight", "LORA", f"{LAYER}.lora_A.weight"),
    (f"base_model.model.{LAYER}.lora_A.weight", "LORA", f"{LAYER}.lora_A.weight"),
    (f"{MODULE}.lora_A.weight", "LORA", f"{LAYER}.lora_A.weight"),
    (f"module.{MODULE}.lora_A.default.weight", "LORA", f"{LAYER}.lora_A.weight"),
    (
        "base_model.model._orig_mod.model.layers.0._fsdp_wrapped_module.self_attn.q_proj"
        ".lora_A.default.weight",
        "LORA",
        f"{LAYER}.lora_A.weight",
    ),
    (
        "base_model.model.lm_head.modules_to_save.default.weight",
        "LORA",
        "base_model.model.lm_head.weight",
    ),
    ("base_model.model.lm_head.modules_to_save.weight", "LORA", "base_model.model.lm_head.weight"),
    (
        "base_model.model.classifier.modules_to_save.default.out_proj.bias",
        "LORA",
        "base_model.model.classifier.out_proj.bias",
    ),
    (
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta.default",
        "LORA",
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
    ),
    ("base_model.vera_A.default", "VERA", "base_model.vera_A"),
]

# name, candidates that must be offered; the form alone does not settle it
UNCERTAIN = [
    ("lm_head.weight", ["base_model.model.lm_head.weight"]),
    (
        "base_model.layers.0.q_proj.lora_A.weight",
        [f"{LAYER.replace('self_attn.', '')}.lora_A.weight"],
    ),
    (
        "base_model.model.classifier.modules_to_save.dense.bias",
        ["base_model.model.classifier.dense.bias", "base_model.model.classifier.bias"],
    ),
    (
        "base_model.model.lm_head.modules_to_save.mine.weight",
        ["base_model.model.lm_head.mine.weight", "base_model.model.lm_head.weight"],
    ),
    (
        "base_model.model.classifier.original_module.dense.weight",
        ["base_model.model.classifier.dense.weight"],
    ),
    (f"{LAYER}.lora_A", [f"{LAYER}.lora_A.weight"]),
    (f"actor.{LAYER}.lora_A.weight", [f"{LAYER}.lora_A.weight"]),
]


@pytest.mark.parametrize(("name", "peft_type", "module", "part", "leaf"), STANDARD)
def test_a_standard_name_is_its_own_canonical_form(name, peft_type, module, part, leaf):
    key = parse_key(name, peft_type)
    assert (key.module, key.part, key.leaf) == (module, part, leaf)
    assert key.is_standard
    assert canonical_candidates(name, peft_type)[0] == name


@pytest.mark.parametrize(("name", "peft_type", "canonical"), CERTAIN)
def test_a_wrapped_name_has_one_certain_canonical_form(name, peft_type, canonical):
    key = parse_key(name, peft_type)
    assert key.canonical == canonical
    assert not key.is_standard
    assert canonical_candidates(name, peft_type)[0] == canonical
    assert parse_key(canonical, peft_type).is_standard
    assert parse_key(canonical, peft_type).module == key.module


@pytest.mark.parametrize(("name", "candidates"), UNCERTAIN)
def test_an_ambiguous_name_has_candidates_and_no_canonical_form(name, candidates):
    assert parse_key(name, "LORA").canonical is None
    offered = canonical_candidates(name)
    assert [offer for offer in offered if offer in candidates] == candidates


@pytest.mark.parametrize(
    ("file", "base"),
    [
        ("model.layers.0.q_proj", "model.language_model.layers.0.q_proj"),
        ("language_model.model.layers.0.q_proj", "model.language_model.layers.0.q_proj"),
        ("visual.blocks.0.attn.qkv", "model.visual.blocks.0.attn.qkv"),
        ("layers.0.q_proj", "model.layers.0.q_proj"),
        ("h.0.attn.c_attn", "transformer.h.0.attn.c_attn"),
        ("module.model.layers.0.q_proj", "model.layers.0.q_proj"),
        ("model.encoder.layers.0.q_proj", "encoder.layers.0.q_proj"),
    ],
)
def test_moved_modules_are_among_the_candidates(file, base):
    prefix = "base_model.model."
    assert f"{prefix}{base}.lora_A.weight" in canonical_candidates(f"{prefix}{file}.lora_A.weight")


def test_nested_adapters_of_expert_parameters_keep_their_depth():
    prefix = "base_model.model.model.layers.0.mlp.experts"
    outer = parse_key(f"{prefix}.lora_A.weight", "LORA")
    inner = parse_key(f"{prefix}.base_layer.lora_A.weight", "LORA")
    deeper = parse_key(f"{prefix}.base_layer.base_layer.lora_B.default.weight", "LORA")
    assert outer.module == inner.module == deeper.module == "model.layers.0.mlp.experts"
    assert [key.base_layers for key in (outer, inner, deeper)] == [0, 1, 2]
    assert inner.is_standard
    assert deeper.canonical == f"{prefix}.base_layer.base_layer.lora_B.weight"


def test_the_adapter_name_that_was_left_in_is_told():
    assert parse_key(f"{LAYER}.lora_A.alpaca.weight", "LORA").adapter_name == "alpaca"
    assert parse_key(f"{LAYER}.lora_A.weight", "LORA").adapter_name is None


@pytest.mark.parametrize("name", ["", ".", "a..b", "base_model.model.", f"{LAYER}.modules_to_save"])
def test_a_name_without_a_module_is_unknown(name):
    key = parse_key(name, "LORA")
    assert (key.part, key.canonical) == (Part.UNKNOWN, None)
    assert canonical_candidates(name) == ()


_segments = st.sampled_from(
    [
        *{"base_model", "model", "module", "_orig_mod", "default", "weight", "bias", "", "0"},
        *{"lora_A", "lora_down", "lora_embedding_A", "lora_magnitude_vector", "lora_x"},
        *{"base_layer", "modules_to_save", "original_module", "token_adapter", "q_proj"},
        *{"trainable_tokens_delta", "ranknum", "vera_A", "prompt_embeddings"},
    ]
)
_types = st.sampled_from(["LORA", "ADALORA", "VERA", "PROMPT_TUNING", "", "no such type"])


@given(st.lists(_segments, max_size=9).map(".".join) | st.text(max_size=20), _types)
@example("lora_x.default.default", "LORA")
def test_no_name_raises_and_a_canonical_form_stays_what_it_is(name, peft_type):
    key = parse_key(name, peft_type)
    candidates = canonical_candidates(name, peft_type)
    if key.canonical is not None:
        assert candidates[0] == key.canonical
        again = parse_key(key.canonical, peft_type)
        assert again.canonical == key.canonical
        assert (again.module, again.part, again.leaf) == (key.module, key.part, key.leaf)


@given(st.lists(_segments, min_size=1, max_size=6).map(".".join))
def test_the_quick_way_reads_as_the_long_way_does(path):
    name = f"base_model.model.{path}.lora_A.weight"
    quick = parse_key(name, "LORA")
    long = parse_key(name.replace("lora_A", "lora_A.default"), "LORA")
    if quick.is_standard and quick.part is Part.LORA_A:
        assert (long.module, long.part, long.canonical) == (quick.module, quick.part, name)


@pytest.mark.parametrize("folder", sorted(CORPUS.glob("*")) or [None], ids=lambda f: f and f.name)
def test_real_adapters_have_standard_names_but_for_the_old_duplicates(folder):
    if folder is None:
        pytest.skip("the corpus is not beside this checkout")
    with (folder / "adapter_model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        names = set(json.loads(file.read(length))) - {"__metadata__"}
    odd = {name for name in names if not parse_key(name, "LORA").is_standard}
    assert all(".modules_to_save." in name or ".original_module." in name for name in odd)
    # Each duplicate has its sound twin in the same file.
    assert all(names & set(canonical_candidates(name)) for name in odd)
    assert bool(odd) == (folder.name == "roberta-agnews-bias-all")


def test_every_peft_type_has_the_prefix_of_its_own_layers():
    for peft_type, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items():
        layer = getattr(tuner, "tuner_layer_cls", None)
        names = getattr(layer, "adapter_layer_names", ())
        for name in names if layer is not None else ():
            key = parse_key(f"{LAYER}.{name}", peft_type.value)
            assert key.module == MODULE, (peft_type, name)
            assert key.part not in (Part.SAVED, Part.UNKNOWN), (peft_type, name)


def test_the_prompt_types_are_those_that_peft_calls_prompt_learning():
    learning = set()
    for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items():
        flag = config.is_prompt_learning
        # Most classes have a property; it needs an instance and none of the required fields.
        if flag.fget(object.__new__(config)) if isinstance(flag, property) else flag:
            learning.add(kind.value)
    assert learning == PROMPT_TYPES


CONFIGS = {
    "lora": peft.LoraConfig(
        target_modules=["q_proj", "embed_tokens"], modules_to_save=["lm_head"], use_dora=True
    ),
    "bias": peft.LoraConfig(target_modules=["q_proj"], bias="all", lora_bias=True),
    "tokens": peft.LoraConfig(target_modules=["q_proj"], trainable_token_indices=[1, 2]),
    "adalora": peft.AdaLoraConfig(target_modules=["q_proj"], total_step=10),
    "vera": peft.VeraConfig(target_modules=["q_proj"]),
    "ia3": peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[]),
    "prompt": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2),
    "trainable tokens": peft.TrainableTokensConfig(token_indices=[1]),
    "vblora": peft.VBLoRAConfig(target_modules=["q_proj"], vector_length=4, num_vectors=8),
    "layer norm": peft.LNTuningConfig(target_modules=["norm"]),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_every_name_that_peft_saves_is_standard_and_names_a_module_of_the_base(case):
    base = AutoModelForCausalLM.from_config(
        LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            attention_bias=True,
        )
    )
    modules = {name for name, _ in base.named_modules()}
    with torch.no_grad():
        model = peft.get_peft_model(base, CONFIGS[case])
        names = get_peft_model_state_dict(model, save_embedding_layers=False)
    assert names
    for name in names:
        key = parse_key(name, CONFIGS[case].peft_type.value)
        assert key.is_standard, name
        assert key.module in modules, name
