"""Which weight files a checkpoint would load, and their tensors, read by range."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from registry.domain.facts import WeightsFacts, WeightsFormat
from registry.domain.issues import Issue, make_issue
from registry.domain.refs import shown
from registry.domain.tensors import (
    LENGTH_BYTES,
    Header,
    Layout,
    header_length,
    parse_safetensors_header,
)
from registry.errors import FileInvalid, HeaderInvalid, HubMirrorLimited, WeightsPickleUnsafe
from registry.hub.pickled import read_pickle_layout
from registry.hub.reader import Files
from registry.hub.snapshots import FileEntry, Snapshot, prefix_of
from registry.hub.together import LARGE, run_together

# Nearly every adapter's header fits: one with 450 tensors takes 57 to 60 KB.
FIRST_RANGE = 64 * 1024
ADAPTER_WEIGHTS = (
    ("adapter_model.safetensors", WeightsFormat.SAFETENSORS),
    ("adapter_model.bin", WeightsFormat.PICKLE),
)
_BASE_SAFETENSORS = "model.safetensors"
_BASE_PICKLE = "pytorch_model.bin"
_INDEX = ".index.json"
_MAX_INDEX = 64 * 1024 * 1024
_MAX_SHARDS = 1000
# Each pickle is read in a child process of its own.
_MAX_PICKLED_SHARDS = 64
_MOST_NAMED = 5


@dataclass(frozen=True)
class WeightsRead:
    facts: WeightsFacts | None
    problems: tuple[Issue, ...] = ()


async def read_adapter_weights(
    files: Files, snapshot: Snapshot, subfolder: str | None
) -> WeightsRead:
    """adapter_model.safetensors, else adapter_model.bin: the order in which PEFT looks."""
    prefix = prefix_of(subfolder)
    for name, weights_format in ADAPTER_WEIGHTS:
        entry = await files.locate(snapshot, prefix + name)
        if entry is not None:
            return await _read_files(files, snapshot, [entry], weights_format, prefix)
    return WeightsRead(None, (_missing(snapshot, subfolder),))


async def read_base_weights(files: Files, snapshot: Snapshot) -> WeightsRead:
    """model.safetensors, its index, pytorch_model.bin, its index: transformers' own order."""
    for name, weights_format in (
        (_BASE_SAFETENSORS, WeightsFormat.SAFETENSORS),
        (_BASE_PICKLE, WeightsFormat.PICKLE),
    ):
        entry = await files.locate(snapshot, name)
        if entry is not None:
            return await _read_files(files, snapshot, [entry], weights_format, "")
        index = await files.locate(snapshot, name + _INDEX)
        if index is not None:
            return await _read_shards(files, snapshot, index, weights_format)
    message = "The base holds neither model.safetensors nor pytorch_model.bin, single or sharded."
    return WeightsRead(None, (make_issue("weights-missing", message),))


async def _read_shards(
    files: Files, snapshot: Snapshot, index: FileEntry, weights_format: WeightsFormat
) -> WeightsRead:
    try:
        names = parse_index(await files.read_whole(snapshot, index, _MAX_INDEX), index.path)
    except FileInvalid as error:
        return WeightsRead(None, (make_issue("header-invalid", error.message),))
    entries = await run_together(*(files.locate(snapshot, name) for name in names))
    found = [entry for entry in entries if entry is not None]
    missing = [name for name, entry in zip(names, entries, strict=True) if entry is None]
    if missing:
        message = f"{index.path} names shards that the base does not hold: {_listed(missing)}."
        return WeightsRead(None, (make_issue("weights-missing", message),))
    return await _read_files(files, snapshot, found, weights_format, "")


