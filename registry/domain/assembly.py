"""From facts to what the rules read: the base, the tensors' names, the vocabulary's sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.domain.adapter_config import AdapterConfig
from registry.domain.base_model import BaseConfig
from registry.domain.base_view import view_base
from registry.domain.classes import choose_auto_class, has_output_head
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.findings import Findings
from registry.domain.keys import Part
from registry.domain.labels import CLASSIFICATION_TASKS, LabelRows, find_label_rows
from registry.domain.naming import Naming, name_tensors
from registry.domain.pair import LORA_PARTS, FileTensor, Pair, read_keys
from registry.domain.rows import RowEvidence, TokenUse, VocabularySide
from registry.domain.saved import make_saved_root
from registry.domain.sizes import LOADABLE_DTYPES, Sizes
from registry.domain.steps import Side
from registry.domain.targets import make_rank_rule, make_target_rule
from registry.domain.tensors import Layout

DEFAULT_DTYPE = "float32"
# Tensors of the vocabulary's modules, each with its side.
Sided = Sequence[tuple[FileTensor, Side]]
_LORA_A, _LORA_B = Part.LORA_A, Part.LORA_B
_LOADABLE = frozenset(LOADABLE_DTYPES.values())


@dataclass(frozen=True)
class Assembly:
    """Everything that is known before the first decision."""

    pair: Pair
    naming: Naming
    input_side: VocabularySide
    output_side: VocabularySide
    labels: LabelRows | None
    tokens: TokenUse
    auto_class: str
    dtype: str


def assemble(
    adapter: AdapterFacts,
    base: BaseFacts,
    config: AdapterConfig,
    base_config: BaseConfig,
    layout: Layout,
    matched: frozenset[str] | None,
    findings: Findings,
) -> Assembly:
    """Take the pair apart. Names without a certain meaning are noted in `findings`."""
    keyed = read_keys(layout, config.peft_type)
    modules = keyed.modules
    auto_class = choose_auto_class(config.task_type, base_config, modules)
    has_head = has_output_head(auto_class)
    view = view_base(base, base_config, auto_class, has_head=has_head, modules=modules)
    saved_root = make_saved_root(config)
    naming = name_tensors(keyed.tensors, config, view, saved_root, findings)
    adapted: set[str] = set()
    nested: set[str] = set()
    others: list[FileTensor] = []
    for tensor in naming.tensors:
        key = tensor.key
        part = key.part
        if part is _LORA_A or part is _LORA_B or part in LORA_PARTS:
            adapted.add(key.module)
            if key.base_layers:
                nested.add(key.module)
        else:
            others.append(tensor)
    pair = Pair(
        config=config,
        base=view,
        tensors=naming.tensors,
        others=tuple(others),
        targets=make_target_rule(config, base_config.model_type, matched),
        rank=make_rank_rule(config),
        saved_root=saved_root,
        adapted=frozenset(adapted),
        nested=frozenset(nested),
    )
    sides = {
        module: side
        for module in adapted.union(key.module for _, key in others)
        if (side := view.side_of(module)) is not None
    }
    sided = [(each, sides[each.key.module]) for each in naming.tensors if each.key.module in sides]
    return Assembly(
        pair=pair,
        naming=naming,
        input_side=_make_side("input", pair, sided),
        output_side=_make_side("output", pair, sided),
        labels=_find_labels(pair),
        tokens=_token_use(adapter, base, config, base_config),
        auto_class=auto_class,
        dtype=choose_dtype(base_config, base),
    )


def describe_pair(assembly: Assembly, sizes: Sizes) -> Mapping[str, object]:
    """Members of a record's facts that only adapter and base together tell."""
    tree = assembly.pair.base.tree
    return {
        "embedding_rows": assembly.input_side.file_rows,
        "output_rows": assembly.output_side.file_rows,
        "base_embedding_rows": tree.embedding_rows,
        "base_output_rows": tree.output_rows,
        "tie_word_embeddings": assembly.pair.base.tied,
        "trainable_parameters": sizes.trainable,
        "trainable_fraction": sizes.fraction,
        "memory_bytes": sizes.memory_bytes,
    }


