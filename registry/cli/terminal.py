"""What reaches a terminal: data on stdout, all else on stderr, nothing raw from a repository."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_MAX_TEXT = 2_000


def clean(text: str, limit: int = _MAX_TEXT) -> str:
    """Untrusted text on one line: escapes, control, bidirectional and invisible characters are
    spelled out, so that a name cannot move the cursor, colour the screen or reorder what is read.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(_spelled(character) for character in cut)


def clean_lines(text: str, lines: int = 12) -> list[str]:
    """The same for a text of several lines, of which the first ones are kept."""
    parts = [clean(line) for line in text.split("\n")]
    kept = [part for part in parts if part.strip()]
    return [*kept[:lines], f"… {len(kept) - lines} more lines"] if len(kept) > lines else kept


def _spelled(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character in "\n\t" else character.encode("unicode_escape").decode("ascii")


def output() -> Console:
    """Data. Rich takes NO_COLOR, TERM and COLUMNS into account; without a terminal it is plain."""
    return _console(stderr=False)


def messages() -> Console:
    """Progress, hints, warnings and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_json(document: object) -> None:
    """Exactly one document. ASCII, so that text from a repository stays escaped in a terminal."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def print_message(label: str, text: str, fix: str | None = None) -> None:
    """One line on stderr, and what to do about it."""
    sys.stderr.write(f"{label}: {clean(text)}\n")
    if fix:
        sys.stderr.write(f"  {clean(fix)}\n")
    sys.stderr.flush()


def is_terminal() -> bool:
    return sys.stderr.isatty()
