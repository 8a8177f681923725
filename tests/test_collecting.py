"""The interpreter's search for garbage in programs that work without end."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import gc
import registry.hub
from registry.collecting import relax_collection
before = gc.get_threshold()
relax_collection()
after = gc.get_threshold()
print(gc.get_freeze_count() > 10_000, after[0] > 10 * before[0], after[1:] == before[1:])
"""


def test_what_is_imported_is_searched_no_more_and_the_rest_less_often() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, check=True, text=True
    )
    assert done.stdout.split() == ["True", "True", "True"]