def parse_index(data: bytes, path: str) -> tuple[str, ...]:
    """The shards that an index names, sorted. Raises FileInvalid.

    A shard's name is a plain file name beside the index: anything else is refused, not cleaned.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise FileInvalid(f"{path} is not JSON.") from None
    weight_map = document.get("weight_map") if isinstance(document, Mapping) else None
    if not isinstance(weight_map, Mapping) or not weight_map:
        raise FileInvalid(f"{path} has no weight_map.")
    names = sorted({name for name in weight_map.values() if isinstance(name, str)})
    strange = [name for name in names if not _is_shard_name(name)]
    if strange or not all(isinstance(name, str) for name in weight_map.values()):
        raise FileInvalid(f"{path} names files that are no shards: {_listed(strange)}.")
    if len(names) > _MAX_SHARDS:
        raise FileInvalid(f"{path} names {len(names)} shards; at most {_MAX_SHARDS} are read.")
    return tuple(names)


def _is_shard_name(name: str) -> bool:
    return (
        "/" not in name
        and "\\" not in name
        and name.isprintable()
        and name.endswith((".safetensors", ".bin"))
        and len(name) <= 255
    )


async def _read_files(
    files: Files,
    snapshot: Snapshot,
    entries: Sequence[FileEntry],
    weights_format: WeightsFormat,
    prefix: str,
) -> WeightsRead:
    read = _read_header if weights_format is WeightsFormat.SAFETENSORS else _read_pickle
    if weights_format is WeightsFormat.PICKLE and len(entries) > _MAX_PICKLED_SHARDS:
        parts: list[_Part] = [_Part(None, entry.size, None) for entry in entries]
    else:
        parts = await run_together(*(read(files, snapshot, entry) for entry in entries))
    identified = {}
    for entry in entries:
        if entry.content_id is None:
            raise HubMirrorLimited(
                f"The endpoint gives no content id of {shown(entry.path)}, so that nothing could "
                "say later whether it is still the same file."
            )
        identified[entry.path.removeprefix(prefix)] = entry.content_id
    problems = tuple(part.problem for part in parts if part.problem is not None)
    layouts = [part.layout for part in parts if part.layout is not None]
    layout = None
    # A layout with a shard left out would show tensors as absent that are merely unknown.
    if len(layouts) == len(parts):
        try:
            layout = merge_layouts(layouts)
        except HeaderInvalid as error:
            problems += (make_issue(error.code, error.message),)
    return WeightsRead(
        WeightsFacts(
            format=weights_format,
            files=identified,
            size_bytes=sum(part.size or 0 for part in parts),
            layout=layout,
        ),
        problems,
    )


@dataclass(frozen=True)
class _Part:
    """One weight file as far as it could be read."""

    layout: Layout | None
    size: int | None
    problem: Issue | None


async def _read_header(files: Files, snapshot: Snapshot, entry: FileEntry) -> _Part:
    piece = await files.read_span(snapshot, entry, 0, FIRST_RANGE)
    size = entry.size if piece.total is None else piece.total
    try:
        data = piece.data
        needed = LENGTH_BYTES + header_length(data)
        if len(data) < needed and len(data) == FIRST_RANGE:
            data += (await files.read_span(snapshot, entry, len(data), needed)).data
        data = data[:needed]
        if len(data) > LARGE:
            header = await asyncio.to_thread(parse_safetensors_header, data, size)
        else:
            header = _parse_small_header(data, size)
    except HeaderInvalid as error:
        message = f"{entry.path}: {error.message}"
        return _Part(None, size, make_issue(error.code, message, fix=error.fix))
    return _Part(header.tensors, size, None)


# Adapters of one recipe have byte-equal headers; equal layouts are then one object, too.
@lru_cache(maxsize=64)
def _parse_small_header(data: bytes, size: int | None) -> Header:
    return parse_safetensors_header(data, size)


async def _read_pickle(files: Files, snapshot: Snapshot, entry: FileEntry) -> _Part:
    size = entry.size
    if size is None:
        size = (await files.read_span(snapshot, entry, 0, 1)).total
    if size is None:
        raise HubMirrorLimited(f"The endpoint does not tell the size of {shown(entry.path)}.")
    try:
        layout = await read_pickle_layout(partial(_read_bytes, files, snapshot, entry), size)
    except FileInvalid as error:
        # A pickle has no header; `header-invalid` is the code for weights that no reader can open.
        code = error.code if isinstance(error, WeightsPickleUnsafe | HeaderInvalid) else None
        message = f"{entry.path}: {error.message}"
        return _Part(None, size, make_issue(code or "header-invalid", message, fix=error.fix))
    return _Part(layout, size, None)


async def _read_bytes(
    files: Files, snapshot: Snapshot, entry: FileEntry, start: int, end: int
) -> bytes:
    return (await files.read_span(snapshot, entry, start, end)).data


def merge_layouts(layouts: Sequence[Layout]) -> Layout:
    """The tensors of all shards, by name. Raises HeaderInvalid for a name in two of them."""
    if len(layouts) == 1:
        return layouts[0]
    tensors = {spec.name: spec for layout in layouts for spec in layout}
    if len(tensors) != sum(map(len, layouts)):
        raise HeaderInvalid("Two shards hold a tensor of one name.")
    return tuple(tensors[name] for name in sorted(tensors))


def _missing(snapshot: Snapshot, subfolder: str | None) -> Issue:
    """What stands in the place of the weights: files under another name, or nothing."""
    looked_for = " or ".join(name for name, _ in ADAPTER_WEIGHTS)
    candidates = sorted(
        name
        for name in snapshot.names_in(subfolder)
        if name.endswith((".safetensors", ".bin")) and name not in _NEVER_WEIGHTS
    )
    if candidates:
        return make_issue(
            "weights-misnamed",
            f"PEFT reads {looked_for}; this folder holds {_listed(candidates)} instead.",
        )
    return make_issue("weights-missing", f"The folder holds no {looked_for}.")


_NEVER_WEIGHTS = frozenset(
    {"training_args.bin", "optimizer.bin", "scheduler.bin", "scaler.bin", "random_states.bin"}
)


def _listed(names: Iterable[str]) -> str:
    named = list(names)
    text = ", ".join(shown(name) for name in named[:_MOST_NAMED])
    more = len(named) - _MOST_NAMED
    return f"{text} and {more} more" if more > 0 else text
