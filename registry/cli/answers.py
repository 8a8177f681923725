"""A record as people read it: status first, then the plan, then every reason with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from registry.cli.terminal import clean, clean_lines
from registry.domain.issues import Issue, Severity
from registry.domain.naive_load import NaiveLoad
from registry.domain.record import Evidence, Record, RecordFacts, Status
from registry.domain.refs import CheckpointRef
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

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

# Icon, colour, and what the status says in words; never told by colour alone.
STATUS_WORDS: dict[Status, tuple[str, str, str]] = {
    Status.QUEUED: ("…", "cyan", "Asked for; nothing is known yet."),
    Status.PLANNED: ("○", "cyan", "A plan was computed from shapes; nothing was executed."),
    Status.REHEARSED: ("✓", "green", "The real PEFT ran the plan without weights; all landed."),
    Status.COMPATIBLE: ("✔", "bold green", "A proof with real weights passed every gate."),
    Status.INCOMPATIBLE: ("✕", "bold red", "No plan loads this adapter as it stands."),
    Status.UNSUPPORTED: ("?", "yellow", "This adapter cannot be judged here."),
    Status.BLOCKED: ("!", "yellow", "Access, or a base named by you, is needed first."),
    Status.FAILED: ("✕", "red", "The Hub or loadplan failed; nothing is known of the adapter."),
    Status.STALE: ("~", "yellow", "The branch moved to other content; earlier evidence is kept."),
}
_SEVERITY_MARKS = {
    Severity.ERROR: ("✕", "red"),
    Severity.WARNING: ("!", "yellow"),
    Severity.INFO: ("i", "cyan"),
    Severity.ADVICE: ("→", "magenta"),
}
_NAIVE_WORDS = {
    "loads": "PeftModel.from_pretrained alone loads it too.",
    "raises": "PeftModel.from_pretrained alone raises:",
    "loads-wrong": "PeftModel.from_pretrained alone loads without an error, and wrongly:",
    "unknown": "What PeftModel.from_pretrained alone would do is unknown.",
}
_PLURAL = {
    Severity.ERROR: "errors",
    Severity.WARNING: "warnings",
    Severity.INFO: "information",
    Severity.ADVICE: "advice",
}


def render_record(record: Record) -> Iterator[RenderableType]:
    """The whole answer, for a terminal of any width from 40 columns."""
    yield from _head(record)
    facts = _facts_table(record.facts)
    if facts.row_count:
        yield _title("Facts")
        yield facts
    if record.plan is not None:
        yield _title("Plan")
        yield render_plan(record.plan)
    if record.naive_load is not None:
        yield from _naive(record.naive_load)
    yield from _issues(record.issues)
    yield from _proofs(record)


def render_plan(plan: Plan) -> Table:
    """Numbered steps."""
    table = _grid()
    table.add_column(justify="right", style="bold")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for number, step in enumerate(plan.steps, start=1):
        name, detail = step_words(step)
        table.add_row(str(number), name, clean(detail))
    return table


def step_words(step: Step) -> tuple[str, str]:
    """A step's name and its particulars. Names of the adapter's making are not yet cleaned."""
    match step:
        case LoadBase():
            kwargs = ", ".join(f"{key}={value}" for key, value in step.kwargs.items())
            where = f"{step.repo_id}@{short(step.revision)}"
            return "load the base", f"{where} with {step.auto_class} ({kwargs})"
        case LoadTokenizer():
            folder = f":{step.subfolder}" if step.subfolder else ""
            whose = f"the {step.of}'s, {step.repo_id}@{short(step.revision)}{folder}"
            return "load the tokenizer", f"{whose}, {step.length:,} tokens"
        case ResizeEmbeddings():
            return "resize embeddings", f"to exactly {step.rows:,} rows, mean_resizing=False"
        case FillRows():
            rows = f"rows {step.first:,} to {step.end - 1:,} of the {step.side} side"
            return "fill rows", f"{rows} with the mean of the base's own"
        case RenameKeys():
            return "rename keys", _rename_words(step)
        case LoadAdapter():
            folder = f":{step.subfolder}" if step.subfolder else ""
            return "load the adapter", f"{step.repo_id}@{short(step.revision)}{folder}"


def _rename_words(step: RenameKeys) -> str:
    parts = []
    if step.renames:
        old, new = next(iter(sorted(step.renames.items())))
        parts.append(f"rename {len(step.renames):,} (as {old} to {new})")
    if step.dropped:
        parts.append(f"drop {len(step.dropped):,} that equal one kept ({', '.join(step.dropped)})")
    return "; ".join(parts)


def checkpoint_words(ref: CheckpointRef) -> str:
    """`acme/chat-lora:folder @ 0123456789ab (main)`, cleaned."""
    folder = f":{ref.subfolder}" if ref.subfolder else ""
    commit = f" @ {short(ref.commit_sha)}" if ref.commit_sha else ""
    revision = f" ({ref.revision})" if ref.revision and ref.revision != ref.commit_sha else ""
    return clean(f"{ref.repo_id}{folder}{commit}{revision}")


def short(commit: str | None) -> str:
    """Twelve digits of a commit, which a person can compare; `sha256:` stays in front."""
    if commit is None:
        return "unknown"
    head, colon, tail = commit.partition(":")
    return f"{head}:{tail[:12]}" if colon else commit[:12]


def byte_words(size: int) -> str:
    """Binary units, three figures."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:,.2f} TiB"


