"""The first thing to run in a child: give up what the program does not need, then become it.

`python -m workers.child.confine SETTINGS MODULE` is what `registry.sandbox` starts. It runs before
any untrusted byte is read, so it needs no protection from its own input.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import runpy
import signal
import struct
import sys
from typing import Any

from workers.child import landlock, seccomp

_PR_SET_PDEATHSIG = 1
_CAPABILITIES_VERSION_3 = 0x20080522
_FILES_OPEN = 256
# Since this kernel the process limit counts within a user namespace, not over the whole machine.
_KERNEL_WITH_OWN_PROCESS_COUNT = (5, 14)


def confine(settings: dict[str, Any]) -> None:
    """Apply `settings` (made by `registry.sandbox.launch`) to this process, for good."""
    if not settings["own_namespaces"]:
        _die_with(settings["parent"])
        _drop_capabilities()
        landlock.restrict(landlock.Paths(settings["readable"], settings["writable"]))
    _limit(settings)
    seccomp.deny_system_calls(allow_unix_sockets=settings["devices"])


def _die_with(parent: int) -> None:
    """Ask to be killed when the parent dies; under bubblewrap its own init sees to this."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        raise SystemExit("the parent died before the child began")


def _drop_capabilities() -> None:
    """Root keeps its name and loses its rights over files and processes of others."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", _CAPABILITIES_VERSION_3, 0)
    if libc.capset(header, bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _limit(settings: dict[str, Any]) -> None:
    # One byte and not none: a core pattern that is a pipe ignores none and is refused by one.
    _set(resource.RLIMIT_CORE, 1)
    _set(resource.RLIMIT_FSIZE, settings["file_bytes"])
    _set(resource.RLIMIT_NOFILE, _FILES_OPEN)
    _set(resource.RLIMIT_MSGQUEUE, 0)
    # Not RLIMIT_AS: torch and memory-mapped weights reserve far more addresses than they use.
    # The data limit counts writable private memory, which is what an allocation bomb needs.
    # A CUDA driver reserves that too and locks pages, so there only the parent's watch counts.
    if not settings["devices"]:
        _set(resource.RLIMIT_DATA, settings["memory_bytes"])
        _set(resource.RLIMIT_MEMLOCK, 0)
    if settings["cpu_seconds"] is not None:
        # Room for the signal that names the reason; at the harder limit the kernel just kills.
        _set(resource.RLIMIT_CPU, settings["cpu_seconds"], settings["cpu_seconds"] + 1)
    if settings["own_namespaces"] and _kernel() >= _KERNEL_WITH_OWN_PROCESS_COUNT:
        _set(resource.RLIMIT_NPROC, settings["processes"])


def _set(kind: int, soft: int, hard: int | None = None) -> None:
    _, given = resource.getrlimit(kind)
    most = soft if hard is None else hard
    if given != resource.RLIM_INFINITY:
        most = min(most, given)
    resource.setrlimit(kind, (min(soft, most), most))


def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])


if __name__ == "__main__":
    confine(json.loads(sys.argv[1]))
    module = sys.argv[2]
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
