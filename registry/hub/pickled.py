"""Names, dtypes and shapes of a `.bin` file, from its first bytes, without running or fetching it.

torch.save writes a zip archive whose first entry is `data.pkl`, or in its older format a row of
pickles; both begin at byte 0 and name every tensor before the first byte of data. One range of
256 KiB holds most of them. What the pickle wants is read in a child by an allow-list of names.
"""

from __future__ import annotations

import asyncio
import io
import json
import struct
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from registry.domain.refs import shown
from registry.domain.tensors import DTYPE_BITS, Layout, TensorSpec
from registry.errors import (
    ChildFailed,
    ChildOutOfMemory,
    ChildTimedOut,
    HeaderInvalid,
    WeightsLfsPointer,
    WeightsPickleUnsafe,
    WeightsTruncated,
)
from registry.sandbox import Isolation, Limits, choose_isolation, run_child

# Half-open: the bytes from `start` up to, not including, `end`.
ReadSpan = Callable[[int, int], Awaitable[bytes]]

_PROGRAM = "workers.child.unpickle"
# Sixteen MiB of honest pickle take one second and 100 MB.
_LIMITS = Limits(
    seconds=60.0, cpu_seconds=3, memory_bytes=512 << 20, output_bytes=64 << 20, processes=4
)

HEAD_BYTES = 256 << 10
MAX_PICKLE_BYTES = 16 << 20
_GROWTH = 4

_ZIP_ENTRY = b"PK\x03\x04"
# A local entry's signature, flags, method, lengths of name and extra field.
_ENTRY = struct.Struct("<4s2xHH16xHH")
# The directory of ten thousand entries; read only when data.pkl is not the first.
_DIRECTORY_BYTES = 1 << 20
_STORED = 0
_ENCRYPTED = 1
_PICKLE_NAME = "data.pkl"
_LFS_POINTER = b"version https://git-lfs"
_PROTOCOL_OPCODE = b"\x80"


async def read_pickle_layout(
    read: ReadSpan, size: int, *, isolation: Isolation | None = None
) -> Layout:
    """The tensors that the file claims, sorted by name; `size` is the whole file's, in bytes.

    Raises WeightsPickleUnsafe (it wants more than tensors), WeightsLfsPointer, WeightsTruncated,
    HeaderInvalid (broken, or not of torch.save), ChildFailed or SandboxMissing (our own failure),
    and what `read` raises.
    """
    head = await read(0, min(size, HEAD_BYTES))
    if head.startswith(_LFS_POINTER):
        raise WeightsLfsPointer
    if head.startswith(_ZIP_ENTRY):
        kind = b"Z"
        window, begin = await _find_entry(read, head, size)
    elif head.startswith(_PROTOCOL_OPCODE):
        kind = b"L"
        window, begin = _Window(0, head), 0
    else:
        raise HeaderInvalid(f"This is no file of torch.save; it begins with {head[:8]!r}.")
    claims = await _read_claims(read, kind, window, begin, size, isolation)
    if claims["storage_bytes"] > size:
        raise WeightsTruncated(
            f"The tensors take {claims['storage_bytes']} bytes, the file has {size}."
        )
    return _make_layout(claims["tensors"])


async def _read_claims(
    read: ReadSpan,
    kind: bytes,
    window: _Window,
    begin: int,
    size: int,
    isolation: Isolation | None,
) -> dict[str, Any]:
    """Ask the child about the window from `begin` on, then about four times as much, and again."""
    pickled = window.data[begin:]
    end = window.start + len(window.data)
    while True:
        claims = await asyncio.to_thread(_ask_child, kind + pickled, isolation)
        if "short" not in claims:
            return claims
        if end >= size:
            raise WeightsTruncated("The file ends before its list of tensors does.")
        if len(pickled) >= MAX_PICKLE_BYTES:
            raise HeaderInvalid(f"The list of tensors takes more than {MAX_PICKLE_BYTES} bytes.")
        wanted = max(HEAD_BYTES, (_GROWTH - 1) * len(pickled))
        more = await read(end, min(size, end + min(wanted, MAX_PICKLE_BYTES - len(pickled))))
        if not more:
            raise WeightsTruncated(f"The file ends at byte {end} of {size}.")
        pickled += more
        end += len(more)


