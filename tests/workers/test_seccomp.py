"""The system call filter says the same on every machine that it has numbers for."""

from __future__ import annotations

import errno

import pytest

from workers.child import seccomp

OWN_PID = 4321
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
REFUSED, MISSING = FAIL | errno.EPERM, FAIL | errno.ENOSYS
MACHINES = sorted(seccomp._MACHINES)


def judge(
    machine: str, number: int, argument: int = 0, *, unix: bool = False, as_machine: str = ""
) -> int:
    """Run the filter as the kernel would."""
    architecture, column = seccomp._MACHINES[machine]
    program = seccomp.build_filter(architecture, column, OWN_PID, unix)
    calling = seccomp._MACHINES[as_machine or machine][0]
    words = {0: number, 4: calling, 16: argument}
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = program[at]
        at += 1
        if code == seccomp._LOAD:
            accumulator = words[value]
        elif code == seccomp._RETURN:
            return value
        else:
            holds = {
                seccomp._EQUALS: accumulator == value,
                seccomp._AT_LEAST: accumulator >= value,
                seccomp._HAS_BIT: bool(accumulator & value),
            }[code]
            at += if_true if holds else if_false


def number_of(machine: str, name: str) -> int:
    return seccomp._JUDGED[name][seccomp._MACHINES[machine][1]]


@pytest.mark.parametrize("machine", MACHINES)
def test_every_listed_call_gets_its_answer(machine: str) -> None:
    column = seccomp._MACHINES[machine][1]
    for numbers in seccomp._REFUSED.values():
        number = numbers[column]
        assert number is None or judge(machine, number) == REFUSED
    for numbers in seccomp._PRETENDED_MISSING.values():
        assert judge(machine, numbers[column]) == MISSING


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "argument", "answer"),
    [
        ("clone", 0x11, REFUSED),
        ("clone", 0x3D0F00, ALLOW),
        ("socket", 1, REFUSED),
        ("socket", 2, REFUSED),
        ("kill", OWN_PID, ALLOW),
        ("kill", 1, REFUSED),
        ("kill", 0, REFUSED),
        ("kill", 0xFFFFFFFF, REFUSED),
        ("tgkill", OWN_PID, ALLOW),
        ("tgkill", 1, REFUSED),
        ("rt_sigqueueinfo", 1, REFUSED),
        ("rt_tgsigqueueinfo", 1, REFUSED),
        ("prlimit64", 0, ALLOW),
        ("prlimit64", OWN_PID, ALLOW),
        ("prlimit64", 1, REFUSED),
    ],
)
def test_judged_calls_depend_on_their_first_argument(
    machine: str, name: str, argument: int, answer: int
) -> None:
    assert judge(machine, number_of(machine, name), argument) == answer


@pytest.mark.parametrize("machine", MACHINES)
def test_only_unix_sockets_can_be_allowed(machine: str) -> None:
    number = number_of(machine, "socket")
    assert judge(machine, number, 1, unix=True) == ALLOW
    assert [judge(machine, number, family, unix=True) for family in (2, 10, 16, 17, 40)] == (
        [REFUSED] * 5
    )


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    (other,) = set(MACHINES) - {machine}
    assert judge(machine, 0, as_machine=other) == KILL
    assert judge(machine, 0x40000000 + 41) == MISSING


def test_what_programs_need_is_allowed() -> None:
    read, write, mmap, futex, openat, exit_group = 0, 1, 9, 202, 257, 231
    assert {judge("x86_64", n) for n in (read, write, mmap, futex, openat, exit_group)} == {ALLOW}


def test_no_number_stands_for_two_calls() -> None:
    for column in (0, 1):
        tables = (seccomp._REFUSED, seccomp._PRETENDED_MISSING, seccomp._JUDGED)
        numbers = [row[column] for table in tables for row in table.values()]
        known = [number for number in numbers if number is not None]
        assert len(known) == len(set(known))
