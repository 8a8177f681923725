"""The thread that starts children, and lives as long as the process."""

from __future__ import annotations

import os
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_spawner: ThreadPoolExecutor | None = None
_spawner_lock = threading.Lock()


def spawn(
    arguments: tuple[str, ...], environment: dict[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    """Start the process from a thread that lives as long as we do.

    A child is killed when its parent dies, and to the kernel the parent is the thread that
    started it: a pool's worker that goes home would take a warm child along.
    """
    global _spawner
    with _spawner_lock:
        if _spawner is None:
            _spawner = ThreadPoolExecutor(1, thread_name_prefix="child-spawner")
        spawner = _spawner
    return spawner.submit(_start_process, arguments, environment, folder).result()


def _start_process(
    arguments: tuple[str, ...], environment: dict[str, str], folder: Path
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,
        close_fds=True,
        start_new_session=True,
        bufsize=0,
    )


def _forget_spawner() -> None:
    """A forked process has no threads but its own."""
    global _spawner, _spawner_lock
    _spawner, _spawner_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_spawner)
