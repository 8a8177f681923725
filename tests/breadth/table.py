"""The outcomes as a page: counts, what failed and why, and one line per model type."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from tests.breadth.model_types import FAMILIES
from tests.breadth.running import Document

# What is behind an outcome that is not `landed`. The first that fits its words explains it.
EXPLANATIONS = (
    (
        r"not-built .*(ImportError|ModuleNotFoundError|requires the .* library)",
        "The class needs a package that the runner does not have. Records say "
        "`base-architecture-unknown` or stay unjudged, never `incompatible`.",
    ),
    (
        r"not-built",
        "The default config is not complete by itself: transformers raises on it. Published bases "
        "have configs that are.",
    ),
    (
        r"not-adapted .*(NoMatchingPeftModule|no linear layer)",
        "The model has no `torch.nn.Linear`, so LoRA on every linear layer is no adapter.",
    ),
    (
        r"not-adapted",
        "PEFT itself refuses to put LoRA on this model, before anything is saved or loaded.",
    ),
    (
        r"faults .*(missing|unexpected)",
        "PEFT saves names that it does not take back: transformers renames them while the adapter "
        "is loaded. PEFT only warns; the rehearsal refuses. The fault is the libraries', the "
        "adapter is `incompatible` with these versions.",
    ),
    (
        r"faults .*overwritten",
        "The file that PEFT saves replaces parameters of the base, which no plan declares.",
    ),
    (
        r"raises",
        "PEFT saves this adapter and raises when it loads it: the fault is the libraries', and the "
        "rehearsal quotes it.",
    ),
    (
        r"no-plan tensors-unexpected .*(missing|size mismatch)",
        "PEFT saves names that it does not take back: while the adapter is loaded, transformers "
        "renames modules whose names are right already. PEFT only warns. The fault is the "
        "libraries'; the rules know these modules, and the adapter is `incompatible` with these "
        "versions.",
    ),
    (
        r"no-plan resize-incomplete .*the resize leaves behind",
        "A resize of the vocabulary leaves a part of this model with the old one. PEFT would load "
        "the adapter; what the model then computes mixes two vocabularies, so it is `unsupported`.",
    ),
    (
        r"no-plan",
        "The static rules refuse, and the load as it was trained fails as well.",
    ),
    (
        r"unknown",
        "The load needs values that a rehearsal does not have: `unsupported`, never "
        "`incompatible`.",
    ),
    (r"no-answer", "The child gave no answer within its limit: nothing is known."),
)

_HEAD = """\
# Breadth: LoRA on every model type

Every model type that transformers {transformers} lists for causal, classification, sequence to
sequence, encoder, embedding and image-text models is built from its default config without
weights, given a LoRA adapter (rank 8, every linear layer) that PEFT {peft} itself saves, and
rehearsed by the code that rehearses every adapter: once as a plain load, once along the plan that
the static rules made from the header and the config alone.

    python -m tests.breadth --write docs/breadth.md

It takes 20 minutes on two free cores; `--keep FILE` lets it go on where it was stopped. Each type
is tried in a child process with a time limit. A base for classification is published as the
library's own pretrained class of its type, without the head.

`causal-grown` are the causal types again, trained on a vocabulary resized by eight rows with both
tables saved: only the plan's own resize lets those load.

- `landed`: along the plan every tensor found its place and nothing else was touched.
- `faults`, `raises`, `unknown`: how the load along the plan ended otherwise.
- `no-plan`: the static rules refuse; the load as it was trained tells whether they are right.
- `not-built`, `not-adapted`: there is nothing to rehearse.
- *plain load* is what `PeftModel.from_pretrained` does alone. Classifiers with another number of
  labels than the default raise there.
- *spoken for* is the share of the file's tensors about which the static rules could speak from the
  names in the base's files. Where they cannot (names that transformers or PEFT translate), the
  rehearsal has the first word.
"""


def summarize(answers: Sequence[Document]) -> str:
    counts = Counter(each["outcome"] for each in answers)
    words = ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common())
    disagreements = sum(len(each.get("disagreements", ())) for each in answers)
    return f"{len(answers)} trials: {words}; {disagreements} disagreements"


def explain(document: Document) -> str:
    """Why it did not land."""
    words = " ".join((document["outcome"], *document.get("codes", ()), document["reason"]))
    return next(text for pattern, text in EXPLANATIONS if re.match(pattern, words))


def render(answers: Sequence[Document]) -> str:
    parts = [
        _HEAD.format(transformers=version("transformers"), peft=version("peft")),
        "## Outcomes\n",
        _counts(answers),
        "## Disagreements between static rules and rehearsal\n",
        _disagreements(answers),
        "## What did not land, and why\n",
        *_explained(answers),
        "## Every type\n",
        _every_type(answers),
    ]
    return "\n".join(parts)


def _counts(answers: Sequence[Document]) -> str:
    outcomes = [name for name, _ in Counter(each["outcome"] for each in answers).most_common()]
    rows = []
    for family in FAMILIES:
        own = [each for each in answers if each["family"] == family]
        counts = Counter(each["outcome"] for each in own)
        shares = [each["spoken_for"] for each in own if each.get("spoken_for") is not None]
        share = f"{sum(shares) / len(shares):.0%}" if shares else ""
        cells = [str(counts[outcome] or "") for outcome in outcomes]
        rows.append([family, str(len(own)), *cells, share])
    return _table(["family", "types", *outcomes, "spoken for"], rows)


def _disagreements(answers: Sequence[Document]) -> str:
    lines = [
        f"- {each['family']} `{each['model_type']}`, {_safe(text)}"
        for each in answers
        for text in each.get("disagreements", ())
    ]
    return "\n".join(lines) + "\n" if lines else "None.\n"


def _explained(answers: Sequence[Document]) -> Iterable[str]:
    groups: dict[str, list[Document]] = {}
    for each in answers:
        if each["outcome"] != "landed":
            groups.setdefault(explain(each), []).append(each)
    for text, documents in sorted(groups.items(), key=lambda item: -len(item[1])):
        yield f"### {len(documents)} × {documents[0]['outcome']}\n\n{text}\n"
        rows = [
            [each["family"], f"`{each['model_type']}`", _safe(each["reason"])] for each in documents
        ]
        yield _table(["family", "type", "what was said"], rows)


def _every_type(answers: Sequence[Document]) -> str:
    rows = [
        [
            each["family"],
            f"`{each['model_type']}`",
            each["outcome"],
            each.get("naive", ""),
            str(each.get("tensors") or ""),
            "" if each.get("spoken_for") is None else f"{each['spoken_for']:.0%}",
        ]
        for each in answers
    ]
    return _table(["family", "type", "outcome", "plain load", "tensors", "spoken for"], rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _safe(text: str) -> str:
    """One line that neither ends a table's cell nor names a folder of the machine."""
    text = re.sub(r"(?:/[\w.+-]+){2,}", "…", text)
    return text.replace("|", "\\|").replace("<", "&lt;")
