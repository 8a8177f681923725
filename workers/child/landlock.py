"""A file wall for a child without its own mounts: what is not named is neither read nor written.

Landlock needs no privilege and Linux 5.13; later kernels add TCP, abstract sockets and signals.
Source: Documentation/userspace-api/landlock.rst of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_FIRST_RIGHTS = (1 << 13) - 1
# version of the interface: a right that it added
_LATER_RIGHTS = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEVICE}
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_READ = _EXECUTE | _READ_FILE | _READ_DIR

_TCP_SINCE, _BIND_AND_CONNECT_TCP = 4, 0b11
_SCOPES_SINCE, _ABSTRACT_SOCKETS_AND_SIGNALS = 6, 0b11


@dataclass(frozen=True)
class Paths:
    """What stays open, files or folders; what does not exist is left out."""

    readable: Iterable[str]
    writable: Iterable[str]


def interface_version() -> int:
    """0 where the kernel or the container has no Landlock."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)))


def restrict(paths: Paths) -> bool:
    """Put the wall up, for good. False where there is no Landlock."""
    version = interface_version()
    if version == 0:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    rights = _FIRST_RIGHTS
    for since, right in _LATER_RIGHTS.items():
        rights |= right if version >= since else 0
    ruleset = _create_ruleset(libc, version, rights)
    try:
        for path in paths.readable:
            _open_path(libc, ruleset, path, rights & _READ)
        for path in paths.writable:
            _open_path(libc, ruleset, path, rights & ~_EXECUTE)
        _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
        _check(libc.syscall(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)
    return True


def _create_ruleset(libc: ctypes.CDLL, version: int, rights: int) -> int:
    fields = [rights]
    if version >= _TCP_SINCE:
        fields.append(_BIND_AND_CONNECT_TCP)
    if version >= _SCOPES_SINCE:
        fields.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    return _check(
        libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0), "landlock_create_ruleset"
    )


def _open_path(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, handle)
        _check(libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0), "landlock_add_rule")
    finally:
        os.close(handle)


def _check(answer: int, call: str) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {errno.errorcode.get(number, number)}")
    return answer