def choose_dtype(config: BaseConfig, base: BaseFacts) -> str:
    """The base config's dtype, else its header's commonest, else float32 (contract section 3)."""
    if config.dtype in _LOADABLE:
        return config.dtype or DEFAULT_DTYPE
    layout = base.weights.layout if base.weights else None
    counted = Counter(
        LOADABLE_DTYPES[spec.dtype] for spec in layout or () if spec.dtype in LOADABLE_DTYPES
    )
    return min(counted, key=lambda dtype: (-counted[dtype], dtype), default=DEFAULT_DTYPE)


# --- vocabulary --------------------------------------------------------------------------------


def _make_side(side: Side, pair: Pair, sided: Sided) -> VocabularySide:
    tree = pair.base.tree
    tensors = [tensor for tensor, found in sided if found == side]
    module = pair.base.input_embedding if side == "input" else pair.base.output_head
    evidence = tuple(
        item for tensor in tensors if (item := _read_evidence(tensor, side)) is not None
    )
    if module is None and not evidence:
        return VocabularySide(side, None, None, (), True)
    rows = tree.embedding_rows if side == "input" else tree.output_rows
    shape = None if module is None else pair.base.weight(module)
    if shape is None and pair.base.tied and pair.base.input_embedding is not None:
        shape = pair.base.weight(pair.base.input_embedding)
    return VocabularySide(side, rows, shape, evidence, _is_filled(side, pair, sided))


def _read_evidence(tensor: FileTensor, side: Side) -> RowEvidence | None:
    """Rule 1: the dimensions that pin a row count, and nothing else."""
    if len(tensor.shape) != 2:
        return None
    part, leaf = tensor.key.part, tensor.key.leaf
    if part in (Part.SAVED, Part.BASE_LAYER) and leaf == "weight":
        return RowEvidence(side, tensor.spec.name, tensor.shape, tensor.shape[0])
    if part is Part.LORA_EMBEDDING_A and side == "input":
        return RowEvidence(side, tensor.spec.name, tensor.shape, tensor.shape[1])
    if part is Part.LORA_B and leaf == "weight" and side == "output":
        return RowEvidence(side, tensor.spec.name, tensor.shape, tensor.shape[0])
    return None


def _is_filled(side: Side, pair: Pair, sided: Sided) -> bool:
    """True when a tensor of the file gives every row of the side its values.

    On a tied base a matrix that replaces the base's own serves both sides; a saved module is a
    copy for its own side alone, unless PEFT was told to tie the copies.
    """
    for tensor, found in sided:
        if tensor.key.part not in (Part.SAVED, Part.BASE_LAYER) or tensor.key.leaf != "weight":
            continue
        if found == side:
            return True
        if pair.base.tied:
            own_copy = pair.saved_root(tensor.module) is not None
            if not own_copy or pair.config.ensure_weight_tying:
                return True
    return False


def _find_labels(pair: Pair) -> LabelRows | None:
    if pair.config.task_type not in CLASSIFICATION_TASKS:
        return None
    return find_label_rows(
        (tensor.spec.name, tensor.module, tensor.shape)
        for tensor in pair.others
        if tensor.key.part is Part.SAVED and tensor.key.leaf == "weight"
        if pair.saved_root(tensor.module) is not None
    )


def _token_use(
    adapter: AdapterFacts, base: BaseFacts, config: AdapterConfig, base_config: BaseConfig
) -> TokenUse:
    ids: dict[str, tuple[int, ...]] = {}
    for members in (base_config.token_ids, base.generation_token_ids or {}):
        for name, values in members.items():
            ids[name] = tuple(sorted({*ids.get(name, ()), *values}))
    trained = config.trainable_token_indices or ()
    listed = trained if isinstance(trained, tuple) else sum(trained.values(), ())
    return TokenUse(
        tokenizer=adapter.tokenizer or base.tokenizer,
        own=adapter.tokenizer is not None,
        base_ids=ids,
        trained_ids=tuple(sorted(set(listed))),
    )
