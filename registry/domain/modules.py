"""The base's modules: which there are, their weights' shapes, the two sides of the vocabulary.

Two sources. The parameters of a built model, once a rehearsal has built one, have the names that
PEFT sees; such a tree is exact. Before that there are the names in the repository's files, and
those are what the class that saved them wrote: without the prefix of the class we load (gpt2's own
file says `h.0.attn.c_attn`, the module is `transformer.h.0.attn.c_attn`), with the heads of another
task, without a tied head, fused, renamed or packed. What such a tree cannot tell is None, which
means unknown, and never False.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from registry.domain.base_model import BaseConfig, auto_classes
from registry.domain.library_tables import (
    CONV1D_MODEL_TYPES,
    SHARED_EMBEDDING_MODEL_TYPES,
    TIED_HEADS,
)
from registry.domain.model_defaults import RENAMED_MODEL_TYPES
from registry.domain.model_types import AUTO_CLASSES, BASE_PREFIXES
from registry.domain.tensors import Layout, Shape, TensorSpec


class ModuleKind(StrEnum):
    """How a weight is laid out: linear [out, in], conv1d [in, out], embedding [rows, width]."""

    LINEAR = "linear"
    CONV1D = "conv1d"
    EMBEDDING = "embedding"


@dataclass(frozen=True)
class ModuleTree:
    """The modules of the base as the class named by the plan builds them.

    `parameters` maps each parameter to its spec, under module names. `exact` is True when they
    come from a built model. `prefix` is what the files leave out before each name (`transformer.`)
    and `stripped` what they have too much; both are empty for an exact tree of the same class.
    `input_embedding` and `output_head` are module paths, None when unknown or when the class has
    none; rows are None when unknown. A tied head that the files omit has the embedding's rows.
    `stored_embedding` and `stored_head` are the names of the two in the files, known even where
    those are no module paths.
    """

    parameters: Mapping[str, TensorSpec]
    exact: bool
    prefix: str
    stripped: str
    input_embedding: str | None
    output_head: str | None
    embedding_rows: int | None
    output_rows: int | None
    stored_embedding: str | None
    stored_head: str | None
    # Paths of all modules, inner ones included.
    _modules: frozenset[str]
    # Where the bare model lies; None when unknown.
    _base: str | None
    # Modules without a weight of their own in the files -> the module that holds it.
    _shared: Mapping[str, str]
    _packed: bool
    _renamed: bool
    _conv1d: bool

    def weight_shape(self, module: str) -> Shape | None:
        """The shape of `module.weight`; None when unknown, or when the module has no weight."""
        spec = self.parameters.get(f"{self._shared.get(module, module)}.weight")
        if spec is None or not self._literal(module) or not spec.dtype.startswith(_FLOATS):
            return None
        return None if self._packed and not self.exact else spec.shape

    def has_module(self, module: str) -> bool | None:
        """Whether the base has this module; None when the names at hand cannot say."""
        if not self._literal(module):
            return None
        if module in self._modules or module in (self.input_embedding, self.output_head):
            return True
        last = module.rpartition(".")[2]
        if last in _SHARED_NAMES or _OPTIONAL in module or not self._is_covered(module):
            return None
        return False

    def kind(self, module: str) -> ModuleKind | None:
        """The layout of the module's weight; None for weights of other dimensions or unknown."""
        shape = self.weight_shape(module)
        if shape is None or len(shape) != 2:
            return None
        last = module.rpartition(".")[2]
        if module == self.input_embedding or last in _EMBEDDINGS or last in _POSITIONS:
            return ModuleKind.EMBEDDING
        if self._conv1d and last in _CONV1D_NAMES:
            return ModuleKind.CONV1D
        return ModuleKind.LINEAR

    def _literal(self, module: str) -> bool:
        """Whether a name means in the files what it means in the model."""
        if self.exact:
            return True
        return not self._renamed and not _EXPERTS & set(module.split("."))

    def _is_covered(self, module: str) -> bool:
        """Whether the parameters at hand are all that the base has around this module: true below
        the bare model; the heads beside it depend on the class that saved them."""
        first = module.split(".")[0]
        if self._base is None or not self._modules or first in _HEADS:
            return False
        # A path that begins inside the bare model (`layers.0` for `model.layers.0`) is astray.
        return module.startswith(self._base) or f"{self._base}{first}" in self._modules


