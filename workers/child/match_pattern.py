"""Match patterns of an adapter config against module names, where a slow one can be killed.

Question: {"patterns": [...], "modules": [...]}. Answer: {"matched": [indices of modules]} or
{"invalid": index of the pattern that is no regular expression}.
"""

from __future__ import annotations

import re
from typing import Any

from workers.child import protocol


def match(question: dict[str, Any]) -> dict[str, Any]:
    modules: list[str] = question["modules"]
    matched: set[int] = set()
    for index, pattern in enumerate(question["patterns"]):
        try:
            # PEFT calls re.fullmatch(pattern, key); its cache of compiled patterns is the same.
            compiled = re.compile(pattern)
        except (re.error, RecursionError, OverflowError):
            return {"invalid": index}
        matched.update(i for i, name in enumerate(modules) if compiled.fullmatch(name))
    return {"matched": sorted(matched)}


if __name__ == "__main__":
    protocol.serve(match)
