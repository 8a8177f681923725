"""What a process and everything below it use now, as /proc tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_KIBIBYTE = 1024


@dataclass(frozen=True)
class Usage:
    """`memory_bytes`: resident pages that cannot be dropped (private and shared, not of files).

    `peak_bytes`: all resident pages, those of files included, that the largest of the processes
    has had at once in its life. What a parent is told of its children (RUSAGE_CHILDREN) is no
    substitute: bubblewrap does not wait for a program that is killed with it.
    """

    memory_bytes: int
    tasks: int
    peak_bytes: int


def measure_tree(pid: int) -> Usage:
    """Sum over the process and its descendants; those that have just died count nothing."""
    memory, tasks, peak, open_pids = 0, 0, 0, [pid]
    while open_pids:
        folder = Path("/proc", str(open_pids.pop()))
        try:
            fields = _read_status(folder)
            for thread in (folder / "task").iterdir():
                open_pids += map(int, (thread / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
        memory += _KIBIBYTE * (fields.get("RssAnon", 0) + fields.get("RssShmem", 0))
        tasks += fields.get("Threads", 0)
        peak = max(peak, _KIBIBYTE * fields.get("VmHWM", 0))
    return Usage(memory, tasks, peak)


def _read_status(folder: Path) -> dict[str, int]:
    """The numeric fields of /proc/PID/status; memory in KiB."""
    fields = {}
    for line in (folder / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        number = value.split()[0] if value.split() else ""
        if number.isdigit():
            fields[name] = int(number)
    return fields
