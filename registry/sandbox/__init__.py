"""Start, limit and kill a child process that reads what others wrote (standard library only).

A child is a program of `workers/child`, named by its module and never imported here. It gets bytes
and gives bytes, has no network, no token and no files but those named, and is killed at its
deadline. Linux only: elsewhere no isolation is found.

    isolation = find_isolation(settings.sandbox)
    answer = run_child("workers.child.unpickle", payload, Limits(...), isolation=isolation)
"""

from registry.sandbox.child import WarmChild, run_child
from registry.sandbox.launch import Isolation, Limits, choose_isolation, find_isolation
from registry.sandbox.usage import Usage

__all__ = [
    "Isolation",
    "Limits",
    "Usage",
    "WarmChild",
    "choose_isolation",
    "find_isolation",
    "run_child",
]