_FLOATS = ("F64", "F32", "F16", "BF16", "F8_")
# Segments by which input embeddings go, the likeliest first.
_EMBEDDINGS = (
    *("embed_tokens", "wte", "word_embeddings", "shared", "embed_in", "tok_embeddings"),
    *("token_embeddings", "embeddings", "embedding", "input_embedding", "tokens_embed"),
    *("word_embedding", "w"),
)
_POSITIONS = frozenset(
    {
        *{"wpe", "embed_positions", "position_embeddings", "token_type_embeddings"},
        *{"relative_attention_bias", "position_embedding"},
    }
)
# Modules that files leave out when another holds the same weight.
_SHARED_NAMES = frozenset({"embed_tokens", "shared", "lm_head", "decoder", "embed_out"})
# Part of the bare model that some classes build and others leave out.
_OPTIONAL = "pooler"
# First segments of what a class puts on top of the bare model.
_HEADS = frozenset(
    {
        *{"lm_head", "embed_out", "output", "output_projection", "cls", "predictions"},
        *{"score", "classifier", "pre_classifier", "classification_head", "qa_outputs"},
        *{"generator_lm_head", "generator_predictions", "vocab_projector", "vocab_transform"},
        *{"vocab_layer_norm", "discriminator_predictions", "sequence_summary", "multi_choice_head"},
        *{"final_logits_bias", "logits_proj", "mlm_head"},
        *{"head", "proj_out", "pred_layer", "lm_loss"},
    }
)
_OUTPUT_HEADS = (
    *("lm_head", "embed_out", "output", "output_projection", "cls.predictions.decoder"),
    *("lm_head.decoder", "vocab_projector", "generator_lm_head", "predictions.decoder", "head"),
    *("head.decoder", "proj_out", "pred_layer.proj", "lm_loss", "decoder", "decoder.lm_head"),
    *("language_model.lm_head", "text_model.lm_head", "decoder.cls.predictions.decoder"),
)
_CAUSAL = "AutoModelForCausalLM"
_CLASSES_WITH_HEAD = frozenset(AUTO_CLASSES[letter] for letter in "CEIMP")
_EXPERTS = frozenset({"experts", "block_sparse_moe", "shared_experts", "router"})
# The layers that are transformers' Conv1D, in the types that have it.
_CONV1D_NAMES = frozenset({"c_attn", "c_proj", "c_fc", "q_attn"})
# Heads that the library renames while loading, where nothing else of the type is.
_RENAMED_HEADS = {"gpt_neox": ("embed_out", "lm_head")}
# Packed weights as quantisers name them, beside or in place of `weight`.
_PACKED_LEAVES = frozenset(
    {"qweight", "qzeros", "absmax", "quant_map", "weight_packed", "weight_scale", "SCB"}
)


def build_module_tree(
    config: BaseConfig,
    layout: Layout | None,
    tree: Layout | None = None,
    auto_class: str = "AutoModelForCausalLM",
) -> ModuleTree:
    """The tree for the class that the plan loads.

    `layout` holds the names in the repository's files, `tree` those of a built model, which are
    preferred. With neither the tree knows nothing.
    """
    specs = tree if tree is not None else layout if layout is not None else ()
    target = _prefix_for(config.model_type, auto_class)
    prefix, stripped = _reconcile([spec.name for spec in specs], config.model_type, target)
    renamed_head = _RENAMED_HEADS.get(config.model_type or "") if tree is None else None
    if prefix or stripped or renamed_head is not None:
        specs = tuple(
            spec._replace(name=_module_name(spec.name, prefix, stripped, renamed_head))
            for spec in specs
        )
    parameters = {spec.name: spec for spec in specs}
    renamed = tree is None and (
        config.model_type in RENAMED_MODEL_TYPES or auto_classes(config.model_type) is None
    )
    stored = _find_embedding(config, parameters)
    embedding = _embedding_path(config.model_type, stored, auto_class)
    with_head = auto_class in _CLASSES_WITH_HEAD
    stored_head = _find_head(parameters) if with_head else None
    tied = with_head and stored_head is None and bool(config.tie_word_embeddings)
    head = _tied_head_path(config) if tied else stored_head
    rows = _rows(parameters, stored)
    shared = {path: stored for path in (embedding, head if tied else None) if path and stored}
    return ModuleTree(
        parameters=parameters,
        exact=tree is not None,
        prefix=prefix,
        stripped=stripped,
        input_embedding=None if renamed else embedding,
        output_head=None if renamed else head,
        embedding_rows=rows,
        output_rows=rows if tied else _rows(parameters, stored_head),
        stored_embedding=embedding,
        stored_head=head,
        _modules=_module_paths(parameters),
        _base=None if tree is None and config.remote_code else target,
        _shared=shared,
        _packed=_is_packed(config, specs),
        _renamed=renamed,
        _conv1d=config.model_type in CONV1D_MODEL_TYPES,
    )


