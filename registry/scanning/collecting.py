"""How often the interpreter looks for garbage in a process that scans without end."""

from __future__ import annotations

import gc

# New containers between two looks. Readings are trees of hundreds of small values that reference
# counting frees; the interpreter's own 700 has it search the same values over and over.
_NEW_CONTAINERS = 20_000


def relax_collection() -> None:
    """Take what is imported out of every search, and search less often.

    For programs that read adapters by the hundred, once they have imported what they need: the
    search took a quarter of the CPU time of a crawl. It changes the whole process, so a program
    calls it, never a library.
    """
    gc.freeze()
    _, older, oldest = gc.get_threshold()
    gc.set_threshold(_NEW_CONTAINERS, older, oldest)
