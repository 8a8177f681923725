"""The base as the rules look at it: parameters under the built model's names, and its sides."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

from registry.domain.base_model import BaseConfig, part_types
from registry.domain.facts import BaseFacts
from registry.domain.library_tables import (
    CONVERTED_MODEL_TYPES,
    OWN_PARTS_MODEL_TYPES,
    RENAMED_AGAIN,
    SHARED_EMBEDDING_MODEL_TYPES,
)
from registry.domain.model_defaults import RENAMED_MODEL_TYPES
from registry.domain.modules import ModuleKind, ModuleTree, build_module_tree
from registry.domain.steps import Side
from registry.domain.tensors import Layout, Shape

_BUFFERS = (".masked_bias", ".inv_freq", "position_ids")
_MASKS = (".attn.bias", ".attention.bias")
# Last segments under which encoder-decoders keep further uses of their one input embedding.
_EMBEDDING_NAMES = frozenset({"embed_tokens", "shared", "word_embeddings"})
# PEFT translates names of the first kind, transformers those of the second; files of the third
# name other modules than the model has.
_TRANSLATED = CONVERTED_MODEL_TYPES | RENAMED_MODEL_TYPES | OWN_PARTS_MODEL_TYPES
# Output heads of language models; classes of other tasks leave them out.
_LANGUAGE_HEADS = frozenset({"lm_head", "embed_out"})
# Heads of other tasks; classes of language models have none of them.
_TASK_HEADS = frozenset(
    {
        *{"score", "classifier", "qa_outputs", "classification_head"},
        *{"sequence_summary", "logits_proj"},
    }
)


@dataclass(frozen=True)
class NameIndex:
    """The names of a layout, by what is asked of them.

    `below` maps each module path (inner ones too) to the parameters under it, `matrices` each
    module to its weight where that has two dimensions or more, `ends` each last segment to the
    paths of `below` that have it, `counts` each first segment to the number of its parameters
    (buffers left out); `poolers` counts those below poolers. `weights` holds the weights that the
    tree speaks for, `conv1d` the modules that store theirs [in, out].
    """

    below: Mapping[str, tuple[str, ...]]
    matrices: Mapping[str, Shape]
    ends: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]
    poolers: int
    weights: Mapping[str, Shape]
    conv1d: frozenset[str]


def index_names(tree: ModuleTree) -> NameIndex:
    """Index the parameters of a module tree."""
    below: dict[str, list[str]] = {}
    matrices: dict[str, Shape] = {}
    counts: dict[str, int] = {}
    for name, spec in tree.parameters.items():
        path, _, leaf = name.rpartition(".")
        if leaf == "weight" and len(spec.shape) >= 2:
            matrices[path] = spec.shape
        if not _is_buffer(name, spec.shape):
            root = name.partition(".")[0]
            counts[root] = counts.get(root, 0) + prod(spec.shape)
        while path:
            below.setdefault(path, []).append(name)
            path = path.rpartition(".")[0]
    known = {module: tree.weight_shape(module) for module in below}
    ends: dict[str, list[str]] = {}
    for path in below:
        ends.setdefault(path.rpartition(".")[2], []).append(path)
    pooled = (name for path in ends.get("pooler", ()) for name in below[path])
    return NameIndex(
        below={path: tuple(names) for path, names in below.items()},
        matrices=matrices,
        ends={last: tuple(paths) for last, paths in ends.items()},
        counts=counts,
        poolers=sum(prod(tree.parameters[name].shape) for name in pooled),
        weights={module: shape for module, shape in known.items() if shape is not None},
        conv1d=frozenset(m for m in matrices if tree.kind(m) is ModuleKind.CONV1D),
    )


def _is_buffer(name: str, shape: Shape) -> bool:
    """True for what files of older models hold beside the parameters (masks, positions)."""
    return name.endswith(_BUFFERS) or (name.endswith(_MASKS) and len(shape) > 1)


@dataclass(frozen=True)
class BaseView:
    """`has_head` is False for classes that leave the language model's head out.

    `tied` tells whether the output head is the input embedding's own matrix. `converted` is True
    for model types whose adapter names PEFT translates while it loads: absence proves nothing then.
    """

    config: BaseConfig
    tree: ModuleTree
    names: NameIndex
    tied: bool
    has_head: bool
    converted: bool
    input_embedding: str | None
    output_head: str | None
    _known: dict[str, bool | None] = field(default_factory=dict, compare=False, repr=False)

    @property
    def speaks(self) -> bool:
        """False where the names and shapes at hand say nothing of modules in general."""
        if self.converted or not self._recognised:
            return False
        return self.tree.exact or self.config.quantization is None

    @property
    def _recognised(self) -> bool:
        """False for names among which not even the input embedding can be made out: then what a
        name lacks proves nothing."""
        return self.tree.exact or self.input_embedding is not None

    def has(self, module: str) -> bool | None:
        """True, False, or None where the names at hand do not tell."""
        try:
            return self._known[module]
        except KeyError:
            return self._known.setdefault(module, self._look_up(module))

    def _look_up(self, module: str) -> bool | None:
        heads_of_others = _TASK_HEADS if self.has_head else _LANGUAGE_HEADS
        if module.partition(".")[0] in heads_of_others:
            # A file may hold the heads of another class; a built model has its own alone.
            return self.tree.exact and module in self.names.below
        if module in self.names.weights:
            return True
        found = self.tree.has_module(module)
        if found is False and (self.converted or not self._recognised):
            return None
        return found

    def weight(self, module: str) -> Shape | None:
        """The shape of the module's weight; None when not known."""
        shape = self.names.weights.get(module)
        if shape is None:
            shape = self.tree.weight_shape(module)
        if shape is None and self.tied and module == self.output_head:
            # Files leave a tied head out: it is the input embedding's own matrix.
            shape = self.tree.weight_shape(self.input_embedding or module)
        return self._stored_table(module) if shape is None else shape

    def _stored_table(self, module: str) -> Shape | None:
        """The shape of a side of the vocabulary in the base's files, whatever it is called there:
        no conversion of the library changes it."""
        tree = self.tree
        if module == self.input_embedding and tree.embedding_rows is not None:
            stored = tree.stored_embedding
        elif module == self.output_head and tree.output_rows is not None:
            stored = tree.stored_head
        else:
            return None
        spec = tree.parameters.get(f"{stored}.weight")
        return None if spec is None or self.config.quantization is not None else spec.shape

    @property
    def renamed_again(self) -> re.Pattern[str] | None:
        """Matches paths of modules whose own names PEFT changes while it loads LoRA for them."""
        pattern = RENAMED_AGAIN.get(self.config.model_type or "")
        return None if pattern is None else re.compile(pattern)

    def is_conv1d(self, module: str) -> bool:
        """True when the module's weight is stored [in, out]."""
        return module in self.names.conv1d

    def parameter(self, module: str, leaf: str) -> Shape | None:
        """The shape of any parameter of the base, None when not known."""
        if leaf == "weight":
            return self.weight(module)
        if not self.speaks:
            return None
        spec = self.tree.parameters.get(f"{module}.{leaf}")
        return None if spec is None else spec.shape

    def side_of(self, module: str) -> Side | None:
        """`input` or `output` for the modules whose first dimension is the vocabulary."""
        if module == self.output_head:
            return "output"
        if module == self.input_embedding:
            return "input"
        # A decoder that stands alone is configured as no encoder-decoder, and shares all the same.
        config = self.config
        shares = config.is_encoder_decoder or config.model_type in SHARED_EMBEDDING_MODEL_TYPES
        if shares and module.rpartition(".")[2] in _EMBEDDING_NAMES:
            return "input"
        return None


