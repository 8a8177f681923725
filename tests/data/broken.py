"""Weight files that are not what their name says: hostile headers, pointers, cut-off uploads."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.data.weights import Files, Tensors, safetensors_file
from tests.hub.content import Hole, lfs_pointer

HONEST = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def pointer_file(size: int = 16_777_216) -> bytes:
    """What lies in a checkout where `git lfs pull` was not run."""
    return lfs_pointer("ab" * 32, size)


def framed(header: bytes | str, *, data: int = 16, length: int | None = None) -> Hole:
    """A safetensors file around a header of any content, with `data` zero bytes behind it."""
    text = header.encode() if isinstance(header, str) else header
    head = (len(text) if length is None else length).to_bytes(8, "little") + text
    return Hole(head, len(head) + data)


def _one(name: str = "a", **changes: object) -> str:
    return json.dumps({name: HONEST | changes})


def _two(first: list[int], second: list[int]) -> str:
    return json.dumps(
        {"a": HONEST | {"data_offsets": first}, "b": HONEST | {"data_offsets": second}}
    )


def hostile_headers() -> Mapping[str, Hole]:
    """Name -> file, none of which is a valid safetensors file."""
    deep = "[" * 100_000
    return {
        "empty file": Hole(b"", 0),
        "seven bytes": Hole(b"\1" * 7, 7),
        "length beyond the file": framed(_one(), length=10_000),
        "length of 2**63": framed(_one(), length=2**63),
        "header above the limit": Hole((100_000_001).to_bytes(8, "little") + b"{", 200_000_000),
        "no JSON": framed("not json"),
        "an array": framed("[]"),
        "JSON cut off": framed(_one()[:-2]),
        "deep nesting": framed(deep),
        "deep nesting inside": framed('{"a":' + deep),
        "bad UTF-8": framed(b'{"\xff": {"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'),
        "overlap": framed(_two([0, 16], [8, 24]), data=24),
        "hole between tensors": framed(_two([0, 16], [24, 40]), data=40),
        "hole at the start": framed(_one(data_offsets=[8, 24]), data=24),
        "bytes after the last tensor": framed(_one(), data=32),
        "offsets reversed": framed(_one(data_offsets=[16, 0])),
        "size does not fit the shape": framed(_one(shape=[3, 2])),
        "unknown dtype": framed(_one(dtype="F31")),
        "dtype is a number": framed(_one(dtype=32)),
        "negative dimension": framed(_one(shape=[-2, -2])),
        "fractional dimension": framed(_one(shape=[2.0, 2.0])),
        "dimension true": framed(_one(shape=[True, 4])),
        "dimension of 2**70": framed(_one(shape=[2**70, 2])),
        "product overflows": framed(_one(shape=[2**33, 2**33], data_offsets=[0, 16])),
        "shape is a text": framed(_one(shape="22")),
        "three offsets": framed(_one(data_offsets=[0, 8, 16])),
        "no offsets": framed(json.dumps({"a": {"dtype": "F32", "shape": [2, 2]}})),
        "entry is a number": framed('{"a": 1}'),
        "entry is null": framed('{"a": null}'),
        "NaN": framed('{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 16]}}'),
        "metadata is a number": framed(json.dumps({"__metadata__": 1, "a": HONEST})),
        "metadata holds a number": framed(json.dumps({"__metadata__": {"a": 1}, "b": HONEST})),
        "duplicate name": framed(f'{{"a": {json.dumps(HONEST)}, "a": {json.dumps(HONEST)}}}'),
        "space before the brace": framed(" " + _one()),
        "name with NUL": framed(_one("a\0b")),
        "pointer": Hole(pointer_file(), len(pointer_file())),
    }


def cut_off(tensors: Tensors, *, missing: int = 1) -> Hole:
    """A file whose upload broke off `missing` bytes before its end."""
    whole = safetensors_file(tensors)
    return Hole(whole.head, whole.size - missing)


def hostile_configs(base_repo_id: str) -> Mapping[str, str | bytes]:
    """Name -> adapter_config.json that no PEFT wrote, or that means harm."""
    honest = {
        "peft_type": "LORA",
        "base_model_name_or_path": base_repo_id,
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj"],
        "task_type": "CAUSAL_LM",
    }

    def changed(**changes: object) -> str:
        return json.dumps(honest | changes)

    return {
        "pattern that never ends": changed(target_modules="(([a-z_.0-9]+)+)+!"),
        "pattern that does not compile": changed(target_modules="(["),
        "rank is a text": changed(r="eight"),
        "rank is negative": changed(r=-8),
        "rank is a million million": changed(r=10**12),
        "targets are numbers": changed(target_modules=[1, 2]),
        "an array": "[]",
        "no JSON": "{peft",
        "bad UTF-8": b'{"peft_type": "\xff"}',
        "deep nesting": "[" * 100_000,
        "pointer": lfs_pointer("cd" * 32, 700),
        "remote class": changed(auto_mapping={"base_model_class": "X", "parent_library": "os"}),
        "base is a web address": changed(base_model_name_or_path="https://example.org/model"),
        "base climbs out": changed(base_model_name_or_path="../../etc/passwd"),
        "markup in the base's name": changed(base_model_name_or_path="<script>alert(1)</script>"),
    }


def misnamed(files: Files, name: str = "pytorch_lora_weights.safetensors") -> Files:
    """The same adapter with its weights under a name that PEFT does not look for."""
    renamed = dict(files)
    renamed[name] = renamed.pop("adapter_model.safetensors")
    return renamed