def _head(record: Record) -> Iterator[RenderableType]:
    from rich.text import Text

    icon, style, words = STATUS_WORDS[record.status]
    base = checkpoint_words(record.base) if record.base else "no base"
    yield Text.assemble((f"{icon} {record.status}", style), "  ", words)
    yield Text(f"  {checkpoint_words(record.adapter)}")
    yield Text(f"  on {base}")


def _facts_table(facts: RecordFacts) -> Table:
    table = _grid()
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _fact_rows(facts):
        if value:
            table.add_row(label, clean(value))
    return table


def _fact_rows(facts: RecordFacts) -> Iterator[tuple[str, str]]:
    kind = (facts.peft_type, facts.task_type)
    figures = (("rank", facts.rank), ("alpha", facts.lora_alpha))
    yield (
        "type",
        " · ".join(
            [*(part for part in kind if part)]
            + [f"{name} {value:g}" for name, value in figures if value is not None]
        ),
    )
    if isinstance(facts.target_modules, str):
        yield "targets", f"pattern {facts.target_modules}"
    else:
        yield "targets", ", ".join(facts.target_modules or ())
    yield "saved whole", ", ".join(facts.modules_to_save or ())
    yield "file", _file_words(facts)
    yield "rows", _row_words(facts)
    if facts.trainable_parameters is not None:
        share = facts.trainable_fraction
        of_all = f" ({share:.2%} of all)" if share is not None else ""
        yield "trains", f"{facts.trainable_parameters:,} parameters{of_all}"
    if facts.memory_bytes is not None:
        yield "memory", f"{byte_words(facts.memory_bytes)} for base and adapter"
    yield "also here", ", ".join(facts.other_adapters or ())


def _file_words(facts: RecordFacts) -> str:
    parts = [facts.weights_file or ""]
    if facts.tensor_count is not None:
        parts.append(f"{facts.tensor_count:,} tensors")
    parts.extend(f"{dtype}" for dtype in facts.dtypes or ())
    if facts.weights_bytes is not None:
        parts.append(byte_words(facts.weights_bytes))
    return " · ".join(part for part in parts if part)


def _row_words(facts: RecordFacts) -> str:
    figures = (
        ("file in", facts.embedding_rows),
        ("file out", facts.output_rows),
        ("base in", facts.base_embedding_rows),
        ("base out", facts.base_output_rows),
        ("base config", facts.base_config_vocab_size),
        ("own tokenizer", facts.tokenizer_length),
    )
    return " · ".join(f"{name} {value:,}" for name, value in figures if value is not None)


def _naive(naive: NaiveLoad) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    if naive.outcome == "unknown" and not naive.error:
        return
    yield _title("Without a plan")
    yield Text(f"  {_NAIVE_WORDS[naive.outcome]}")
    for line in clean_lines(naive.error or "", lines=6):
        yield Padding(Text(line, style="red"), (0, 0, 0, 4))


def _issues(issues: tuple[Issue, ...]) -> Iterator[RenderableType]:
    for severity in Severity:
        found = [issue for issue in issues if issue.severity is severity]
        if found:
            yield _title(_PLURAL[severity].capitalize())
            yield _issue_table(found, *_SEVERITY_MARKS[severity])


def _issue_table(issues: list[Issue], icon: str, style: str) -> Table:
    from rich.text import Text

    table = _grid()
    table.add_column(style=style, no_wrap=True)
    table.add_column(overflow="fold")
    for issue in issues:
        table.add_row(icon, Text(issue.code, style=style))
        table.add_row("", clean(issue.message))
        if issue.tensor:
            table.add_row("", Text(_tensor_words(issue), style="dim"))
        if issue.fix and issue.severity is not Severity.INFO:
            table.add_row("", Text(f"Fix: {clean(issue.fix)}", style="italic"))
    return table


def _tensor_words(issue: Issue) -> str:
    shapes = [
        f"{whose} {shape_words(shape)}"
        for whose, shape in (("file", issue.file_shape), ("base", issue.base_shape))
        if shape is not None
    ]
    return " · ".join([clean(issue.tensor or ""), *shapes])


def shape_words(shape: tuple[int, ...] | None) -> str:
    return "-" if shape is None else f"[{', '.join(str(size) for size in shape)}]"


def _proofs(record: Record) -> Iterator[RenderableType]:
    from rich.text import Text

    if record.evidence is Evidence.PROVEN or record.proofs:
        yield _title("Proofs")
    for proof in record.proofs:
        versions = ", ".join(
            f"{name} {proof.environment[name]}"
            for name in ("torch", "transformers", "peft")
            if proof.environment.get(name)
        )
        yield Text(
            clean(f"  {proof.outcome} on {proof.device} with {versions} ({proof.finished_at})")
        )


def _title(text: str) -> RenderableType:
    from rich.text import Text

    return Text(f"\n{text}", style="bold")


def _grid() -> Table:
    from rich.table import Table

    return Table.grid(padding=(0, 1, 0, 1), pad_edge=True)
