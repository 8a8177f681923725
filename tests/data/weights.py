"""Weight files made of nothing: a real safetensors header and a hole where the data would be."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from tests.hub.content import Content, Hole

# A tensor's dtype and shape, under its name in the file.
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]
Files = dict[str, Content]

BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def tensor_size(dtype: str, shape: tuple[int, ...]) -> int:
    return BYTES[dtype] * math.prod(shape)


def safetensors_header(tensors: Tensors, *, metadata: Mapping[str, str] | None = None) -> bytes:
    """The length and the JSON, as the official writer lays them out: widest dtype first, then
    by name, padded with spaces to eight bytes."""
    entries: dict[str, object] = {"__metadata__": dict(metadata or {"format": "pt"})}
    position = 0
    for name, (dtype, shape) in sorted(
        tensors.items(), key=lambda item: (-BYTES[item[1][0]], item[0])
    ):
        end = position + tensor_size(dtype, shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def safetensors_file(tensors: Tensors, *, metadata: Mapping[str, str] | None = None) -> Hole:
    """A whole safetensors file whose every value is zero and takes no room."""
    header = safetensors_header(tensors, metadata=metadata)
    data = sum(tensor_size(dtype, shape) for dtype, shape in tensors.values())
    return Hole(header, len(header) + data)


def truncated(file: Hole, *, kept: float = 0.5) -> Hole:
    """The same file after an upload that broke off: the header and a part of the data."""
    data = file.size - len(file.head)
    return Hole(file.head, len(file.head) + int(data * kept))


def sharded_files(tensors: Tensors, *, shard_bytes: int) -> Files:
    """`model.safetensors`, or its shards of at most `shard_bytes` and their index."""
    shards: list[dict[str, tuple[str, tuple[int, ...]]]] = [{}]
    filled = 0
    for name, (dtype, shape) in tensors.items():
        size = tensor_size(dtype, shape)
        if filled and filled + size > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = (dtype, shape)
        filled += size
    if len(shards) == 1:
        return {"model.safetensors": safetensors_file(tensors)}
    names = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    total = sum(tensor_size(dtype, shape) for dtype, shape in tensors.values())
    where = {name: path for path, shard in zip(names, shards, strict=True) for name in shard}
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    files: Files = {
        path: safetensors_file(shard) for path, shard in zip(names, shards, strict=True)
    }
    return {**files, "model.safetensors.index.json": json.dumps(index, indent=2) + "\n"}


def write_files(files: Mapping[str, Content], folder: Path) -> Path:
    """Write a repository's files into a local folder; holes stay sparse."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Hole):
            content.write(path)
        elif isinstance(content, Path):
            path.write_bytes(content.read_bytes())
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