def _ask_child(question: bytes, isolation: Isolation | None) -> dict[str, Any]:
    isolation = isolation or choose_isolation()
    try:
        answer = json.loads(run_child(_PROGRAM, question, _LIMITS, isolation=isolation))
    except ChildOutOfMemory as error:
        raise WeightsPickleUnsafe(
            "Reading the pickle takes more memory than any list of tensors needs."
        ) from error
    except ChildTimedOut as error:
        if not error.fields.get("processor"):
            raise
        raise WeightsPickleUnsafe(
            "Reading the pickle takes longer than any list of tensors needs."
        ) from error
    if not isinstance(answer, dict):
        raise ChildFailed("The answer about the pickle is not what was agreed.")
    if "unsafe" in answer:
        raise WeightsPickleUnsafe(
            f"The pickle wants {shown(str(answer['unsafe']))}, which no list of tensors needs."
        )
    if "broken" in answer:
        raise HeaderInvalid(f"The pickle holds no tensors by name: {answer['broken']}.")
    return answer


def _make_layout(tensors: list[tuple[str, str, list[int]]]) -> Layout:
    layout = tuple(sorted(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in tensors))
    if any(spec.dtype not in DTYPE_BITS for spec in layout):
        raise ChildFailed("The answer about the pickle names a dtype that does not exist.")
    return layout


@dataclass(frozen=True)
class _Window:
    """Bytes of the file from `start` on."""

    start: int
    data: bytes


async def _find_entry(read: ReadSpan, head: bytes, size: int) -> tuple[_Window, int]:
    """A window on data.pkl's local header, and where in it the pickle begins.

    torch puts the entry first; other writers need not, and then the directory at the end knows.
    """
    window = _Window(0, head)
    name, begin = _parse_entry(window)
    if not _is_pickle(name):
        start = await _find_in_directory(read, size)
        window = _Window(start, await read(start, min(size, start + HEAD_BYTES)))
        name, begin = _parse_entry(window)
        if not _is_pickle(name):
            raise HeaderInvalid("The archive's directory points at another entry than data.pkl.")
    return window, begin


def _parse_entry(window: _Window) -> tuple[str, int]:
    """The name of a local zip entry and where its content begins."""
    if len(window.data) < _ENTRY.size:
        raise WeightsTruncated("The file ends within a zip entry.")
    signature, flags, method, name_length, extra_length = _ENTRY.unpack_from(window.data)
    name = window.data[_ENTRY.size : _ENTRY.size + name_length].decode(errors="replace")
    if signature != _ZIP_ENTRY:
        raise HeaderInvalid("The archive's directory points at no entry.")
    if _is_pickle(name) and (method != _STORED or flags & _ENCRYPTED):
        raise HeaderInvalid("The archive's data.pkl is compressed; torch.save stores it as it is.")
    return name, _ENTRY.size + name_length + extra_length


def _is_pickle(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    return file == _PICKLE_NAME and "/" not in folder


async def _find_in_directory(read: ReadSpan, size: int) -> int:
    start = max(0, size - _DIRECTORY_BYTES)
    tail = _Tail(start, await read(start, size))
    try:
        with zipfile.ZipFile(tail) as archive:
            found = [entry for entry in archive.infolist() if _is_pickle(entry.filename)]
    # All that the standard reader raises for directories that lie: a record of unknown version is
    # NotImplementedError, one that points outside of the tail ValueError or struct.error.
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise HeaderInvalid("The zip archive has no readable directory at its end.") from error
    if len(found) != 1 or not 0 <= found[0].header_offset < size:
        raise HeaderInvalid("The zip archive holds no data.pkl, as torch.save writes it.")
    return found[0].header_offset


class _Tail(io.RawIOBase):
    """The end of a file that is not here; what lies before it cannot be read."""

    def __init__(self, start: int, data: bytes) -> None:
        self._start = start
        self._data = data
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = self._start + len(self._data)
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: end}[whence]
        if self._at < 0:
            raise ValueError("before the file")
        return self._at

    def read(self, length: int = -1) -> bytes:
        begin = self._at - self._start
        if begin < 0:
            raise ValueError("before the tail")
        found = self._data[begin:] if length < 0 else self._data[begin : begin + length]
        self._at += len(found)
        return found
