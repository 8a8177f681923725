"""What the author declared beside what the file holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from registry.domain.adapter_config import AdapterConfig
from registry.domain.facts import AdapterFacts
from registry.domain.keys import AdapterKey, Part, parse_key
from registry.domain.record import Record
from registry.domain.steps import LoadBase

_LOW_RANK = frozenset({Part.LORA_A, Part.LORA_B, Part.LORA_EMBEDDING_A, Part.LORA_EMBEDDING_B})


@dataclass(frozen=True)
class Beside:
    """One line. `agree` is None where the two are not comparable."""

    title: str
    declared: str
    found: str
    agree: bool | None = None


def compare_declared(record: Record, facts: AdapterFacts | None) -> list[Beside]:
    """Lines in the order in which a loader meets them; empty while the config is unread."""
    if facts is None or facts.config is None:
        return []
    config = facts.config
    layout = facts.weights.layout if facts.weights else None
    keys = [parse_key(spec.name, config.peft_type) for spec in layout or ()]
    lines = [_base(record, config), _task(record, config), _ranks(record, config)]
    lines += [_targets(config, keys), _saved(config, keys), _bias(config, keys)]
    lines += [_dora(config, keys), _tokenizer(record), _dtypes(record)]
    return lines


def _base(record: Record, config: AdapterConfig) -> Beside:
    declared = config.base_model_name_or_path
    found = record.base.repo_id if record.base else "none"
    if config.revision and declared:
        declared += f" @ {config.revision}"
    agree = None if declared is None or record.base is None else declared.startswith(found)
    return Beside("Base", declared or "nothing", found, agree)


def _task(record: Record, config: AdapterConfig) -> Beside:
    loads = (
        [step for step in record.plan.steps if isinstance(step, LoadBase)] if record.plan else ()
    )
    return Beside(
        "Task", config.task_type or "nothing", loads[0].auto_class if loads else "no plan"
    )


def _ranks(record: Record, config: AdapterConfig) -> Beside:
    declared = "no rank" if config.r is None else f"{config.r}"
    if config.r is not None and "r" not in config.declared:
        declared += " (PEFT's default)"
    if config.rank_pattern:
        declared += f", and {len(config.rank_pattern)} by pattern"
    ranks = record.facts.ranks
    if not ranks:
        return Beside("Rank", declared, "not known" if ranks is None else "none")
    found = ", ".join(f"{rank} in {count} modules" for rank, count in ranks.items())
    agree = None if config.rank_pattern else list(ranks) == [str(config.r)]
    return Beside("Rank", declared, found, agree)


def _targets(config: AdapterConfig, keys: list[AdapterKey]) -> Beside:
    names = Counter(
        key.module.rpartition(".")[2]
        for key in keys
        if key.part in (Part.LORA_A, Part.LORA_EMBEDDING_A)
    )
    found = ", ".join(f"{name} ×{count}" for name, count in sorted(names.items())) or "none"
    targets = config.target_modules
    if targets is None:
        return Beside("Target modules", "PEFT's default for the model", found)
    if isinstance(targets, str):
        return Beside("Target modules", targets, found)
    agree = {name.rpartition(".")[2] for name in targets} == set(names) if names else None
    return Beside("Target modules", ", ".join(targets), found, agree)


def _saved(config: AdapterConfig, keys: list[AdapterKey]) -> Beside:
    """A saved module may be one of many layers: then its parts stand in the file. PEFT adds names
    of classifiers that a model may have to the config, so that one may be missing there."""
    declared = config.modules_to_save or ()
    names = set()
    strangers = False
    for key in keys:
        if key.part is Part.SAVED:
            segments = key.module.split(".")
            root = next((name for name in declared if name.rpartition(".")[2] in segments), None)
            strangers = strangers or root is None
            names.add(root or segments[-1])
    agree = None
    if declared or names:
        agree = bool(names) and not strangers
    return Beside(
        "Modules saved whole",
        ", ".join(declared) or "none",
        ", ".join(sorted(names)) or "none",
        agree,
    )


def _bias(config: AdapterConfig, keys: list[AdapterKey]) -> Beside:
    count = sum(key.part is Part.BIAS for key in keys)
    found = f"{count} biases" if count else "none"
    return Beside("Bias", config.bias, found, (config.bias != "none") == (count > 0))


def _dora(config: AdapterConfig, keys: list[AdapterKey]) -> Beside:
    count = sum(key.part is Part.MAGNITUDE for key in keys)
    found = f"{count} magnitude vectors" if count else "no magnitude vectors"
    return Beside("DoRA", "yes" if config.use_dora else "no", found, config.use_dora == (count > 0))


def _tokenizer(record: Record) -> Beside:
    facts = record.facts
    declared = facts.tokenizer_length
    length = "none of its own" if declared is None else f"{declared:,} tokens"
    rows = [
        f"{side} {count:,}"
        for side, count in (("input", facts.embedding_rows), ("output", facts.output_rows))
        if count is not None
    ]
    base = facts.base_embedding_rows
    found = f"rows in the file: {', '.join(rows)}" if rows else "no vocabulary rows in the file"
    if base is not None:
        found += f"; the base has {base:,}"
    return Beside("Tokenizer", length, found)


def _dtypes(record: Record) -> Beside:
    dtypes = record.facts.dtypes or {}
    found = ", ".join(f"{dtype} ×{count}" for dtype, count in dtypes.items()) or "not known"
    return Beside("Dtype", "a file declares none", found)
