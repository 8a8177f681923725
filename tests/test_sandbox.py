"""A child answers, or costs one error and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import pytest

from registry.errors import ChildFailed, ChildOutOfMemory, ChildTimedOut, SandboxMissing
from registry.sandbox import (
    Isolation,
    Limits,
    WarmChild,
    choose_isolation,
    find_isolation,
    launch,
    run_child,
)
from tests.data.hostile import slow_start

PROGRAM = "tests.data.hostile.run_code"
LIMITS = Limits(seconds=10, memory_bytes=256 << 20)


@pytest.fixture(params=list(Isolation), ids=str)
def isolation(request: pytest.FixtureRequest) -> Isolation:
    if request.param is Isolation.BUBBLEWRAP:
        try:
            find_isolation("auto")
        except SandboxMissing as error:
            if "sandbox" in os.environ.get("LOADPLAN_TEST_REQUIRE", ""):
                raise
            pytest.skip(f"NO SANDBOX: {error}")
    return request.param


def run(code: str, isolation: Isolation, limits: Limits = LIMITS) -> object:
    return json.loads(run_child(PROGRAM, code.encode(), limits, isolation=isolation))


def test_a_child_answers(isolation: Isolation) -> None:
    assert run("result = 6 * 7", isolation) == 42


def test_a_child_at_its_deadline_is_ended(isolation: Isolation) -> None:
    began = time.monotonic()
    with pytest.raises(ChildTimedOut, match="deadline"):
        run("while True: pass", isolation, Limits(seconds=1, memory_bytes=256 << 20))
    assert time.monotonic() - began < 3


def test_a_child_that_allocates_too_much_is_out_of_memory(isolation: Isolation) -> None:
    with pytest.raises(ChildOutOfMemory):
        run("result = len(bytearray(2 << 30))", isolation)


def test_an_exception_is_an_answer_with_its_type(isolation: Isolation) -> None:
    with WarmChild(PROGRAM, LIMITS, isolation=isolation) as child:
        with pytest.raises(ChildFailed, match="ValueError") as caught:
            child.ask(b"raise ValueError('no')")
        assert caught.value.fields["type"] == "ValueError"
        assert json.loads(child.ask(b"result = 1")) == 1


def test_a_warm_child_keeps_what_it_imported(isolation: Isolation) -> None:
    with WarmChild(PROGRAM, LIMITS, isolation=isolation) as child:
        child.ask(b"import builtins; builtins.kept = 5")
        assert json.loads(child.ask(b"result = kept")) == 5


def test_the_peak_is_that_of_the_program_behind_the_wall(isolation: Isolation) -> None:
    with WarmChild(PROGRAM, LIMITS, isolation=isolation) as child:
        assert child.usage() is None
        child.ask(b"result = 1")
        before = child.usage()
        child.ask(b"result = len(bytes(bytearray(b'x') * (80 << 20)))")
        after = child.usage()
        assert before is not None
        assert after is not None
        assert before.peak_bytes < 60 << 20
        assert 80 << 20 < after.peak_bytes < 250 << 20
        assert after.memory_bytes < after.peak_bytes - (60 << 20)
    assert child.usage() is None


def test_a_child_that_dies_costs_one_answer(isolation: Isolation) -> None:
    with WarmChild(PROGRAM, LIMITS, isolation=isolation) as child:
        with pytest.raises(ChildFailed, match="exit code 3"):
            child.ask(b"import os; os._exit(3)")
        assert json.loads(child.ask(b"result = 2")) == 2


def test_threads_share_a_warm_child(isolation: Isolation) -> None:
    answers: dict[int, object] = {}
    with WarmChild(PROGRAM, LIMITS, isolation=isolation) as child:

        def ask(number: int) -> None:
            answers[number] = json.loads(child.ask(f"result = {number} * 10".encode()))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {number: number * 10 for number in range(8)}


def test_large_questions_and_answers_pass_whole(isolation: Isolation) -> None:
    limits = Limits(seconds=10, memory_bytes=256 << 20, output_bytes=8 << 20)
    text = "x" * (3 << 20)
    assert run(f"result = {text!r} * 2", isolation, limits) == text * 2


def test_what_a_program_prints_is_no_answer(isolation: Isolation) -> None:
    code = "import os\nprint('noise')\nos.write(1, b'noise')\nos.write(2, b'noise')\nresult = 1"
    assert run(code, isolation) == 1


def test_given_paths_can_be_read(isolation: Isolation, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("given")
    (tmp_path / "link").symlink_to("folder")
    for given in (tmp_path / "folder", tmp_path / "link", tmp_path / "folder" / "file"):
        path = given if given.is_file() else given / "file"
        code = f"result = open({str(path)!r}).read()".encode()
        answer = run_child(PROGRAM, code, LIMITS, isolation=isolation, read_only=[given])
        assert json.loads(answer) == "given"


def test_a_child_has_a_folder_of_its_own(isolation: Isolation) -> None:
    code = "import tempfile\nwith tempfile.TemporaryFile() as file: result = file.write(b'abc')"
    assert run(code, isolation) == 3


def test_a_child_may_use_threads(isolation: Isolation) -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool: result = sum(pool.map(int, '1234'))"
    )
    assert run(code, isolation) == 10


def test_a_program_that_cannot_begin_says_why(isolation: Isolation) -> None:
    with pytest.raises(ChildFailed, match="exit code 1") as caught:
        run_child("workers.child.nothing", b"", LIMITS, isolation=isolation)
    assert "nothing" in str(caught.value.fields["last_words"])


def test_a_start_is_over_before_the_clock_of_a_question(isolation: Isolation) -> None:
    with WarmChild(slow_start.__name__, LIMITS, isolation=isolation) as child:
        assert child.ask(b"yes", slow_start.SECONDS / 2) == b"yes"


def test_a_closed_child_can_be_asked_again_and_closed_twice(isolation: Isolation) -> None:
    child = WarmChild(PROGRAM, LIMITS, isolation=isolation)
    child.close()
    assert json.loads(child.ask(b"result = 1")) == 1
    child.close()
    child.close()


def test_a_child_that_died_while_idle_is_replaced(isolation: Isolation) -> None:
    with WarmChild(PROGRAM, LIMITS, isolation=isolation) as child:
        code = b"import os, threading\nthreading.Timer(0.05, os._exit, (0,)).start()\nresult = 1"
        child.ask(code)
        time.sleep(0.5)
        assert json.loads(child.ask(b"result = 2")) == 2


def test_a_forked_process_starts_children_of_its_own(isolation: Isolation) -> None:
    run("result = 1", isolation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if run("result = 1", isolation) == 1 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_nothing_is_left_open_or_behind(
    isolation: Isolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A folder of its own: tests beside this one start children too.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run("result = 1", isolation)
    descriptors = set(os.listdir("/proc/self/fd"))
    folders = set(Path(tempfile.gettempdir()).glob("loadplan-child-*"))
    for code in ("result = 1", "raise ValueError", "import os; os._exit(1)"):
        with contextlib.suppress(ChildFailed):
            run(code, isolation)
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert set(Path(tempfile.gettempdir()).glob("loadplan-child-*")) <= folders


def test_the_wall_stands_for_a_user_without_rights() -> None:
    """Started by root, as tests in containers are, the interpreter may be out of nobody's reach."""
    python = "/usr/bin/python3"
    code = (
        "from registry.sandbox import Limits, find_isolation, run_child\n"
        f"limits = Limits(10, {256 << 20}, processes=8)\n"
        "code = b'import threading, time\\nstarted = 0\\ntry:\\n  while True:\\n    threading.'"
        "  b'Thread(target=time.sleep, args=(9,), daemon=True).start(); started += 1\\n'"
        "  b'except RuntimeError: result = started'\n"
        f"print(run_child({PROGRAM!r}, code, limits, isolation=find_isolation('auto')).decode())"
    )
    if os.getuid() != 0:
        pytest.skip("the other tests are such a user's")
    root = Path(__file__).parent.parent
    as_nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    check = "import sys, registry.sandbox; sys.exit(sys.version_info < (3, 11))"
    options = {"cwd": "/", "env": {"PYTHONPATH": str(root)}, "capture_output": True, **as_nobody}
    try:
        subprocess.run([python, "-B", "-c", check], check=True, **options)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("NOT TESTED: nobody can run a Python 3.11 here, or read the checkout")
    if shutil.which("bwrap") is None:
        pytest.skip("NOT TESTED: bubblewrap is not installed")
    done = subprocess.run([python, "-B", "-c", code], check=True, **options)
    assert 0 < int(done.stdout) < 8


def test_a_bubblewrap_that_cannot_work_is_missing_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    launch._try_bubblewrap.cache_clear()
    with pytest.raises(SandboxMissing, match="No permissions"):
        find_isolation("auto")
    assert choose_isolation() is Isolation.PROCESS


def test_off_linux_there_is_no_isolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    for setting in ("auto", "process"):
        with pytest.raises(SandboxMissing, match="Linux"):
            find_isolation(setting)


def test_without_bubblewrap_there_is_no_automatic_isolation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    launch._try_bubblewrap.cache_clear()
    with pytest.raises(SandboxMissing, match="not installed"):
        find_isolation("auto")
    assert find_isolation("process") is Isolation.PROCESS
