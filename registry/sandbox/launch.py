"""What a child may have: the command line, the environment and the limits it starts with."""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from registry.domain.refs import shown
from registry.errors import SandboxMissing

_NOBODY = "65534"
_PROBE_SECONDS = 10
# torch and rayon start a thread per core each; a sandboxed program needs no more than these.
_MOST_THREADS = 8
_SYSTEM_FOLDERS = ("/lib", "/lib32", "/lib64", "/bin", "/sbin")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/sys/devices/system/cpu")
# In process mode, what a library asks of the machine; the rest of /proc, /sys and /etc stays shut.
_READABLE = (
    "/usr",
    *_SYSTEM_FOLDERS,
    *_SYSTEM_FILES,
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
)
_DEVICE_NODES = ("/dev/nvidia*", "/dev/dri", "/dev/kfd")
_OWN_PACKAGES = ("registry", "workers")


@dataclass(frozen=True)
class Limits:
    """What one child may use.

    `seconds`: wall clock of one question. The start, which reads nothing untrusted, has its own.
    `cpu_seconds`: processor time of the whole child, its start included; None for no limit. A
    busy machine stretches wall clock and not this: it tells a slow question from a slow host.
    `memory_bytes`: writable private memory, and resident memory that cannot be dropped.
    `file_bytes`: the largest file, and under bubblewrap everything in /tmp together.
    `output_bytes`: the largest answer.
    `processes`: threads; a child never starts a process.
    """

    seconds: float
    memory_bytes: int
    file_bytes: int = 1 << 20
    output_bytes: int = 16 << 20
    processes: int = 64
    cpu_seconds: int | None = None


class Isolation(StrEnum):
    """The wall around a child.

    `BUBBLEWRAP`: own namespaces for users, processes, network, IPC and files, a read-only root with
    the interpreter, our packages and the named paths alone. `PROCESS`: the system call filter,
    Landlock where the kernel has it, and resource limits in the caller's own namespaces; for
    operators who say that their container is the sandbox.
    """

    BUBBLEWRAP = "bubblewrap"
    PROCESS = "process"


@dataclass(frozen=True)
class Launch:
    """What to start. `own_session` holds however many processes: they are killed together."""

    arguments: tuple[str, ...]
    environment: dict[str, str]


def find_isolation(setting: str) -> Isolation:
    """`process`, or for `auto` bubblewrap once a trial has run. Raises SandboxMissing."""
    if not sys.platform.startswith("linux"):
        raise SandboxMissing("Sandboxed programs need Linux: its namespaces and call filters.")
    if setting == Isolation.PROCESS:
        return Isolation.PROCESS
    _try_bubblewrap()
    return Isolation.BUBBLEWRAP


def choose_isolation() -> Isolation:
    """The strongest at hand, for a child that reads data and would need a hole to do harm.

    Raises SandboxMissing off Linux.
    """
    try:
        return find_isolation("auto")
    except SandboxMissing:
        return find_isolation(Isolation.PROCESS)


def prepare_launch(
    module: str,
    limits: Limits,
    isolation: Isolation,
    *,
    home: Path,
    read_only: Sequence[Path],
    devices: bool,
) -> Launch:
    """The command line for one child. `home` is its only writable folder in process mode."""
    inside = isolation is Isolation.BUBBLEWRAP
    bound = _bound_paths((*_source_folders(module), *read_only))
    nodes = _device_nodes() if devices else []
    settings = {
        "own_namespaces": inside,
        "parent": os.getpid(),
        "readable": [*_READABLE, *(["/sys"] if devices else []), *map(str, bound)],
        "writable": ["/dev/null", str(home), *nodes],
        "cpu_seconds": limits.cpu_seconds,
        "memory_bytes": limits.memory_bytes,
        "file_bytes": limits.file_bytes,
        "processes": limits.processes,
        "devices": devices,
    }
    confine = ("-m", "workers.child.confine", json.dumps(settings), module)
    program = (sys.executable, "-s", "-P", "-B", "-X", "faulthandler", *confine)
    environment = _environment(module, "/tmp" if inside else str(home))  # noqa: S108 - its own
    if not inside:
        return Launch(program, environment)
    arguments = _bubblewrap_arguments(limits, bound, nodes)
    return Launch((_bubblewrap(), *arguments, "--", *program), environment)