def view_base(
    base: BaseFacts,
    config: BaseConfig,
    auto_class: str,
    *,
    has_head: bool,
    modules: Collection[str] = (),
) -> BaseView:
    """The base as the auto class builds it. `modules` are those that the adapter's file names."""
    layout = base.weights.layout if base.weights is not None else None
    tree, names = _index_tree(_TreeKey.of(config, layout, base.tree, auto_class))
    tied = config.tie_word_embeddings
    if tied is None:
        head = tree.output_head
        tied = head is not None and f"{head}.weight" not in tree.parameters
    return BaseView(
        config=config,
        tree=tree,
        names=names,
        tied=tied,
        has_head=has_head,
        converted=not _TRANSLATED.isdisjoint({config.model_type, *part_types(config)}),
        input_embedding=tree.input_embedding or _named_alike(tree.stored_embedding, modules),
        output_head=(tree.output_head or _named_alike(tree.stored_head, modules))
        if has_head
        else None,
    )


def _named_alike(stored: str | None, modules: Collection[str]) -> str | None:
    """The one module of the adapter's file with the last name of a side of the vocabulary.

    Where the library renames the base's tensors while it loads them, the path in the base's files
    is not the module's; the adapter's file has the module's.
    """
    last = None if stored is None else stored.rpartition(".")[2]
    found = {module for module in modules if module.rpartition(".")[2] == last}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class _TreeKey:
    """What a tree depends on. The config itself holds mappings, so its parts stand for it."""

    layout: Layout | None
    built: Layout | None
    auto_class: str
    members: tuple[object, ...]
    config: BaseConfig = field(compare=False, repr=False)

    @classmethod
    def of(
        cls, config: BaseConfig, layout: Layout | None, built: Layout | None, auto_class: str
    ) -> _TreeKey:
        members = (
            config.model_type,
            config.vocab_size,
            config.tie_word_embeddings,
            config.is_encoder_decoder,
            config.quantization,
            config.remote_code,
        )
        return cls(layout, built, auto_class, members, config)


@lru_cache(maxsize=64)
def _index_tree(key: _TreeKey) -> tuple[ModuleTree, NameIndex]:
    """Thousands of adapters share a base; its names are indexed once."""
    tree = build_module_tree(key.config, key.layout, key.built, key.auto_class)
    return tree, index_names(tree)