def _prefix_for(model_type: str | None, auto_class: str) -> str | None:
    """The path of the bare model in this class, with its dot; empty when there is none, None when
    unknown."""
    if auto_class == "AutoModel":
        return ""
    letters = [letter for letter, name in AUTO_CLASSES.items() if name == auto_class]
    if model_type is None or auto_classes(model_type) is None or not letters:
        return None
    return _PREFIXES.get((model_type, letters[0]), "model.")


def _split_prefixes() -> dict[tuple[str, str], str | None]:
    found: dict[tuple[str, str], str | None] = {}
    for prefix, entries in BASE_PREFIXES.items():
        path = None if prefix == "?" else f"{prefix}." if prefix else ""
        for entry in entries.split():
            model_type, _, letters = entry.partition(":")
            for letter in letters or AUTO_CLASSES:
                found[model_type, letter] = path
    return found


_PREFIXES = _split_prefixes()


def _reconcile(names: list[str], model_type: str | None, target: str | None) -> tuple[str, str]:
    """What to put before each name of the bare model, and what to take off first.

    The files were saved either by a bare model or by a class with a head, under whatever prefix
    that class has for this model type.
    """
    known = {_prefix_for(model_type, name) for name in AUTO_CLASSES.values()} - {None, ""}
    saved = next(
        (
            prefix
            for prefix in sorted(prefix for prefix in known if prefix)
            if any(name.startswith(prefix) for name in names)
        ),
        "",
    )
    if target is None or saved == target:
        return "", ""
    return target, saved


def _module_name(
    name: str, prefix: str, stripped: str, renamed_head: tuple[str, str] | None
) -> str:
    first, dot, rest = name.partition(".")
    if renamed_head is not None and first == renamed_head[0]:
        return f"{renamed_head[1]}{dot}{rest}"
    if stripped:
        # Beside the bare model lie the heads of the class that saved the file.
        return prefix + name.removeprefix(stripped) if name.startswith(stripped) else name
    return name if first in _HEADS else prefix + name


def _module_paths(parameters: Iterable[str]) -> frozenset[str]:
    paths: set[str] = set()
    for name in parameters:
        path = name.rpartition(".")[0]
        while path and path not in paths:
            paths.add(path)
            path = path.rpartition(".")[0]
    return frozenset(paths)


def _find_embedding(config: BaseConfig, parameters: Mapping[str, TensorSpec]) -> str | None:
    """The input embedding: by name, then by the config's vocabulary, then the shortest path."""
    found: list[tuple[bool, bool, int, int, str]] = []
    for name, spec in parameters.items():
        path, _, leaf = name.rpartition(".")
        last = path.rpartition(".")[2]
        if leaf != "weight" or last not in _EMBEDDINGS or len(spec.shape) != 2:
            continue
        shared = config.model_type in SHARED_EMBEDDING_MODEL_TYPES and last == "shared"
        fits = spec.shape[0] == config.vocab_size
        found.append((not shared, not fits, _EMBEDDINGS.index(last), path.count("."), path))
    if not found:
        return None
    return min(found)[-1]


def _embedding_path(model_type: str | None, stored: str | None, auto_class: str) -> str | None:
    """The module that transformers calls the input embedding; files may name one of its uses."""
    if stored is None or model_type not in SHARED_EMBEDDING_MODEL_TYPES:
        return stored
    if auto_class == _CAUSAL:
        # The decoder alone is built.
        own = "word_embeddings" if model_type == "prophetnet" else "embed_tokens"
        return f"{stored.partition('.')[0]}.decoder.{own}"
    if stored.endswith("shared") or model_type == "prophetnet":
        return stored
    for side in ("encoder.", "decoder."):
        before, found, _ = stored.rpartition(side)
        if found:
            return f"{before}shared"
    return stored


def _tied_head_path(config: BaseConfig) -> str | None:
    """The head of the type, `lm_head` for most; None for masked language models not in the table,
    whose heads have names of their own."""
    known = TIED_HEADS.get(config.model_type or "")
    if known is not None:
        return known
    masked = "AutoModelForMaskedLM" in (auto_classes(config.model_type) or ())
    return None if masked and not config.is_encoder_decoder else "lm_head"


def _find_head(parameters: Mapping[str, TensorSpec]) -> str | None:
    for head in _OUTPUT_HEADS:
        spec = parameters.get(f"{head}.weight")
        if spec is not None and len(spec.shape) == 2:
            return head
    return None


def _rows(parameters: Mapping[str, TensorSpec], module: str | None) -> int | None:
    spec = parameters.get(f"{module}.weight")
    return spec.shape[0] if spec is not None and spec.dtype.startswith(_FLOATS) else None


def _is_packed(config: BaseConfig, specs: Layout) -> bool:
    return config.quantization is not None or any(
        spec.name.rpartition(".")[2] in _PACKED_LEAVES for spec in specs
    )
