"""Escapes and bombs against the children: none gets out, each costs at most one answer."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import registry
from registry.domain.tensors import parse_safetensors_header
from registry.errors import (
    ChildFailed,
    ChildOutOfMemory,
    ChildTimedOut,
    HeaderInvalid,
    SandboxMissing,
    WeightsTruncated,
)
from registry.sandbox import Isolation, Limits, WarmChild, find_isolation, run_child
from tests.data.hostile.attempts import ATTEMPTS, Attempt
from workers.child import landlock, seccomp

PROGRAM = "tests.data.hostile.run_code"
LIMITS = Limits(
    seconds=10, memory_bytes=256 << 20, file_bytes=1 << 20, output_bytes=1 << 16, processes=16
)
CANARY = "canary-7f3a9c"
CHECKOUT = Path(registry.__file__).parent.parent
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine(), 0)
NUMBERS = {
    name: numbers[COLUMN]
    for table in (seccomp._REFUSED, seccomp._PRETENDED_MISSING, seccomp._JUDGED)
    for name, numbers in table.items()
}
PRELUDE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def system_call(number, *arguments):
    # As wide as a register: what goes over the stack is not widened by itself.
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    answer = libc.syscall(ctypes.c_long(number), *wide)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer
"""
TRY = """
try:
    exec(ATTEMPT, globals())
    result = {"got": repr(result)}
except BaseException as error:
    result = {"met": type(error).__name__, "words": str(error)}
"""


@dataclass(frozen=True)
class Room:
    """What is there to be had: a folder with a secret, listeners, variables."""

    folder: Path
    names: dict[str, object]
    heard: list[bytes]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("caller")
    (folder / "secret").write_text(CANARY)
    (folder / "home/.cache/huggingface").mkdir(parents=True)
    (folder / "home/.cache/huggingface/token").write_text(CANARY)
    (folder / "given").mkdir()
    (folder / "given/given").write_text("given")
    (folder / "given/link-to-secret").symlink_to(folder / "secret")
    heard: list[bytes] = []
    listeners = [
        socket.create_server(("127.0.0.1", 0)),
        socket.create_server(("::1", 0), family=socket.AF_INET6),
        socket.socket(socket.AF_UNIX),
        socket.socket(socket.AF_UNIX),
    ]
    abstract = f"\0loadplan-hostile-{os.getpid()}"
    listeners[2].bind(str(folder / "listening"))
    listeners[3].bind(abstract)
    for listener in listeners:
        listener.listen()
        threading.Thread(target=_listen, args=(listener, heard), daemon=True).start()
    port, port6 = (listener.getsockname()[1] for listener in listeners[:2])
    names = {
        "CANARY": CANARY,
        "PARENT": os.getpid(),
        "ROOM": str(folder),
        "HOME": str(folder / "home"),
        "GIVEN": str(folder / "given"),
        "PACKAGE": str(Path(registry.__file__).parent),
        "LIBRARY": sysconfig.get_paths()["stdlib"],
        "PORT": port,
        "PORT6": port6,
        "URL": f"http://127.0.0.1:{port}/",
        "ABSTRACT": abstract,
        "NUMBERS": NUMBERS,
    }
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(3600)"], env={"HF_TOKEN": CANARY}
    ) as neighbour:
        yield Room(folder, names | {"NEIGHBOUR": neighbour.pid}, heard)
        neighbour.kill()
    for listener in listeners:
        listener.close()


def _listen(listener: socket.socket, heard: list[bytes]) -> None:
    while True:
        try:
            link, _ = listener.accept()
        except OSError:
            return
        with link:
            heard.append(link.recv(100))
            with contextlib.suppress(OSError):
                link.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "LOADPLAN_TOKEN", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD_NOT"):
        monkeypatch.setenv(name, CANARY)


@pytest.fixture(scope="session")
def bubblewrap() -> Isolation:
    try:
        return find_isolation("auto")
    except SandboxMissing as error:
        if "sandbox" in os.environ.get("LOADPLAN_TEST_REQUIRE", ""):
            raise
        pytest.skip(f"NOT TESTED, NO SANDBOX: {error}")


