"""A system call filter built in place: no new programs, no sockets, no reach to other processes.

The programs here read frames, compute and answer, so a short list of refusals costs them nothing.
It holds without bubblewrap too, where it is the first wall before the network. What is refused
answers EPERM, so that a library's probe fails as on a locked-down host instead of dying.
Sources: seccomp(2), linux/filter.h, linux/audit.h, the kernel's system call tables.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Iterator

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2

_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_PRETEND_MISSING = 0x00050000 | errno.ENOSYS

# Offsets in struct seccomp_data; the low half of the first argument on a little-endian machine.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUALS = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_HAS_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_CLONE_THREAD = 0x00010000
_AF_UNIX = 1
_X32_BIT = 0x40000000

# machine: (audit architecture, column of the tables below)
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# Allowed for some values of the first argument only; (x86_64, aarch64).
_JUDGED: dict[str, tuple[int, int]] = {
    "clone": (56, 220),
    "socket": (41, 198),
    "kill": (62, 129),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "prlimit64": (302, 261),
}
# The C library asks for these first and falls back to an older call when they are missing.
_PRETENDED_MISSING: dict[str, tuple[int, int]] = {
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
}
# None where the machine never had the call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # other programs
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    # other processes
    "tkill": (200, 130),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "setpriority": (141, 140),
    # memory that the limits do not count, shared by key
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # namespaces, mounts, devices
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    # the kernel's wide surfaces
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "personality": (135, 92),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
}

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def deny_system_calls(*, allow_unix_sockets: bool) -> bool:
    """Put the filter on this process, for good. False where we know no table for the machine.

    `allow_unix_sockets` is for device drivers, which talk to a daemon of theirs.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    instructions = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in build_filter(*machine, os.getpid(), allow_unix_sockets)
    )
    program = _Program(len(instructions) // 8, instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")
    return True


def build_filter(
    architecture: int, column: int, own_pid: int, allow_unix_sockets: bool
) -> list[Instruction]:
    """The program, in order: foreign architectures, refusals, judged calls, everything else."""
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUALS, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        # The same calls under the numbers of the x32 ABI; harmless elsewhere, where none exist.
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _PRETEND_MISSING),
    ]
    program += _answer_each(_REFUSED, column, _REFUSE)
    program += _answer_each(_PRETENDED_MISSING, column, _PRETEND_MISSING)
    own = [(_EQUALS, own_pid)]
    permitted: dict[str, list[tuple[int, int]]] = {
        "clone": [(_HAS_BIT, _CLONE_THREAD)],
        "socket": [(_EQUALS, _AF_UNIX)] if allow_unix_sockets else [],
        "prlimit64": [(_EQUALS, 0), *own],
    }
    for name, numbers in _JUDGED.items():
        program += _judge(numbers[column], permitted.get(name, own))
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _answer_each(
    calls: dict[str, tuple[int, int]] | dict[str, tuple[int | None, int | None]],
    column: int,
    answer: int,
) -> Iterator[Instruction]:
    for numbers in calls.values():
        number = numbers[column]
        if number is not None:
            yield (_EQUALS, 0, 1, number)
            yield (_RETURN, 0, 0, answer)


def _judge(number: int, permitted: Iterable[tuple[int, int]]) -> Iterator[Instruction]:
    """Allow the call when one test of its first argument holds, refuse it otherwise."""
    tests = list(permitted)
    yield (_EQUALS, 0, 2 * len(tests) + 2, number)
    yield (_LOAD, 0, 0, _FIRST_ARGUMENT)
    for test, value in tests:
        yield (test, 0, 1, value)
        yield (_RETURN, 0, 0, _ALLOW)
    yield (_RETURN, 0, 0, _REFUSE)
