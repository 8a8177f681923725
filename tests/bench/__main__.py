"""Runs the parts that are named, or all, and prints their figures.

python -m tests.bench [small] [scanning] [fleet] [webhook] [rehearsing] [proving] [browse] …
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Figure

PARTS = ("small", "scanning", "fleet", "webhook", "rehearsing", "proving", "browse")


def show(part: str, figures: list[Figure]) -> bool:
    table = Table(title=part, title_justify="left", box=None)
    for column in ("figure", "measured", "wanted", ""):
        table.add_column(column, overflow="fold")
    for figure in figures:
        sign = "" if figure.met is None else ("✓" if figure.met else "✕ missed")
        table.add_row(figure.name, figure.value, figure.wanted, sign)
    Console(width=110, highlight=False).print(table)
    return all(figure.met is not False for figure in figures)


def only_figures() -> None:
    """Progress bars and what libraries deprecate among themselves are no figures. Children inherit
    the environment."""
    os.environ["TQDM_DISABLE"] = os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)


def main() -> int:
    only_figures()
    parts = sys.argv[1:] or list(PARTS)
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        sys.stderr.write(f"{unknown[0]} is no part of the bench; there are {', '.join(PARTS)}.\n")
        return 2
    met = [show(part, importlib.import_module(f"tests.bench.{part}").run()) for part in parts]
    return 0 if all(met) else 1


sys.exit(main())