@pytest.fixture(params=["bubblewrap", "process"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    if request.param == "bubblewrap":
        return request.getfixturevalue("bubblewrap")
    return Isolation.PROCESS


def sentence(room: Room, attempt: Attempt) -> str:
    names = "".join(f"{name} = {value!r}\n" for name, value in room.names.items())
    return f"{names}{PRELUDE}\nATTEMPT = {attempt.code!r}\n{TRY}"


def ask(code: str, isolation: Isolation, limits: Limits = LIMITS, **given: object) -> object:
    return json.loads(run_child(PROGRAM, code.encode(), limits, isolation=isolation, **given))


def assert_kept_in(room: Room, attempt: Attempt, isolation: Isolation) -> None:
    room.heard.clear()
    # Descriptors that a careless caller leaves open are not passed on either.
    with (room.folder / "secret").open() as secret:
        os.set_inheritable(secret.fileno(), True)
        outcome = ask(sentence(room, attempt), isolation, read_only=[room.folder / "given"])
    assert isinstance(outcome, dict)
    assert outcome.get("met") in attempt.meets, outcome
    assert CANARY not in json.dumps(outcome)
    assert room.heard == []
    assert (room.folder / "given/given").read_text() == "given"
    assert not list(CHECKOUT.glob("registry/**/planted*"))


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_under_bubblewrap_no_child_can(attempt: Attempt, room: Room, bubblewrap: Isolation) -> None:
    assert_kept_in(room, attempt, bubblewrap)


@pytest.mark.parametrize(
    "attempt", [each for each in ATTEMPTS if each.plain], ids=lambda attempt: attempt.name
)
def test_in_process_mode_no_child_can(attempt: Attempt, room: Room) -> None:
    if landlock.interface_version() < 3:
        pytest.skip("NOT TESTED: this kernel has no Landlock of version 3")
    assert_kept_in(room, attempt, Isolation.PROCESS)


@pytest.mark.parametrize(
    "attempt", [each for each in ATTEMPTS if each.harmless], ids=lambda attempt: attempt.name
)
def test_outside_the_sandbox_anyone_can(attempt: Attempt, room: Room) -> None:
    code = sentence(room, attempt) + "\nimport json; print(json.dumps(result))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=30, text=True
    )
    assert "got" in json.loads(done.stdout), done.stdout


def test_every_refused_system_call_is_refused(isolation: Isolation) -> None:
    refused = [numbers[COLUMN] for numbers in seccomp._REFUSED.values()]
    missing = [numbers[COLUMN] for numbers in seccomp._PRETENDED_MISSING.values()]
    calls = [number for number in (*refused, *missing) if number is not None]
    code = f"""{PRELUDE}
result = []
for number in {calls}:
    answer = libc.syscall(number, 0, 0, 0, 0, 0, 0)
    result.append(ctypes.get_errno() if answer == -1 else 0)
"""
    answers = ask(code, isolation)
    assert answers == [1 if number in refused else 38 for number in calls]


def test_a_child_sees_no_network_and_no_process_but_its_own(bubblewrap: Isolation) -> None:
    seen = ask(
        "import os\n"
        "links = [line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line]\n"
        "result = [links, sorted(p for p in os.listdir('/proc') if p.isdigit()), os.getuid(),\n"
        "          os.uname().nodename, os.listdir('/tmp'), os.listdir('/dev/shm')]",
        bubblewrap,
    )
    # A checkout below /tmp is bound where it lies; nothing else of the host's /tmp is seen.
    root = Path(registry.__file__).resolve().parents[1]
    bound = [root.relative_to("/tmp").parts[0]] if root.is_relative_to("/tmp") else []
    assert seen == [["lo"], ["1", "2"], 65534, "sandbox", bound, []]


def test_unix_sockets_for_drivers_reach_nothing_of_the_caller(
    room: Room, bubblewrap: Isolation
) -> None:
    room.heard.clear()
    for address in ("ROOM + '/listening'", "ABSTRACT"):
        code = f"import socket\nsocket.socket(socket.AF_UNIX).connect({address})\nresult = 1"
        outcome = ask(sentence(room, Attempt("", code, ())), bubblewrap, devices=True)
        assert isinstance(outcome, dict)
        assert outcome["met"] in ("FileNotFoundError", "ConnectionRefusedError")
    assert room.heard == []


def test_no_capability_is_left(isolation: Isolation) -> None:
    status = ask(
        "wanted = ('CapEff', 'CapPrm', 'CapInh', 'NoNew', 'Seccomp:')\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "result = dict(line.split(':\\t') for line in lines if line.startswith(wanted))",
        isolation,
    )
    assert status == {
        "CapInh": "0" * 16,
        "CapPrm": "0" * 16,
        "CapEff": "0" * 16,
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }


# --- bombs: what a child may use up ------------------------------------------------------------

MEMORY_BOMBS = {
    "one allocation": "x = bytearray(4 << 30)",
    "many allocations": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "a list that doubles": "x = [0]\nwhile True: x = x + x",
    "shared memory": "import mmap\nx = mmap.mmap(-1, 2 << 30)\n"
    "for at in range(0, 2 << 30, 4096): x[at] = 1",
    "the stacks of threads": "import threading, time\nthreading.stack_size(64 << 20)\n"
    "for _ in range(12): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    "time.sleep(60)",
    "a number": "x = 1 << (1 << 36)",
}


@pytest.mark.parametrize("name", MEMORY_BOMBS)
def test_a_memory_bomb_ends_with_its_child(name: str, isolation: Isolation) -> None:
    with pytest.raises((ChildOutOfMemory, ChildFailed)) as caught:
        ask(MEMORY_BOMBS[name], isolation)
    if not isinstance(caught.value, ChildOutOfMemory):
        # The system refused a thread its stack before anything was used.
        assert caught.value.fields["type"] == "RuntimeError"


TIME_BOMBS = {
    "a loop": "while True: pass",
    "a sleep": "import time\ntime.sleep(3600)",
    "a sleep deaf to signals": "import signal, time\n"
    "for number in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:\n"
    "    signal.signal(number, signal.SIG_IGN)\n"
    "while True: time.sleep(3600)",
    "a stop": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "a call that holds the interpreter": "(9 ** 9) ** (9 ** 8)",
    "a pattern": "import re\nre.fullmatch(r'(a+)+b', 'a' * 99)",
    "a read of its own input": "import sys\nsys.stdin.read()\nwhile True: pass",
    "output without end": "import sys\nwhile True: print('x' * 10_000)",
    "errors without end": "import sys\nwhile True: sys.stderr.write('x' * 10_000)",
}


@pytest.mark.parametrize("name", TIME_BOMBS)
def test_a_time_bomb_ends_at_its_deadline(name: str, isolation: Isolation) -> None:
    began = time.monotonic()
    limits = Limits(seconds=0.5, memory_bytes=256 << 20)
    with pytest.raises(ChildTimedOut):
        ask(TIME_BOMBS[name], isolation, limits)
    assert time.monotonic() - began < 10


def test_processor_time_has_its_own_limit(isolation: Isolation) -> None:
    limits = Limits(seconds=60, memory_bytes=256 << 20, cpu_seconds=1)
    with pytest.raises(ChildTimedOut, match="processor time") as caught:
        ask("while True: pass", isolation, limits)
    assert caught.value.fields["processor"] is True


def test_a_thread_bomb_ends_with_its_child(isolation: Isolation) -> None:
    code = """
import threading, time
threading.stack_size(32768)
while True:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""
    with pytest.raises(ChildFailed, match=r"more than 16 threads|can't start new thread"):
        ask(code, isolation)


def test_a_file_larger_than_allowed_cannot_be_written(isolation: Isolation) -> None:
    code = "import os\nopen(os.environ['HOME'] + '/big', 'wb').write(bytes(2 << 20))"
    with pytest.raises(ChildFailed, match="OSError"):
        ask(code, isolation)


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
def test_many_files_fill_no_disk(folder: str, bubblewrap: Isolation) -> None:
    code = f"""
written = 0
try:
    for number in range(100):
        with open(f"{folder}/{{number}}", "wb") as file:
            written += file.write(bytes(100_000))
except OSError as error:
    result = [error.errno, written <= 1 << 20]
"""
    assert ask(code, bubblewrap) == [28, True]


def test_what_a_child_wrote_is_gone_after_it(isolation: Isolation, tmp_path: Path) -> None:
    before = set(Path("/tmp").iterdir())
    assert ask("import os\nresult = open(os.environ['HOME'] + '/left', 'w').write('x')", isolation)
    left = [path for path in set(Path("/tmp").iterdir()) - before if (path / "left").exists()]
    assert left == []


def test_an_answer_larger_than_allowed_is_not_read(isolation: Isolation) -> None:
    with pytest.raises(ChildFailed, match="65536 are allowed"):
        ask("result = 'x' * 100_000", isolation)


# Two descriptors stay with the program, its questions and its answers, and hostile code finds them.
FORGERIES = {
    "a length of exabytes": "os.write(4, b'A' + b'\\xff' * 8)",
    "a length and no end": "os.write(4, b'A' + (1000).to_bytes(8, 'big') + b'x'); os.close(4)",
    "an unknown kind": "os.write(4, b'?' + bytes(8))",
    "a second start": "os.write(4, b'R' + bytes(8))",
    "more than an answer": "os.write(4, b'A' + bytes(8) + b'A' + bytes(8))",
    "an error that is no JSON": "os.write(4, b'E' + (3).to_bytes(8, 'big') + b'???')",
    "an error nested deeply": "x = b'[' * 9000; os.write(4, b'E' + len(x).to_bytes(8, 'big') + x)",
    "an error without end": "os.write(4, b'E' + (1 << 40).to_bytes(8, 'big'))",
    "noise": "os.write(4, os.urandom(100_000))",
    "silence": "os.close(4)",
    "an exit": "os._exit(0)",
    "a crash": "import ctypes; ctypes.string_at(0)",
    "an abort": "os.abort()",
    "an end by signal": "import signal; os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_answer_costs_one_answer(name: str, isolation: Isolation) -> None:
    with WarmChild(PROGRAM, LIMITS, isolation=isolation) as child:
        with pytest.raises(ChildFailed):
            child.ask(
                b"import os\n" + FORGERIES[name].encode() + b"\nimport time; time.sleep(60)", 2
            )
        assert json.loads(child.ask(b"result = 'alive'")) == "alive"


def test_terminal_codes_do_not_leave_the_child(isolation: Isolation) -> None:
    with pytest.raises(ChildFailed) as caught:
        ask("raise ValueError('\\x1b]0;taken\\x07\\nsecond line')", isolation)
    assert caught.value.message.isprintable()


def test_a_crash_leaves_no_core_file(isolation: Isolation, tmp_path: Path) -> None:
    code = "import ctypes, resource\nresult = resource.getrlimit(resource.RLIMIT_CORE)"
    assert ask(code, isolation) == [1, 1]
    with pytest.raises(ChildFailed, match="SIGABRT"):
        ask("import ctypes, os\nctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\nos.abort()", isolation)


# --- the end of a child ------------------------------------------------------------------------


def alive(marker: str) -> list[int]:
    """Processes whose command line holds the marker."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def test_nothing_of_a_child_outlives_it(isolation: Isolation) -> None:
    limits = Limits(seconds=1, memory_bytes=(256 << 20) + os.getpid())
    marker = f'"memory_bytes": {limits.memory_bytes}'
    with pytest.raises(ChildTimedOut):
        ask("import threading, time\nwhile True: time.sleep(1)", isolation, limits)
    assert wait_until(lambda: not alive(marker))


def test_a_child_dies_with_its_parent(isolation: Isolation) -> None:
    memory_bytes = (300 << 20) + os.getpid()
    marker = f'"memory_bytes": {memory_bytes}'
    code = f"""
import time
from registry.sandbox import Isolation, Limits, WarmChild
child = WarmChild({PROGRAM!r}, Limits(60, {memory_bytes}), isolation=Isolation({str(isolation)!r}))
child.start()
print("started", flush=True)
child.ask(b"while True: pass")
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=CHECKOUT
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"started\n"
        assert wait_until(lambda: bool(alive(marker)))
        parent.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not alive(marker))


def test_a_child_outlives_the_thread_that_started_it(isolation: Isolation) -> None:
    with WarmChild(PROGRAM, LIMITS, isolation=isolation) as child:
        starter = threading.Thread(target=child.ask, args=(b"import builtins; builtins.kept = 1",))
        starter.start()
        starter.join()
        assert json.loads(child.ask(b"result = kept")) == 1


# --- header bombs: read in our own process, within caps ----------------------------------------


def header(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


ENTRY = b'"x%d":{"dtype":"F32","shape":[],"data_offsets":[0,0]}'
HEADER_BOMBS = {
    "a length of exabytes": b"\xff" * 7 + b"\x7f{}",
    "a length of gigabytes": (4 << 30).to_bytes(8, "little") + b"{}",
    "nested without end": header(b'{"a":' + b"[" * 5_000_000),
    "objects in objects": header(b'{"a":' * 1_000_000),
    "a million tensors": header(b"{" + b",".join(ENTRY % n for n in range(250_000)) + b"}"),
    "one name a million times": header(b"{" + b",".join([ENTRY % 1] * 250_000) + b"}"),
    "a number of a million digits": header(
        b'{"x":{"dtype":"F32","shape":[' + b"9" * 1_000_000 + b'],"data_offsets":[0,0]}}'
    ),
    "sizes whose product overflows": header(
        b'{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}'
    ),
    "a shape of a million sizes": header(
        b'{"x":{"dtype":"F32","shape":[' + b"1," * 1_000_000 + b'1],"data_offsets":[0,4]}}'
    ),
    "a number that is infinite": header(
        b'{"x":{"dtype":"F32","shape":[1e999],"data_offsets":[0,0]}}'
    ),
}


@pytest.mark.parametrize("name", HEADER_BOMBS)
def test_a_header_bomb_is_refused_in_time(name: str) -> None:
    began = time.process_time()
    with pytest.raises((HeaderInvalid, WeightsTruncated)):
        parse_safetensors_header(HEADER_BOMBS[name], len(HEADER_BOMBS[name]) + 4)
    assert time.process_time() - began < 5