def _environment(module: str, home: str) -> dict[str, str]:
    """All of it: nothing of the caller's environment is passed on."""
    threads = str(min(_MOST_THREADS, len(os.sched_getaffinity(0))))
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "USER": "nobody",
        "LOGNAME": "nobody",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "HF_HOME": f"{home}/huggingface",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "RAYON_NUM_THREADS": threads,
    }
    # Installed from a wheel, our packages are found as every other; run from a checkout, by path.
    roots = dict.fromkeys(folder.parent for folder in _source_folders(module))
    outside = [str(root) for root in roots if not _is_within(root, _prefixes())]
    if outside:
        environment["PYTHONPATH"] = os.pathsep.join(outside)
    return environment


def _bubblewrap_arguments(
    limits: Limits, bound: Iterable[Path], nodes: Iterable[str]
) -> Iterable[str]:
    # Order matters: an empty file system is mounted before what is bound into it.
    yield from ("--unshare-user", "--unshare-all", "--disable-userns", "--die-with-parent")
    yield from ("--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox", "--cap-drop", "ALL")
    yield from ("--ro-bind", "/usr", "/usr")
    for folder in _SYSTEM_FOLDERS:
        if os.path.islink(folder):
            yield from ("--symlink", os.readlink(folder), folder)
        elif os.path.isdir(folder):
            yield from ("--ro-bind", folder, folder)
    for file in _SYSTEM_FILES:
        yield from ("--ro-bind-try", file, file)
    yield from ("--proc", "/proc", "--dev", "/dev")
    size = str(max(limits.file_bytes, os.sysconf("SC_PAGESIZE")))
    yield from ("--size", size, "--tmpfs", "/dev/shm", "--size", size, "--tmpfs", "/tmp")  # noqa: S108
    if nodes:
        yield from ("--ro-bind", "/sys", "/sys")
    for node in nodes:
        yield from ("--dev-bind", node, node)
    for path in bound:
        yield from ("--ro-bind", os.path.realpath(path), str(path))
    # Started by root, the child still owns what root owns, /proc/sys included: all but /tmp and
    # /dev/shm is read-only.
    for folder in ("/proc", "/dev", "/"):
        yield from ("--remount-ro", folder)
    yield from ("--chdir", "/tmp")  # noqa: S108


def _device_nodes() -> list[str]:
    return sorted(path for pattern in _DEVICE_NODES for path in glob.glob(pattern))


def _bound_paths(paths: Iterable[Path]) -> list[Path]:
    """The interpreter and the given paths, parents before children, nothing twice."""
    wanted = [
        *_prefixes(),
        Path(sys.executable).resolve(),
        *(Path(os.path.abspath(path)) for path in paths),
    ]
    chosen: list[Path] = []
    for path in sorted(set(wanted), key=lambda path: (len(path.parts), path)):
        if not _is_within(path, [Path("/usr"), *chosen]):
            chosen.append(path)
    return chosen


def _prefixes() -> list[Path]:
    return [Path(prefix) for prefix in dict.fromkeys((sys.prefix, sys.base_prefix))]


@cache
def _source_folders(module: str) -> tuple[Path, ...]:
    """Where our packages lie, and the one that `module` belongs to."""
    folders: dict[Path, None] = {}
    for package in (*_OWN_PACKAGES, module.partition(".")[0]):
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise ModuleNotFoundError(f"The package of {module} is not installed.", name=package)
        for location in spec.submodule_search_locations or ():
            folders[Path(location)] = None
    return tuple(folders)


def _is_within(path: Path, folders: Iterable[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def _bubblewrap() -> str:
    found = shutil.which("bwrap") or shutil.which("bwrap", path=os.path.join(sys.prefix, "bin"))
    if found is None:
        raise SandboxMissing("bubblewrap (the command bwrap) is not installed.")
    return found


@cache
def _try_bubblewrap() -> None:
    """Containers often forbid namespaces, and releases before 0.8 lack options: try, then trust."""
    limits = Limits(seconds=_PROBE_SECONDS, memory_bytes=1 << 28)
    probe = [_bubblewrap(), *_bubblewrap_arguments(limits, _bound_paths(()), ()), "--"]
    probe += [sys.executable, "-I", "-S", "-c", ""]
    try:
        done = subprocess.run(
            probe,
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SandboxMissing("bubblewrap is installed but did not start a program.") from error
    if done.returncode != 0:
        cause = shown(done.stderr.decode(errors="replace").strip())
        raise SandboxMissing(f"bubblewrap is installed but cannot make a sandbox here: {cause}.")
