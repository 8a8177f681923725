"""The base's module tree from file names, with really built models as the judge."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import model_type_to_module_name

from registry.domain.base_model import BaseConfig, auto_classes, parse_base_config
from registry.domain.model_types import AUTO_CLASSES, BASE_PREFIXES
from registry.domain.modules import ModuleKind, ModuleTree, _prefix_for, build_module_tree
from registry.domain.tensors import Layout, TensorSpec
from tests.domain.test_base_model import MAPPINGS

SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SIZES = {
    "llama": {**SMALL, "num_key_value_heads": 1},
    "qwen2": {**SMALL, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "gemma2": {**SMALL, "num_key_value_heads": 1, "head_dim": 8},
    "gpt2": {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "gpt_neox": SMALL,
    "opt": {
        "vocab_size": 64,
        "hidden_size": 16,
        "ffn_dim": 24,
        "word_embed_proj_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "bert": SMALL,
    "roberta": SMALL,
    "distilbert": {"vocab_size": 64, "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2},
    "t5": {"vocab_size": 64, "d_model": 16, "d_ff": 24, "d_kv": 8, "num_layers": 2, "num_heads": 2},
    "bart": {
        "vocab_size": 64,
        "d_model": 16,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24,
        "decoder_ffn_dim": 24,
    },
}
# model type, the class whose checkpoint lies in the repository, the class that is loaded
PAIRS = [
    *(("llama", saved, loaded) for saved in "CA" for loaded in "CSTQA"),
    *(("gpt2", saved, loaded) for saved in "CA" for loaded in "CST"),
    *(("bert", saved, loaded) for saved in "MAS" for loaded in "SQTMA"),
    *(("roberta", "M", loaded) for loaded in "SCM"),
    *(("distilbert", "M", loaded) for loaded in "STQ"),
    *(("t5", saved, loaded) for saved in "EA" for loaded in "EA"),
    *(("bart", saved, loaded) for saved in "EA" for loaded in "ES"),
    *(("opt", saved, "C") for saved in "CA"),
    *(("gpt_neox", saved, loaded) for saved in "CA" for loaded in "CS"),
    ("qwen2", "C", "C"),
    ("gemma2", "C", "S"),
]


@cache
def _built(model_type: str, letter: str) -> torch.nn.Module:
    config = CONFIG_MAPPING[model_type](**SIZES[model_type])
    with torch.device("meta"):
        return getattr(transformers, AUTO_CLASSES[letter]).from_config(config)


def _config(model_type: str, letter: str = "A") -> BaseConfig:
    return parse_base_config(_built(model_type, letter).config.to_json_string().encode())


def _layout(model: torch.nn.Module, *, tied: bool = True) -> Layout:
    """The tensors of a checkpoint: what is tied is written once, under its first name."""
    shared = {name for name in getattr(model, "all_tied_weights_keys", {}) if tied}
    return tuple(
        TensorSpec(name, "F32", tuple(tensor.shape))
        for name, tensor in sorted(model.state_dict().items())
        if name not in shared
    )


def _tree(model_type: str, saved: str, loaded: str, *, exact: bool = False) -> ModuleTree:
    layout = _layout(_built(model_type, saved))
    return build_module_tree(
        _config(model_type, saved),
        None if exact else layout,
        layout if exact else None,
        AUTO_CLASSES[loaded],
    )


def _weights(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(module.weight.shape)
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), torch.Tensor)
    }


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("model_type", "saved", "loaded"), PAIRS)
def test_what_the_tree_says_is_true_of_the_built_model(model_type, saved, loaded, exact):
    model = _built(model_type, loaded)
    tree = _tree(model_type, saved, loaded, exact=exact)
    weights = _weights(model)
    known = 0
    for module, shape in weights.items():
        assert tree.has_module(module) is not False, module
        assert tree.weight_shape(module) in (shape, None), module
        known += tree.weight_shape(module) is not None
    # All but the heads of another class.
    assert known >= len(weights) - 6
    assert known > 0.7 * len(weights)


@pytest.mark.parametrize(("model_type", "saved", "loaded"), PAIRS)
def test_a_module_that_is_not_there_is_never_found(model_type, saved, loaded):
    tree = _tree(model_type, saved, loaded)
    modules = {name for name, _ in _built(model_type, loaded).named_modules()}
    linear = next(name for name in sorted(_weights(_built(model_type, loaded))) if ".1." in name)
    beyond = linear.replace(".1.", ".7.", 1)
    sibling = linear.rpartition(".")[0] + ".no_such_module"
    for absent in (beyond, sibling):
        assert absent not in modules
        assert tree.has_module(absent) is False


@pytest.mark.parametrize(("model_type", "saved", "loaded"), PAIRS)
def test_the_sides_are_those_of_the_built_model(model_type, saved, loaded):
    model = _built(model_type, loaded)
    tree = _tree(model_type, saved, loaded)
    paths = {id(module): name for name, module in model.named_modules()}
    assert tree.input_embedding == paths[id(model.get_input_embeddings())]
    assert tree.embedding_rows == 64
    head = model.get_output_embeddings()
    if loaded in "CEM" and head is not None:
        assert tree.output_head in (paths[id(head)], None)
        assert tree.output_rows in (64, None)
        if saved == loaded or loaded != "M":
            assert tree.output_rows in ((64,) if saved == loaded else (64, None))
    else:
        assert (tree.output_head, tree.output_rows) == (None, None)


def test_a_file_of_the_bare_model_says_what_it_leaves_out():
    tree = _tree("gpt2", "A", "C")
    assert (tree.prefix, tree.stripped, tree.exact) == ("transformer.", "", False)
    assert tree.has_module("transformer.h.0.attn.c_attn") is True
    assert tree.has_module("h.0.attn.c_attn") is False


def test_a_file_of_another_class_says_what_it_has_too_much():
    tree = _tree("llama", "C", "A")
    assert (tree.prefix, tree.stripped) == ("", "model.")
    assert tree.has_module("layers.0.self_attn.q_proj") is True
    assert _tree("llama", "C", "Q").prefix == "transformer."


def test_heads_of_other_classes_are_unknown_and_not_absent():
    tree = _tree("bert", "M", "S")
    assert tree.has_module("classifier") is None
    assert tree.has_module("bert.encoder.layer.1.attention.self.query") is True
    assert tree.has_module("bert.encoder.layer.2.attention.self.query") is False


def test_the_head_of_a_flat_file_stays_where_it_is():
    tree = build_module_tree(
        _config("t5", "E"), _layout(_built("t5", "E"), tied=False), None, AUTO_CLASSES["S"]
    )
    assert tree.prefix == "transformer."
    assert "lm_head.weight" in tree.parameters
    assert "transformer.shared.weight" in tree.parameters
    assert tree.has_module("transformer.encoder.block.1.layer.0.SelfAttention.q") is True


def test_a_tied_head_has_the_shape_of_the_embedding():
    tree = _tree("qwen2", "C", "C")
    assert "lm_head.weight" not in tree.parameters
    assert tree.output_head == "lm_head"
    assert tree.weight_shape("lm_head") == (64, 16)
    assert (tree.embedding_rows, tree.output_rows) == (64, 64)


def test_an_untied_head_that_the_file_lacks_has_unknown_rows():
    tree = _tree("llama", "A", "C")
    assert (tree.output_head, tree.output_rows) == (None, None)
    assert tree.has_module("lm_head") is None


def test_sides_may_have_different_rows():
    config = _config("llama")
    layout = (
        TensorSpec("lm_head.weight", "BF16", (60, 16)),
        TensorSpec("model.embed_tokens.weight", "BF16", (64, 16)),
    )
    tree = build_module_tree(config, layout)
    assert (tree.embedding_rows, tree.output_rows) == (64, 60)


@pytest.mark.parametrize(
    ("model_type", "module", "kind"),
    [
        ("gpt2", "transformer.h.0.attn.c_attn", ModuleKind.CONV1D),
        ("gpt2", "transformer.wte", ModuleKind.EMBEDDING),
        ("gpt2", "transformer.wpe", ModuleKind.EMBEDDING),
        ("gpt2", "transformer.ln_f", None),
        ("llama", "model.layers.0.self_attn.q_proj", ModuleKind.LINEAR),
        ("llama", "model.embed_tokens", ModuleKind.EMBEDDING),
        ("llama", "lm_head", ModuleKind.LINEAR),
        ("llama", "model.norm", None),
        ("llama", "model.layers.9.self_attn.q_proj", None),
    ],
)
def test_the_layout_of_a_weight_is_told(model_type, module, kind):
    assert _tree(model_type, "C", "C").kind(module) == kind


def test_packed_weights_have_no_shape_and_their_modules_are_there():
    layout = (
        TensorSpec("model.embed_tokens.weight", "F16", (64, 16)),
        TensorSpec("model.layers.0.self_attn.q_proj.qweight", "I32", (2, 16)),
        TensorSpec("model.layers.0.self_attn.q_proj.scales", "F16", (1, 16)),
        TensorSpec("model.layers.0.self_attn.v_proj.weight", "U8", (128, 1)),
    )
    tree = build_module_tree(_config("llama"), layout)
    assert tree.has_module("model.layers.0.self_attn.q_proj") is True
    assert tree.weight_shape("model.layers.0.self_attn.q_proj") is None
    assert tree.weight_shape("model.layers.0.self_attn.v_proj") is None
    assert tree.embedding_rows == 64


def test_experts_and_renamed_types_are_unknown_until_a_model_was_built():
    name = "model.layers.0.mlp.experts.0.gate_proj"
    layout = (TensorSpec(f"{name}.weight", "BF16", (8, 16)),)
    moe = BaseConfig("qwen3_moe", (), 64, 16, 1, False, None)
    tree = build_module_tree(moe, layout)
    assert (tree.has_module(name), tree.weight_shape(name)) == (None, None)
    renamed = BaseConfig("llava", (), 64, 16, 1, False, None)
    old = (TensorSpec("language_model.model.embed_tokens.weight", "BF16", (64, 16)),)
    tree = build_module_tree(renamed, old, None, "AutoModelForImageTextToText")
    assert tree.has_module("language_model.model.embed_tokens") is None
    assert (tree.input_embedding, tree.embedding_rows) == (None, 64)
    new = (TensorSpec("model.language_model.embed_tokens.weight", "BF16", (64, 16)),)
    tree = build_module_tree(renamed, None, new, "AutoModelForImageTextToText")
    assert tree.input_embedding == "model.language_model.embed_tokens"


def test_a_type_that_the_library_does_not_know_is_unknown_in_everything():
    config = BaseConfig("acme", (), 64, 16, 1, None, None, remote_code=True)
    layout = (TensorSpec("model.layers.0.q_proj.weight", "BF16", (16, 16)),)
    tree = build_module_tree(config, layout)
    assert tree.has_module("model.layers.0.q_proj") is None
    assert tree.has_module("model.layers.1.q_proj") is None
    assert tree.weight_shape("model.layers.0.q_proj") is None


def test_without_any_names_nothing_is_known():
    tree = build_module_tree(_config("llama"), None)
    assert tree.has_module("model.layers.0.self_attn.q_proj") is None
    assert (tree.input_embedding, tree.embedding_rows, tree.output_rows) == (None, None, None)


# --- the table of prefixes, read from the library's sources ------------------------------------

MODELS = Path(transformers.__file__).parent / "models"


@cache
def _chunks(path: Path) -> dict[str, str]:
    """Class name -> its source. Files are cut before they are parsed: parsing all takes long."""
    parts = re.split(r"(?m)^(?=class |def |@)", path.read_text(encoding="utf-8"))
    return {part[6:].split("(")[0].split(":")[0]: part for part in parts if part[:6] == "class "}


class _Classes(dict[str, ast.ClassDef]):
    """The classes of one file, parsed when asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._chunks = _chunks(path) if path.exists() else {}

    def __contains__(self, name: object) -> bool:
        return name in self._chunks

    def __missing__(self, name: str) -> ast.ClassDef:
        # A module-level constant may follow the class in its chunk.
        node = next(n for n in ast.parse(self._chunks[name]).body if isinstance(n, ast.ClassDef))
        self[name] = node
        return node


