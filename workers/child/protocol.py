"""How a sandboxed program hears and answers: frames on its standard streams, one at a time.

A request is eight bytes of length, big-endian, and a body; an answer has one byte of kind before
the length. The end of the input is the end of the program. Whatever libraries print goes to the
error stream, never between the frames.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, BinaryIO


class AnswerKind(Enum):
    READY = b"R"  # sent once, with an empty body, when the program can take a request
    ANSWER = b"A"
    RAISED = b"E"  # body: JSON {"type", "message"}
    OUT_OF_MEMORY = b"M"


_LENGTH_BYTES = 8
_MESSAGE_CHARACTERS = 2_000
# How torch's CPU allocator words a refusal by the system; it is a plain RuntimeError.
_ALLOCATOR_REFUSALS = ("can't allocate memory", "not enough memory")


def serve(handler: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer JSON objects with JSON objects until the input ends."""

    def handle(body: bytes) -> bytes:
        return json.dumps(handler(json.loads(body)), separators=(",", ":")).encode()

    serve_bytes(handle)


def serve_bytes(handler: Callable[[bytes], bytes]) -> None:
    """Answer bodies with bodies until the input ends. An exception is an answer, not the end."""
    requests, answers = _take_streams()
    _write(answers, AnswerKind.READY, b"")
    while (body := _read(requests)) is not None:
        kind, answer = _answer(handler, body)
        _write(answers, kind, answer)


def _answer(handler: Callable[[bytes], bytes], body: bytes) -> tuple[AnswerKind, bytes]:
    try:
        return AnswerKind.ANSWER, handler(body)
    except MemoryError:
        return AnswerKind.OUT_OF_MEMORY, b""
    except Exception as error:
        message = str(error)
        if isinstance(error, RuntimeError) and any(
            words in message for words in _ALLOCATOR_REFUSALS
        ):
            return AnswerKind.OUT_OF_MEMORY, b""
        raised = {"type": type(error).__name__, "message": message[:_MESSAGE_CHARACTERS]}
        return AnswerKind.RAISED, json.dumps(raised).encode()


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep the two pipes for the frames; leave the standard streams to whoever prints or reads."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return requests, answers


def _read(requests: BinaryIO) -> bytes | None:
    head = requests.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    body = requests.read(length)
    return body if len(body) == length else None


def _write(answers: BinaryIO, kind: AnswerKind, body: bytes) -> None:
    answers.write(kind.value + len(body).to_bytes(_LENGTH_BYTES, "big"))
    answers.write(body)
    answers.flush()
