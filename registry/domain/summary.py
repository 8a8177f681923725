"""The `facts` member of a record, computed from what was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from operator import attrgetter

from registry.domain.adapter_config import AdapterConfig
from registry.domain.assembly import Assembly, assemble, describe_pair
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.findings import Findings
from registry.domain.pair import read_keys
from registry.domain.record import RecordFacts
from registry.domain.rows import decide_rows
from registry.domain.sizes import Sizes, measure_sizes
from registry.domain.tensors import Layout


def compute_facts(
    adapter: AdapterFacts,
    base: BaseFacts | None = None,
    described: Mapping[str, object] | None = None,
) -> RecordFacts:
    """Facts of the adapter alone, and beside a base what only both together tell.

    Absent knowledge is None, never 0. Rows are those that the adapter's file pins (rule 1).
    `described` is that of this pair's `compute_plan`, which otherwise is found out again.
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
            members["ranks"] = read_keys(layout, config.peft_type).ranks
    if base is not None and base.config is not None:
        members["base_config_vocab_size"] = base.config.vocab_size
        members["tie_word_embeddings"] = base.config.tie_word_embeddings
        if config is not None and layout is not None:
            members |= described or _describe(adapter, base, config, layout)
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


def _describe(
    adapter: AdapterFacts, base: BaseFacts, config: AdapterConfig, layout: Layout
) -> Mapping[str, object]:
    assert base.config is not None
    layout = tuple(sorted(layout, key=attrgetter("name")))
    assembly = assemble(adapter, base, config, base.config, layout, None, Findings())
    return describe_pair(assembly, _sizes_along_plan(assembly, base))


def _sizes_along_plan(assembly: Assembly, base: BaseFacts) -> Sizes:
    """Parameters and bytes once the plan's resize is done."""
    decision = decide_rows(
        assembly.input_side,
        assembly.output_side,
        assembly.tokens,
        assembly.pair.base.config.model_type,
    )
    size = base.weights.size_bytes if base.weights is not None else None
    return measure_sizes(assembly.pair, decision.rows, assembly.dtype, size)
