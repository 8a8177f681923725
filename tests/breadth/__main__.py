"""Runs the breadth of model types and writes the table of outcomes.

python -m tests.breadth [--family NAME]… [--only TYPE]… [--keep FILE] [--write docs/breadth.md]

`--keep` names a file of outcomes, one JSON line each: types that stand there are not tried again,
new outcomes are added at once, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.breadth.model_types import FAMILIES, list_types
from tests.breadth.running import Document, Named, run_trials
from tests.breadth.table import render, summarize


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.breadth")
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES), default=None)
    parser.add_argument("--only", action="append", default=None, metavar="TYPE")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=120.0, help="limit for one type")
    parser.add_argument("--write", type=Path, default=None, metavar="FILE")
    parser.add_argument("--keep", type=Path, default=None, metavar="FILE")
    asked = parser.parse_args()
    named = [
        (family.name, model_type)
        for family in FAMILIES.values()
        if asked.family is None or family.name in asked.family
        for model_type in list_types(family)
        if asked.only is None or model_type in asked.only
    ]
    kept = _read_kept(asked.keep)

    def told(document: Document) -> None:
        _tell(document)
        if asked.keep is not None:
            with asked.keep.open("a") as file:
                file.write(json.dumps(document) + "\n")

    missing = [each for each in named if each not in kept]
    tried = run_trials(missing, processes=asked.processes, seconds=asked.seconds, told=told)
    known = kept | dict(zip(missing, tried, strict=True))
    answers = [known[each] for each in named]
    if asked.write is not None:
        asked.write.write_text(render(answers))
    print(summarize(answers))
    return 1 if any(each.get("disagreements") for each in answers) else 0


def _read_kept(path: Path | None) -> dict[Named, Document]:
    if path is None or not path.exists():
        return {}
    documents = [json.loads(line) for line in path.read_text().splitlines()]
    return {(each["family"], each["model_type"]): each for each in documents}


def _tell(document: Document) -> None:
    told = f"{document['family']:15} {document['model_type']:28} {document['outcome']:12}"
    sys.stderr.write(f"{told} {document.get('seconds', '')} {document['reason'][:100]}\n")
    for each in document.get("disagreements", ()):
        sys.stderr.write(f"    disagreement {each}\n")


if __name__ == "__main__":
    sys.exit(main())
