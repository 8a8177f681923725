"""What the load is that people try first, without a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["loads", "raises", "loads-wrong", "unknown"]


@dataclass(frozen=True)
class NaiveLoad:
    """What `PeftModel.from_pretrained` alone would do."""

    outcome: Outcome
    error: str | None = None
