"""The `facts` member of a record, computed from what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from registry.domain.adapter_config import AdapterConfig
from registry.domain.assembly import Assembly, assemble
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.findings import Findings
from registry.domain.keys import Part, parse_key
from registry.domain.record import RecordFacts
from registry.domain.rows import decide_rows
from registry.domain.sizes import Sizes, measure_sizes
from registry.domain.tensors import Layout

# (part) -> the axis on which the rank stands.
_RANK_AXIS = {Part.LORA_A: 0, Part.LORA_EMBEDDING_A: 0}


def compute_facts(adapter: AdapterFacts, base: BaseFacts | None = None) -> RecordFacts:
    """Facts of the adapter alone, and beside a base what only both together tell.

    Absent knowledge is None, never 0. Rows are those that the adapter's file pins (rule 1).
    """
    config, weights = adapter.config, adapter.weights
    layout = weights.layout if weights is not None else None
    members: dict[str, object] = {
        "other_adapters": adapter.other_adapters,
        "tokenizer_length": adapter.tokenizer.length if adapter.tokenizer is not None else None,
    }
    if config is not None:
        members |= _config_facts(config)
    if weights is not None:
        members["weights_file"] = min(weights.files, default=None)
        members["weights_bytes"] = weights.size_bytes
    if layout is not None:
        members["tensor_count"] = len(layout)
        members["dtypes"] = dict(sorted(Counter(spec.dtype for spec in layout).items()))
        if config is not None:
            members["ranks"] = count_ranks(layout, config.peft_type)
    if base is not None and base.config is not None:
        members["base_config_vocab_size"] = base.config.vocab_size
        members["tie_word_embeddings"] = base.config.tie_word_embeddings
        if config is not None and layout is not None:
            members |= _pair_facts(adapter, base, config, layout)
    return RecordFacts(**members)  # type: ignore[arg-type]  # names are those of RecordFacts


def _config_facts(config: AdapterConfig) -> dict[str, object]:
    return {
        "peft_type": config.peft_type,
        "task_type": config.task_type,
        "rank": config.r,
        "lora_alpha": config.lora_alpha,
        "target_modules": config.target_modules,
        "modules_to_save": config.modules_to_save,
        "declared_base": config.base_model_name_or_path,
    }


def _pair_facts(
    adapter: AdapterFacts, base: BaseFacts, config: AdapterConfig, layout: Layout
) -> dict[str, object]:
    assert base.config is not None
    assembly = assemble(adapter, base, config, base.config, layout, None, Findings())
    sizes = sizes_along_plan(assembly, base)
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


def sizes_along_plan(assembly: Assembly, base: BaseFacts) -> Sizes:
    """Parameters and bytes once the plan's resize is done."""
    decision = decide_rows(
        assembly.input_side,
        assembly.output_side,
        assembly.tokens,
        assembly.pair.base.config.model_type,
    )
    size = base.weights.size_bytes if base.weights is not None else None
    return measure_sizes(assembly.pair, decision.rows, assembly.dtype, size)


def count_ranks(layout: Layout, peft_type: str) -> Mapping[str, int] | None:
    """Rank -> number of adapted modules, from the tensors; None for types without ranks."""
    ranks: Counter[int] = Counter()
    for spec in layout:
        axis = _RANK_AXIS.get(parse_key(spec.name, peft_type).part)
        if axis is not None and len(spec.shape) > axis:
            ranks[spec.shape[axis]] += 1
    return {str(rank): count for rank, count in sorted(ranks.items())} or None
