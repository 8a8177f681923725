"""Content ids of local files, equal to those that the Hub gives to the same content.

The Hub names a file in LFS by its sha256 and any other by its git blob oid. Which files go to LFS
is decided by `.gitattributes`, by the Hub's default one where a folder has none, and by size.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from registry.domain.refs import CommitSha, shown
from registry.errors import FileNotFound
from registry.hub.digests import git_blob_oid
from registry.hub.snapshots import clean_content_id

# The Hub takes no larger file outside LFS.
_LFS_SIZE = 10 * 1024 * 1024
_BLOBS = "blobs"
_MAX_ATTRIBUTES = 64 * 1024
_DEFAULT_PATTERNS = (
    *("*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gguf", "*.gz", "*.h5"),
    *("*.joblib", "*.lfs.*", "*.mlmodel", "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx"),
    *("*.ot", "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.rar"),
    *("*.safetensors", "*.tar", "*.tar.*", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip"),
    *("*.zst", "*tfevents*"),
)


def open_regular(path: Path) -> io.BufferedReader:
    """The file, opened for reading. Raises FileNotFound for what cannot be read or is no file.

    A pipe put in a file's place would make a plain `open` wait for a writer, for ever.
    """
    try:
        file: io.BufferedReader = io.BufferedReader(
            io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "r")
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileNotFound(f"{shown(str(path))} cannot be read: {reason}.") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FileNotFound(f"{shown(str(path))} is no regular file.")
    return file


@dataclass(frozen=True)
class LfsRules:
    """Patterns of names that go to LFS."""

    patterns: tuple[str, ...] = _DEFAULT_PATTERNS

    def apply(self, path: str, size: int) -> bool:
        """Whether the Hub would keep this file in LFS."""
        name = path.rsplit("/", 1)[-1]
        return size > _LFS_SIZE or any(
            fnmatchcase(path if "/" in pattern else name, pattern) for pattern in self.patterns
        )


def read_lfs_rules(folder: Path) -> LfsRules:
    """The folder's own `.gitattributes`, else the Hub's default."""
    try:
        with open_regular(folder / ".gitattributes") as file:
            text = file.read(_MAX_ATTRIBUTES).decode("utf-8", "replace")
    except FileNotFound:
        return LfsRules()
    lines = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    patterns = [words[0].lstrip("/") for words in lines if "filter=lfs" in words[1:]]
    return LfsRules(tuple(patterns))


def identify_file(path: Path, name: str, size: int, rules: LfsRules) -> str:
    """The content id. Reads the whole file once, unless huggingface_hub's cache names it already.

    In that cache a file is a link to `blobs/<content id>`, written by the library after it had
    checked the download; taking its word spares hashing gigabytes that came from the Hub anyway.
    """
    if path.is_symlink():
        target = Path(os.path.realpath(path))
        known = clean_content_id(target.name) if target.parent.name == _BLOBS else None
        if known is not None:
            return known
    with open_regular(path) as file:
        if rules.apply(name, size):
            return hashlib.file_digest(file, "sha256").hexdigest()
        return git_blob_oid(file.read())


def compute_commit(parts: Mapping[str, bytes]) -> CommitSha:
    """What stands for a commit of a local folder: `sha256:` over file name -> sha256."""
    named = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    text = json.dumps(named, sort_keys=True, separators=(",", ":"))
    return CommitSha(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")
