"""How often the interpreter looks for garbage in a process that works without end."""

from __future__ import annotations

import gc

# New containers between two looks. What is read of adapters, and the models that rehearsals build,
# are trees of thousands of small objects that live for one job; the interpreter's own 700 has it
# search the same objects over and over.
_NEW_CONTAINERS = 20_000


def relax_collection() -> None:
    """Take what is imported out of every search, and search less often.

    For programs that scan or rehearse by the hundred, once they have imported what they need: the
    search took a quarter of the CPU time of a crawl. It changes the whole process, so a program
    calls it, never a library.
    """
    gc.freeze()
    _, older, oldest = gc.get_threshold()
    gc.set_threshold(_NEW_CONTAINERS, older, oldest)
