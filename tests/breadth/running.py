"""Trials in child processes, several at a time; a child that hangs or dies costs one outcome."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, Queue
from typing import Any

from tests.hub.process import ROOT

Named = tuple[str, str]
Document = dict[str, Any]
_START_SECONDS = 90.0


class TrialProcess:
    """One child; it is replaced when it does not answer in time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._child: subprocess.Popen[str] | None = None

    def ask(self, named: Named) -> Document:
        fresh = self._child is None or self._child.poll() is not None
        child = self._child = self._start() if fresh or self._child is None else self._child
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(named) + "\n")
        child.stdin.flush()
        limit = self._seconds + (_START_SECONDS if fresh else 0.0)
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            ready = selector.select(limit)
        line = child.stdout.readline() if ready else ""
        if line:
            answer: Document = json.loads(line)
            return answer
        self.close()
        reason = "the child died" if ready else f"no answer within {self._seconds:.0f} s"
        family, model_type = named
        return {
            "family": family,
            "model_type": model_type,
            "outcome": "no-answer",
            "reason": reason,
        }

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.breadth.child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def close(self) -> None:
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()
        self._child = None


def run_trials(
    named: Sequence[Named],
    *,
    processes: int = 2,
    seconds: float = 120.0,
    told: Callable[[Document], None] = lambda document: None,
) -> list[Document]:
    """The answers in the order of the names."""
    waiting: Queue[Named] = Queue()
    for each in named:
        waiting.put(each)
    answers: dict[Named, Document] = {}

    def work() -> None:
        process = TrialProcess(seconds)
        try:
            for each in _taken(waiting):
                answers[each] = process.ask(each)
                told(answers[each])
        finally:
            process.close()

    threads = [threading.Thread(target=work) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[each] for each in named]


def _taken(waiting: Queue[Named]) -> Iterator[Named]:
    while True:
        try:
            yield waiting.get_nowait()
        except Empty:
            return
