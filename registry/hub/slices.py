"""Part of a file by its path: what `Reader.read_file` does for every source."""

from __future__ import annotations

from registry.domain.refs import shown
from registry.errors import FileInvalid, FileNotFound
from registry.hub.reader import Files
from registry.hub.snapshots import Snapshot

MAX_SLICE = 64 * 1024 * 1024


async def read_slice(
    files: Files, snapshot: Snapshot, path: str, start: int, end: int | None
) -> bytes:
    """Bytes `start` up to `end`, or to the file's end. Raises FileNotFound, FileInvalid."""
    entry = await files.locate(snapshot, path)
    if entry is None:
        raise FileNotFound(f"{snapshot.repo_id} has no {shown(path)} at this commit.")
    if start == 0 and end is None:
        return await files.read_whole(snapshot, entry, MAX_SLICE)
    if end is None:
        end = entry.size if entry.size is not None else start + MAX_SLICE
    if end - start > MAX_SLICE:
        raise FileInvalid(f"{end - start} bytes of {shown(path)}; at most {MAX_SLICE} are read.")
    return (await files.read_span(snapshot, entry, start, end)).data
