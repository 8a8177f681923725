"""Match patterns of an adapter config against module names, where a slow one can be killed.

Question: {"patterns": [...], "modules": [...]}. Answer: {"matched": [[indices of modules], ...]},
one list per pattern, or {"invalid": index of the pattern that is no regular expression}.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from workers.child import protocol


def match(question: dict[str, Any]) -> dict[str, Any]:
    modules: list[str] = question["modules"]
    matched: list[list[int]] = []
    for index, pattern in enumerate(question["patterns"]):
        try:
            compiled = re.compile(pattern)
        except (re.error, RecursionError, OverflowError):
            return {"invalid": index}
        matched.append([at for at, name in enumerate(modules) if compiled.fullmatch(name)])
    return {"matched": matched}


if __name__ == "__main__":
    # A pattern may be deprecated and still valid; PEFT takes it, and says nothing that we keep.
    warnings.simplefilter("ignore")
    protocol.serve(match)