def _bases(node: ast.ClassDef, classes: _Classes) -> list[ast.ClassDef]:
    names = [base.id for base in node.bases if isinstance(base, ast.Name)]
    return [classes[name] for name in names if name in classes and name != node.name]


def _declared_prefix(node: ast.ClassDef, classes: _Classes) -> str | None:
    for statement in node.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        target = statement.target if isinstance(statement, ast.AnnAssign) else target
        if isinstance(target, ast.Name) and target.id == "base_model_prefix":
            return ast.literal_eval(statement.value)
    found = (_declared_prefix(base, classes) for base in _bases(node, classes))
    return next((prefix for prefix in found if prefix is not None), None)


def _assigns(node: ast.ClassDef, classes: _Classes, attribute: str) -> bool:
    parents = [base for base in _bases(node, classes) if not base.name.endswith("PreTrainedModel")]
    made = {
        target.attr
        for function in node.body
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
        for statement in ast.walk(function)
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Attribute)
    }
    # The generic heads of the library set the attribute that the class names.
    generic = any("Generic" in ast.unparse(base) for base in node.bases)
    return (
        attribute in made or generic or any(_assigns(base, classes, attribute) for base in parents)
    )


def test_the_prefixes_are_those_of_the_library_s_classes():
    compared = 0
    unknown = set(BASE_PREFIXES["?"].split())
    for letter in "CESTQIMP":
        for model_type, names in getattr(modeling_auto, MAPPINGS[AUTO_CLASSES[letter]]).items():
            name = names if isinstance(names, str) else names[0]
            module = model_type_to_module_name(model_type)
            path = MODELS / module / f"modeling_{module}.py"
            classes = _Classes(path)
            declared = _declared_prefix(classes[name], classes) if name in classes else None
            if model_type in unknown or not declared:
                continue
            held = f"{declared}." if _assigns(classes[name], classes, declared) else ""
            assert _prefix_for(model_type, AUTO_CLASSES[letter]) == held, (model_type, letter)
            compared += 1
    assert compared > 500


def test_prefixes_are_known_for_known_types_alone():
    assert _prefix_for("acme", "AutoModelForCausalLM") is None
    assert _prefix_for("llama", "AutoModel") == ""
    assert _prefix_for("llama", "AutoModelForCTC") is None
    for types in BASE_PREFIXES.values():
        assert all(auto_classes(entry.partition(":")[0]) for entry in types.split())
