"""What the regular expressions of an adapter config match; they run in a child, for one second.

PEFT matches a string in `target_modules` or `exclude_modules` by `re.fullmatch` against every
module's path (peft.tuners.tuners_utils.check_target_module_exists). A pattern of a stranger's can
take longer than the universe is old.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable, Sequence

from registry.domain.adapter_config import AdapterConfig
from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.keys import parse_key
from registry.domain.refs import shown
from registry.domain.tensors import Layout
from registry.errors import (
    ChildFailed,
    ChildOutOfMemory,
    ChildTimedOut,
    ConfigInvalid,
    PatternTooSlow,
)
from registry.sandbox import Isolation, Limits, choose_isolation, run_child

_PROGRAM = "workers.child.match_pattern"
# One second of processor time; the wall clock of a busy host must not make a pattern slow.
_LIMITS = Limits(
    seconds=30.0, cpu_seconds=1, memory_bytes=256 << 20, output_bytes=8 << 20, processes=4
)
_ALL_LINEAR = "all-linear"


async def match_modules(
    adapter: AdapterFacts, base: BaseFacts, *, isolation: Isolation | None = None
) -> frozenset[str] | None:
    """Modules of base and adapter file that the config's pattern selects, None when it has none.

    Modules are those that own a parameter. A pattern in `exclude_modules` is taken off; lists are
    left to `registry.domain.targets`. Raises PatternTooSlow, ConfigInvalid (no regular
    expression), SandboxMissing or ChildFailed.
    """
    if adapter.config is None or not isinstance(adapter.config.target_modules, str):
        return None
    if adapter.config.target_modules.lower() == _ALL_LINEAR:
        return None
    modules = _modules_of(base) | _modules_of_adapter(adapter, adapter.config)
    patterns = [adapter.config.target_modules]
    if isinstance(adapter.config.exclude_modules, str):
        patterns.append(adapter.config.exclude_modules)
    selected, *excluded = await match_patterns(patterns, modules, isolation=isolation)
    return selected.difference(*excluded)


async def match_patterns(
    patterns: Sequence[str], modules: Collection[str], *, isolation: Isolation | None = None
) -> tuple[frozenset[str], ...]:
    """For each pattern the modules that it matches whole. Raises as `match_modules` does."""
    if not patterns or not modules:
        return tuple(frozenset() for _ in patterns)
    return await asyncio.to_thread(_match, patterns, sorted(modules), isolation)


def _match(
    patterns: Sequence[str], modules: list[str], isolation: Isolation | None
) -> tuple[frozenset[str], ...]:
    question = json.dumps({"patterns": list(patterns), "modules": modules}).encode()
    isolation = isolation or choose_isolation()
    try:
        answer = json.loads(run_child(_PROGRAM, question, _LIMITS, isolation=isolation))
    except ChildTimedOut as error:
        if not error.fields.get("processor"):
            raise
        shorter = ", ".join(shown(pattern) for pattern in patterns)
        raise PatternTooSlow(f"Matching {shorter} takes longer than a second.") from error
    except ChildOutOfMemory as error:
        raise PatternTooSlow("Matching the config's pattern takes too much memory.") from error
    if "invalid" in answer:
        pattern = patterns[answer["invalid"]]
        raise ConfigInvalid(f"{shown(pattern)} is not a regular expression.")
    if len(answer["matched"]) != len(patterns):
        raise ChildFailed("The answer about the patterns is not what was asked.")
    return tuple(frozenset(modules[at] for at in matched) for matched in answer["matched"])


def _modules_of(base: BaseFacts) -> set[str]:
    """From the built model where a rehearsal has seen it, else from the names in the files."""
    layout = base.tree
    if layout is None:
        layout = base.weights.layout if base.weights else None
    return set(_owners(layout or ()))


def _owners(layout: Layout) -> Iterable[str]:
    for spec in layout:
        module, dot, _ = spec.name.rpartition(".")
        if dot:
            yield module


def _modules_of_adapter(adapter: AdapterFacts, config: AdapterConfig) -> set[str]:
    layout = adapter.weights.layout if adapter.weights else None
    keys = (parse_key(spec.name, config.peft_type) for spec in layout or ())
    return {key.module for key in keys if key.module}
