"""The outcomes as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.breadth.running import Document


def summarize(answers: Sequence[Document]) -> str:
    counts = Counter(each["outcome"] for each in answers)
    words = ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common())
    disagreements = sum(len(each.get("disagreements", ())) for each in answers)
    return f"{len(answers)} trials: {words}; {disagreements} disagreements"


def render(answers: Sequence[Document]) -> str:
    return summarize(answers) + "\n"
