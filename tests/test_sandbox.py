"""A child answers, or costs one error and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time

import pytest

from registry.errors import ChildFailed, ChildOutOfMemory, ChildTimedOut, SandboxMissing
from registry.sandbox import Isolation, Limits, WarmChild, find_isolation, run_child

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


def test_without_bubblewrap_there_is_no_automatic_isolation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    from registry.sandbox import launch

    launch._try_bubblewrap.cache_clear()
    with pytest.raises(SandboxMissing, match="not installed"):
        find_isolation("auto")
    assert find_isolation("process") is Isolation.PROCESS
