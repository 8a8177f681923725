"""The steps of a plan as sentences, and the ways to carry it out as text to copy."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from registry.domain.record import Record
from registry.domain.rendering import render_python
from registry.domain.steps import (
    FillRows,
    LoadAdapter,
    LoadBase,
    LoadTokenizer,
    Plan,
    RenameKeys,
    ResizeEmbeddings,
    Step,
)


@dataclass(frozen=True)
class ShownStep:
    """`place` and `commit` where the step fetches something; `more` are names to be unfolded."""

    title: str
    why: str
    place: str | None = None
    commit: str | None = None
    more: Sequence[str] = ()


@dataclass(frozen=True)
class Way:
    """One way to carry the plan out, as text to copy."""

    title: str
    text: str


def show_steps(plan: Plan) -> list[ShownStep]:
    return [_show(step) for step in plan.steps]


def _show(step: Step) -> ShownStep:
    match step:
        case LoadBase():
            return _show_base(step)
        case LoadTokenizer():
            whose = "adapter's own" if step.of == "adapter" else "base's"
            return ShownStep(
                f"Load the {whose} tokenizer",
                f"It has {step.length:,} tokens.",
                step.repo_id,
                step.revision,
            )
        case ResizeEmbeddings():
            return ShownStep(
                f"Resize the embeddings to {step.rows:,} rows",
                "Before the adapter is loaded: its file pins this number. New rows are not "
                "filled with a mean.",
            )
        case FillRows():
            return ShownStep(
                f"Fill {step.side} rows {step.first:,} to {step.end - 1:,}",
                "With the mean of the base's own rows, since the file brings none for them.",
            )
        case RenameKeys():
            return ShownStep(
                f"Rename {len(step.renames):,} tensors, leave out {len(step.dropped):,}",
                "PEFT takes names literally and would drop these without a word.",
                more=[f"{old} → {new}" for old, new in step.renames.items()]
                + [f"{name} is left out: a copy" for name in step.dropped],
            )
        case LoadAdapter():
            return _show_adapter(step)


def _show_base(step: LoadBase) -> ShownStep:
    dtype = step.kwargs.get("dtype")
    labels = step.kwargs.get("num_labels")
    told = [f"As {step.auto_class}", f"in {dtype}"]
    if labels is not None:
        told.append(f"with {labels} labels, as the adapter's classifier has rows")
    return ShownStep("Load the base", ", ".join(told) + ".", step.repo_id, step.revision)


def _show_adapter(step: LoadAdapter) -> ShownStep:
    why = "Every tensor of the file lands; nothing else of the base is touched."
    if step.overwrites:
        why = f"Declared: {len(step.overwrites):,} parameters of the base are replaced."
    if step.subfolder:
        why = f"From the folder {step.subfolder}. {why}"
    return ShownStep("Load the adapter", why, step.repo_id, step.revision, step.overwrites)


def ways_to_load(record: Record, origin: str, query: dict[str, str]) -> list[Way]:
    """Python that runs as it stands, the SDK, the command line and curl; `query` names the pair
    where it is not the adapter's default one."""
    assert record.plan is not None
    adapter = record.adapter
    reference = str(adapter.repo_id)
    if query.get("revision"):
        reference += f"@{query['revision']}"
    if adapter.subfolder:
        reference += f":{adapter.subfolder}"
    base = f" --base {shlex.quote(query['base'])}" if query.get("base") else ""
    quoted = shlex.quote(reference)
    url = f"{origin}/v1/adapters/{quote(adapter.repo_id, safe='/')}/plan"
    if query:
        url += f"?{urlencode(query)}"
    sdk = (
        "from registry.loading import load_adapter\n\n"
        "# Takes this plan, carries it out, and raises unless every tensor landed.\n"
        f"model, tokenizer = load_adapter({reference!a})\n"
    )
    return [
        Way("Python, with torch, transformers and PEFT alone", render_python(record.plan)),
        Way("Python, with every tensor checked", sdk),
        Way(
            "Command line",
            f"export LOADPLAN_SERVER={shlex.quote(origin)}\n"
            f"loadplan check {quoted}{base}\n"
            f"loadplan plan {quoted}{base} --format python > load.py\n",
        ),
        Way("curl", f"curl --fail --silent {shlex.quote(url)}\n"),
    ]
