"""The life of a child: start, one question at a time within a deadline, the end of all of it."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from registry.domain.refs import shown
from registry.errors import ChildFailed, ChildOutOfMemory, ChildTimedOut
from registry.sandbox.launch import Isolation, Limits, prepare_launch
from registry.sandbox.spawning import spawn
from registry.sandbox.usage import Usage, measure_tree

# The frames of workers/child/protocol.py, which is not imported: it belongs to the other side.
_HEAD_BYTES = 9
_READY, _ANSWER, _RAISED, _OUT_OF_MEMORY = b"R", b"A", b"E", b"M"
# An import of torch on a busy machine takes ten seconds; nothing untrusted is read in this time.
START_SECONDS = 120.0
_RAISED_BYTES = 16_384
_ERROR_TAIL_BYTES = 4_096
_CHUNK_BYTES = 1 << 16
# A memory bomb fills some 100 MB between two looks; the data limit stops most of them before.
_WATCH_SECONDS = 0.05
# bubblewrap's monitor and its init stand beside the program.
_OWN_PROCESSES = 2


def run_child(
    module: str,
    payload: bytes,
    limits: Limits,
    *,
    isolation: Isolation,
    read_only: Sequence[Path] = (),
    devices: bool = False,
) -> bytes:
    """One question to a child of its own. Raises ChildTimedOut, ChildOutOfMemory, ChildFailed.

    A ChildTimedOut has the field `processor` when the processor time ended, not the deadline.

    `read_only`: files and folders it may read. `devices`: it may use the accelerators.
    Blocks; call it from a thread when in an event loop.
    """
    child = _Child(module, limits, isolation, read_only, devices)
    try:
        child.wait_ready(time.monotonic() + START_SECONDS)
        return child.ask(payload, time.monotonic() + limits.seconds, last=True)
    finally:
        child.kill()


class WarmChild:
    """A child that stays for many questions; one that dies costs one answer and a new child.

    Starts at the first question (or `start`). `start_seconds` bounds what it imports, apart from
    the deadline of a question. Threads may share one; their questions are put in turn.
    """

    def __init__(
        self,
        module: str,
        limits: Limits,
        *,
        isolation: Isolation,
        read_only: Sequence[Path] = (),
        devices: bool = False,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._module = module
        self._limits = limits
        self._isolation = isolation
        self._read_only = tuple(read_only)
        self._devices = devices
        self._start_seconds = start_seconds
        self._child: _Child | None = None
        self._turn = threading.Lock()

    def start(self) -> None:
        """Have a child ready, so that the next question does not wait for its imports."""
        with self._turn:
            self._started()

    def ask(self, payload: bytes, seconds: float | None = None) -> bytes:
        """The answer within `seconds` (default: the limits'). Raises as `run_child` does.

        An exception of the program itself is a ChildFailed too, with the fields `type` and
        `text`, and leaves the child alive.
        """
        with self._turn:
            child = self._started()
            allowed = self._limits.seconds if seconds is None else seconds
            try:
                return child.ask(payload, time.monotonic() + allowed)
            finally:
                if not child.alive:
                    self._end()

    def usage(self) -> Usage | None:
        """What the child has and had of the machine; None when none is alive."""
        child = self._child
        return None if child is None else child.usage()

    def close(self) -> None:
        with self._turn:
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _started(self) -> _Child:
        if self._child is not None and self._child.has_exited():
            self._end()
        if self._child is None:
            child = _Child(
                self._module, self._limits, self._isolation, self._read_only, self._devices
            )
            try:
                child.wait_ready(time.monotonic() + self._start_seconds)
            except BaseException:
                child.kill()
                raise
            self._child = child
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _Child:
    """One process with its pipes. `alive` turns False at the first breach; then only `kill`."""

    def __init__(
        self,
        module: str,
        limits: Limits,
        isolation: Isolation,
        read_only: Sequence[Path],
        devices: bool,
    ) -> None:
        self.alive = True
        self._module = module
        self._limits = limits
        self._errors = bytearray()
        self._received = bytearray()
        self._home = Path(tempfile.mkdtemp(prefix="loadplan-child-"))
        try:
            launch = prepare_launch(
                module,
                limits,
                isolation,
                home=self._home,
                read_only=read_only,
                devices=devices,
            )
            self._process = spawn(launch.arguments, launch.environment, self._home)
        except BaseException:
            shutil.rmtree(self._home, ignore_errors=True)
            raise
        for stream in self._streams():
            os.set_blocking(stream.fileno(), False)

    def wait_ready(self, deadline: float) -> None:
        kind, _ = self._exchange(b"", deadline)
        if kind != _READY:
            raise self._broken("did not begin as agreed")

    def ask(self, payload: bytes, deadline: float, *, last: bool = False) -> bytes:
        frame = len(payload).to_bytes(_HEAD_BYTES - 1, "big") + payload
        kind, body = self._exchange(frame, deadline, last=last)
        if kind == _ANSWER:
            return body
        if kind == _OUT_OF_MEMORY:
            self.alive = False
            raise self._out_of_memory()
        if kind == _RAISED:
            raise self._raised(body)
        raise self._broken("did not answer as agreed")

    def has_exited(self) -> bool:
        return not self.alive or self._process.poll() is not None

    def kill(self) -> None:
        """End the program and everything it started, and forget its files. Safe to repeat."""
        self.alive = False
        if self._process.returncode is None:
            # The session is its own, so the group holds bubblewrap's processes and nobody else's.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for stream in self._streams():
            stream.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def _streams(self) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        return process.stdin, process.stdout, process.stderr

    def _exchange(
        self, frame: bytes, deadline: float, *, last: bool = False
    ) -> tuple[bytes, bytes]:
        """Send the frame and wait for the next one, both within the deadline and the limits."""
        completed = False
        try:
            answer = self._converse(memoryview(frame), deadline, last)
            completed = True
            return answer
        finally:
            self.alive = completed

    def _converse(self, frame: memoryview, deadline: float, last: bool) -> tuple[bytes, bytes]:
        requests, answers, errors = self._streams()
        with selectors.DefaultSelector() as selector:
            selector.register(answers, selectors.EVENT_READ)
            if not errors.closed:
                selector.register(errors, selectors.EVENT_READ)
            if frame:
                selector.register(requests, selectors.EVENT_WRITE)
            next_look = 0.0
            while (complete := self._complete_frame()) is None:
                now = time.monotonic()
                if now >= deadline:
                    raise ChildTimedOut(f"{self._module} was still at work at its deadline.")
                if now >= next_look:
                    self._check_usage()
                    next_look = now + _WATCH_SECONDS
                for key, _ in selector.select(min(_WATCH_SECONDS, deadline - now)):
                    if key.fileobj is requests:
                        frame = self._send(frame)
                        is_done = not frame
                        if is_done and last:
                            selector.unregister(requests)
                            requests.close()
                            continue
                    else:
                        is_done = not self._receive(key.fileobj)
                    if is_done:
                        selector.unregister(key.fileobj)
                        if key.fileobj is answers:
                            raise self._ended(deadline)
        return complete

    def _send(self, frame: memoryview) -> memoryview:
        try:
            return frame[os.write(self._streams()[0].fileno(), frame[:_CHUNK_BYTES]) :]
        except BlockingIOError:
            return frame
        except BrokenPipeError:
            # Its answer stream ends too, or it answers without having read: both are seen there.
            return frame[len(frame) :]

    def _receive(self, stream: object) -> bool:
        """False at the end of the stream. Of what it prints, the last words are kept."""
        _, answers, errors = self._streams()
        try:
            chunk = os.read((answers if stream is answers else errors).fileno(), _CHUNK_BYTES)
        except BlockingIOError:
            return True
        if stream is answers:
            self._received += chunk
        else:
            self._errors += chunk
            del self._errors[:-_ERROR_TAIL_BYTES]
        return bool(chunk)

    def _complete_frame(self) -> tuple[bytes, bytes] | None:
        received = self._received
        if len(received) < _HEAD_BYTES:
            return None
        kind, length = bytes(received[:1]), int.from_bytes(received[1:_HEAD_BYTES], "big")
        most = self._limits.output_bytes if kind == _ANSWER else _RAISED_BYTES
        if length > most:
            raise self._broken(f"gave an answer of {length} bytes; {most} are allowed")
        if len(received) > _HEAD_BYTES + length:
            raise self._broken("said more than it was asked")
        if len(received) < _HEAD_BYTES + length:
            return None
        body = bytes(received[_HEAD_BYTES:])
        received.clear()
        return kind, body

    def usage(self) -> Usage:
        return measure_tree(self._process.pid)

    def _check_usage(self) -> None:
        usage = self.usage()
        if usage.memory_bytes > self._limits.memory_bytes:
            raise self._out_of_memory()
        if usage.tasks > self._limits.processes + _OWN_PROCESSES:
            raise self._broken(f"started more than {self._limits.processes} threads")

    def _ended(self, deadline: float) -> ChildFailed:
        """The program closed its answers: it died, or is about to."""
        try:
            code = self._process.wait(max(0.0, min(1.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            return self._broken("closed its answers")
        self._receive(self._streams()[2])
        if code in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
            return ChildTimedOut(f"{self._module} used up its processor time.", processor=True)
        return self._broken(f"ended with {_exit_words(code)}")

    def _raised(self, body: bytes) -> ChildFailed:
        try:
            raised = json.loads(body)
            name, message = str(raised["type"])[:100], str(raised["message"])
        except (ValueError, TypeError, LookupError, RecursionError):
            return self._broken("did not answer as agreed")
        return ChildFailed(
            f"{self._module} raised {shown(name)}: {shown(message, 300)}", type=name, text=message
        )

    def _out_of_memory(self) -> ChildOutOfMemory:
        allowed = self._limits.memory_bytes
        return ChildOutOfMemory(
            f"{self._module} needed more than the {allowed} bytes of memory it is given.",
            memory_bytes=allowed,
        )

    def _broken(self, what: str) -> ChildFailed:
        self.alive = False
        words = self._errors.decode(errors="replace").strip()
        return ChildFailed(f"{self._module} {what}.", last_words=shown(words[-1000:], 1000))


def _exit_words(code: int) -> str:
    # bubblewrap reports the signal that ended the program as a shell does.
    number = -code if code < 0 else code - 128
    if code >= 0 and not 0 < number < 65:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        return f"exit code {code}"
