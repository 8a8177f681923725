"""What the local Hub stores: file contents with the two ids that the Hub gives them.

A weights file of thirteen gigabytes is a header and a hole: `Hole` holds the header alone and
answers zeros for the rest, and a sparse file on disk is read by range, never as a whole.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

# What the Hub's default .gitattributes sends to LFS, and the size above which it insists.
LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack")
LFS_NAMES = ("tokenizer.model", "spiece.model")
LFS_SIZE = 10 * 1024 * 1024
# Above this size an LFS id is computed from the first megabyte and the size: hashing a hole of
# many gigabytes would cost minutes, and nobody can check the id without downloading the file.
HASHED_WHOLE = 64 * 1024 * 1024


@dataclass(frozen=True)
class Hole:
    """A file whose first bytes are `head` and whose other bytes are zeros."""

    head: bytes
    size: int

    def __post_init__(self) -> None:
        if self.size < len(self.head):
            raise ValueError(f"a file of {self.size} bytes cannot begin with {len(self.head)}")

    def write(self, path: Path) -> None:
        """Write it as a sparse file: the disk holds the head alone."""
        with path.open("wb") as file:
            file.write(self.head)
            file.truncate(self.size)


Content = bytes | str | Path | Hole


class Blob:
    """One stored content, its size, its git oid and, for LFS, its sha256."""

    def __init__(self, content: Content, *, lfs: bool) -> None:
        self._content = content.encode() if isinstance(content, str) else content
        if isinstance(self._content, Path):
            self.size = self._content.stat().st_size
        elif isinstance(self._content, Hole):
            self.size = self._content.size
        else:
            self.size = len(self._content)
        self.lfs = lfs

    def read(self, start: int, end: int) -> bytes:
        """Bytes from `start` to `end`, end excluded."""
        end = min(end, self.size)
        if end <= start:
            return b""
        if isinstance(self._content, bytes):
            return self._content[start:end]
        if isinstance(self._content, Hole):
            head = self._content.head[start:end]
            return head + bytes(end - start - len(head))
        descriptor = os.open(self._content, os.O_RDONLY)
        try:
            return os.pread(descriptor, end - start, start)
        finally:
            os.close(descriptor)

    @cached_property
    def sha256(self) -> str:
        """The LFS id. Above `HASHED_WHOLE` it stands for the first megabyte and the size."""
        digest = hashlib.sha256()
        if self.size <= HASHED_WHOLE:
            digest.update(self.read(0, self.size))
        else:
            digest.update(self.read(0, 1024 * 1024))
            digest.update(f"and zeros up to {self.size}".encode())
        return digest.hexdigest()

    @cached_property
    def oid(self) -> str:
        """The git object id: of the content, or for LFS of the pointer that git holds."""
        body = self.pointer if self.lfs else self.read(0, self.size)
        return hashlib.sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False).hexdigest()

    @property
    def pointer(self) -> bytes:
        return lfs_pointer(self.sha256, self.size)

    @property
    def content_id(self) -> str:
        """What the Hub's ETag holds."""
        return self.sha256 if self.lfs else self.oid


def lfs_pointer(sha256: str, size: int) -> bytes:
    """The text that git holds in place of an LFS file."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )


def make_blob(path: str, content: Content, *, lfs: bool | None = None) -> Blob:
    """Store `content` under `path`, through LFS when the Hub would."""
    blob = Blob(content, lfs=False)
    if lfs is None:
        name = path.rsplit("/", 1)[-1]
        lfs = name.endswith(LFS_SUFFIXES) or name in LFS_NAMES or blob.size >= LFS_SIZE
    blob.lfs = lfs
    return blob
