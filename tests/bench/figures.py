"""One line of the bench: what was measured, and what it should be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`wanted` and `met` are left out where a figure is only told."""

    name: str
    value: str
    wanted: str = ""
    met: bool | None = None
