"""Shapes come out of a `.bin` as torch.load would give them, and nothing else comes out of it."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest

from registry.domain.tensors import Layout, TensorSpec
from registry.errors import (
    HeaderInvalid,
    WeightsLfsPointer,
    WeightsPickleUnsafe,
    WeightsTruncated,
)
from registry.hub.pickled import HEAD_BYTES, read_pickle_layout

torch = pytest.importorskip("torch", reason="files are written by the real torch.save")

SPELLING = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.complex64: "C64",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.uint64: "U64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


class Read:
    """A file by ranges, with the ranges that were asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.spans: list[tuple[int, int]] = []

    async def __call__(self, start: int, end: int) -> bytes:
        assert 0 <= start < end <= len(self.data)
        self.spans.append((start, end))
        return self.data[start:end]


def layout_of(data: bytes, size: int | None = None) -> Layout:
    return asyncio.run(read_pickle_layout(Read(data), size or len(data)))


def saved(value: object, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def zipped(pickled: bytes) -> bytes:
    """An archive as torch.save writes it, with a pickle of our own making."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", bytes(64))
    return buffer.getvalue()


def in_both_formats(pickled: bytes) -> list[bytes]:
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return [zipped(pickled), head + pickled + pickle.dumps([], 2)]


def adapter(layers: int = 2) -> dict[str, object]:
    tensors = {}
    for layer in range(layers):
        prefix = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{prefix}.lora_A.weight"] = torch.zeros(8, 64)
        tensors[f"{prefix}.lora_B.weight"] = torch.zeros(64, 8, dtype=torch.bfloat16)
    return tensors


def expected(data: bytes) -> list[tuple[str, str, tuple[int, ...]]]:
    loaded = torch.load(io.BytesIO(data), weights_only=True)
    return sorted((name, SPELLING[t.dtype], tuple(t.shape)) for name, t in loaded.items())


def plain(layout: Layout) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(spec.name, spec.dtype, spec.shape) for spec in layout]


def sound_values() -> dict[str, object]:
    shared = torch.zeros(64)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    return {
        "adapter": adapter(),
        "parameters": {"w": torch.nn.Parameter(torch.zeros(2, 3))},
        "state_dict_with_metadata": model.state_dict(),
        "shared_storage": {"a": shared[:16].view(4, 4), "b": shared[16:], "c": shared.view(8, 8)},
        "transposed_and_expanded": {"t": torch.zeros(3, 5).t(), "e": torch.zeros(1).expand(7, 7)},
        "empty_and_scalar": {"empty": torch.zeros(0, 9), "scalar": torch.tensor(1.0)},
        "no_tensors": {},
    }


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", sound_values())
def test_shapes_equal_those_of_torch_load(kind: str, legacy: bool) -> None:
    data = saved(sound_values()[kind], legacy=legacy)
    assert plain(layout_of(data)) == expected(data)


@pytest.mark.parametrize("dtype", SPELLING, ids=str)
def test_every_dtype_has_its_safetensors_name(dtype: object) -> None:
    data = saved({"x": torch.zeros(2, 3, dtype=torch.uint8).to(dtype)})
    assert plain(layout_of(data)) == [("x", SPELLING[dtype], (2, 3))]


def test_one_range_of_the_head_is_enough_for_an_adapter() -> None:
    data = saved(adapter(layers=200) | {"big": torch.zeros(1 << 20)})
    read = Read(data)
    assert len(asyncio.run(read_pickle_layout(read, len(data)))) == 401
    assert read.spans == [(0, HEAD_BYTES)]


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_long_list_of_tensors_is_read_in_growing_ranges(legacy: bool) -> None:
    tensor = torch.zeros(1)
    data = saved({f"layer.{n}.{'x' * 100}": tensor for n in range(4000)}, legacy=legacy)
    read = Read(data)
    assert len(asyncio.run(read_pickle_layout(read, len(data)))) == 4000
    assert 2 <= len(read.spans) <= 3
    assert [start for start, _ in read.spans[1:]] == [end for _, end in read.spans[:-1]]


def test_an_archive_with_its_pickle_last_is_found_by_its_directory() -> None:
    value = adapter()
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(value))) as source,
        zipfile.ZipFile(buffer, "w") as target,
    ):
        for entry in reversed(source.infolist()):
            target.writestr(entry.filename, source.read(entry))
    data = buffer.getvalue()
    assert plain(layout_of(data)) == expected(data)


def test_a_nested_state_dict_is_named_and_refused() -> None:
    for legacy in (False, True):
        with pytest.raises(HeaderInvalid, match="'state_dict' is a dict, not a tensor"):
            layout_of(saved({"state_dict": adapter()}, legacy=legacy))


@pytest.mark.parametrize("value", [[torch.zeros(1)], torch.zeros(1), {"x": 1}, {1: torch.zeros(1)}])
def test_what_is_not_tensors_by_name_is_refused(value: object) -> None:
    with pytest.raises(HeaderInvalid):
        layout_of(saved(value))


# --- hostile pickles -------------------------------------------------------------------------


class Calls:
    """Pickles as a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


def a_global(module: str, name: str, *arguments: str) -> bytes:
    quoted = b"".join(pickle.dumps(text, 0)[: -len(b"p0\n.")] for text in arguments)
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + quoted + b"tR."


MARKER = Path("/tmp/loadplan-unpickled")
HOSTILE = {
    "os.system": a_global("os", "system", f"touch {MARKER}"),
    "posix.system": a_global("posix", "system", f"touch {MARKER}"),
    "builtins.eval": a_global("builtins", "eval", "1"),
    "builtins.getattr": a_global("builtins", "getattr", "a", "b"),
    "py2.builtins": a_global("__builtin__", "eval", "1"),
    "subprocess": a_global("subprocess", "Popen", "id"),
    "importlib": a_global("importlib", "import_module", "antigravity"),
    "runpy": a_global("runpy", "_run_code", "1"),
    "operator.attrgetter": a_global("operator", "attrgetter", "__class__.__mro__"),
    "torch.hub.load": a_global("torch.hub", "load", "x", "y"),
    "torch.load": a_global("torch.serialization", "load", "/etc/passwd"),
    "our.own.modules": a_global("workers.child.unpickle", "json.loads", "1"),
    "dotted.name": b"\x80\x04\x8c\x0bcollections\x8c\x1dOrderedDict.__init__.__self__\x93.",
    "dotted.allowed": b"\x80\x04\x8c\x05torch\x8c\x0eSize.__class__\x93.",
    "stack.global": pickle.dumps(Calls(os.system, "true"), 4),
    "nested": pickle.dumps({"a": OrderedDict(x=Calls(eval, "1"))}, 2),
    "object.new": pickle.dumps(Path("/etc/passwd"), 2),
    "inst.opcode": b"(S'true'\nios\nsystem\n.",
    "numpy": a_global("numpy.core.multiarray", "_reconstruct", "x"),
    "sparse": a_global("torch._utils", "_rebuild_sparse_tensor", "x"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_wants_more_than_tensors_is_unsafe(name: str) -> None:
    for data in in_both_formats(b"\x80\x02" + HOSTILE[name]):
        with pytest.raises(WeightsPickleUnsafe, match="The pickle wants '") as caught:
            layout_of(data)
        assert caught.value.code == "weights-pickle-unsafe"
    assert not MARKER.exists()


def test_a_bare_hostile_pickle_is_unsafe_too() -> None:
    with pytest.raises(WeightsPickleUnsafe, match="system"):
        layout_of(HOSTILE["os.system"])


def storage(count: object = 6, name: str = "FloatStorage", key: object = "0") -> bytes:
    # ("storage", class, key, device, count): the two ends are put together on the stack.
    parts = [pickle.dumps(part, 2)[2:-1] for part in (key, "cpu", count)]
    return b"(X\x07\x00\x00\x00storagectorch\n" + name.encode() + b"\n" + b"".join(parts) + b"tQ"


def tensor(
    stored: bytes | None = None,
    offset: object = 0,
    size: object = (2, 3),
    stride: object = (3, 1),
) -> bytes:
    rest = b"".join(pickle.dumps(part, 2)[2:-1] for part in (offset, size, stride, False, None))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + (stored or storage()) + rest + b"tR"


def holding(value: bytes, name: str = "x") -> bytes:
    return zipped(b"\x80\x02}" + pickle.dumps(name, 2)[2:-1] + value + b"s.")


def test_a_tensor_of_our_making_is_read() -> None:
    assert plain(layout_of(holding(tensor()))) == [("x", "F32", (2, 3))]


BROKEN = {
    "offset beyond storage": tensor(offset=1),
    "stride beyond storage": tensor(stride=(4, 1)),
    "size beyond storage": tensor(size=(3, 3)),
    "negative size": tensor(size=(-2, -3)),
    "negative stride": tensor(stride=(-3, 1)),
    "negative offset": tensor(offset=-1),
    "size and stride differ": tensor(stride=(1,)),
    "huge sizes": tensor(size=(2**62, 2**62), stride=(0, 0)),
    "too many dimensions": tensor(size=(1,) * 65, stride=(1,) * 65),
    "sizes are booleans": tensor(size=(True, True)),
    "sizes are floats": tensor(size=(2.0, 3.0)),
    "size is text": tensor(size="23", stride="31"),
    "storage is none": tensor(pickle.dumps(None, 2)[2:-1]),
    "storage of no size": tensor(storage(count=None)),
    "storage of huge size": tensor(storage(count=2**70)),
    "storage without a name": tensor(storage(key=None)),
    "storage without a type": tensor(storage(name="Size")),
    "storage of bytes alone": tensor(storage(name="UntypedStorage")),
    "an int": b"K\x01",
    "a storage alone": storage(),
    "a function": b"ctorch._utils\n_rebuild_tensor_v2\n",
    "a type changed": b"ccollections\nOrderedDict\nN}X\x01\x00\x00\x00xK\x01s\x86b",
    "stack underflow": b"tR",
    "unknown opcode": b"\xfe",
    "memo of nobody": b"h\x99",
}


@pytest.mark.parametrize("name", BROKEN)
def test_claims_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises((HeaderInvalid, WeightsTruncated)):
        layout_of(holding(BROKEN[name]))


def test_a_name_too_long_is_refused() -> None:
    with pytest.raises(HeaderInvalid, match="name"):
        layout_of(holding(tensor(), name="x" * 2000))


def laughs(levels: int) -> bytes:
    """Ten of ten of ten …, as tuples, whose hash or length in text is 10 ** levels."""
    body = b"K\x01q\x00"
    for level in range(levels):
        body += b"0(" + (b"h" + bytes([level])) * 10 + b"tq" + bytes([level + 1])
    return body


BOMBS = {
    "memo at 2**31": b"\x80\x02]r\x00\x00\x00\x80.",
    "bytearray of an exabyte": b"\x80\x05\x96" + struct.pack("<Q", 1 << 60) + b".",
    "text of four gigabytes": b"\x80\x02X\xff\xff\xff\xff.",
    "frame of an exabyte": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b".",
    "a key whose hash takes forever": b"\x80\x02}" + laughs(30) + b"K\x01s.",
    "nested a million deep": b"\x80\x02" + b"(" * 1_000_000 + b"t" * 1_000_000 + b".",
    "lists in lists": b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "a number of four megabytes": b"\x80\x02I" + b"9" * 4_000_000 + b"\n.",
    "a long of four megabytes": b"\x80\x02\x8b"
    + struct.pack("<i", 4_000_000)
    + b"\x7f" * 4_000_000
    + b".",
    "a negative long": b"\x80\x02\x8b\xff\xff\xff\xff.",
    "a million dictionaries": b"\x80\x02" + b"}" * 12_000_000 + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_bomb_costs_the_child_alone(name: str) -> None:
    for data in in_both_formats(BOMBS[name]):
        with pytest.raises((WeightsPickleUnsafe, HeaderInvalid, WeightsTruncated)):
            layout_of(data)


def test_too_many_tensors_are_refused() -> None:
    names = b"".join(b"X\x06\x00\x00\x00%06dh\x00" % n for n in range(200_001))
    data = zipped(b"\x80\x02" + tensor() + b"q\x000}(" + names + b"u.")
    with pytest.raises(HeaderInvalid, match="200001 tensors"):
        layout_of(data)


# --- files that are something else, or not whole ----------------------------------------------


def test_a_git_lfs_pointer_is_told_as_one() -> None:
    with pytest.raises(WeightsLfsPointer):
        layout_of(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n")


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", b"GGUF", b"PK\x03\x04"]
)
def test_what_torch_save_did_not_write_is_refused(data: bytes) -> None:
    with pytest.raises((HeaderInvalid, WeightsTruncated)):
        asyncio.run(read_pickle_layout(Lenient(data), len(data)))


class Lenient(Read):
    async def __call__(self, start: int, end: int) -> bytes:
        return self.data[start:end]


def test_a_compressed_pickle_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}." * 100)
    with pytest.raises(HeaderInvalid, match="compressed"):
        layout_of(buffer.getvalue())


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("share", [0.0005, 0.01, 0.5, 0.99])
def test_a_file_that_breaks_off_is_told_as_truncated(share: float, legacy: bool) -> None:
    data = saved(adapter() | {"big": torch.zeros(100_000)}, legacy=legacy)
    cut = data[: int(len(data) * share)]
    with pytest.raises((WeightsTruncated, HeaderInvalid)) as caught:
        layout_of(cut)
    if share >= 0.01:
        assert isinstance(caught.value, WeightsTruncated) or share == 0.99


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_flipped_bytes_never_raise_anything_of_python(legacy: bool) -> None:
    data = bytearray(saved(adapter(), legacy=legacy))
    end = data.index(b"lora_B")
    for at in range(0, end, max(1, end // 40)):
        spoiled = bytearray(data)
        spoiled[at] ^= 0x55
        try:
            layout = layout_of(bytes(spoiled))
        except (HeaderInvalid, WeightsTruncated, WeightsPickleUnsafe):
            continue
        assert all(isinstance(spec, TensorSpec) for spec in layout)


@pytest.mark.parametrize("name", ["memo at 2**31", "a million dictionaries"])
def test_a_pickle_that_fills_the_memory_is_unsafe(name: str) -> None:
    with pytest.raises(WeightsPickleUnsafe, match="more memory"):
        layout_of(zipped(BOMBS[name]))


def test_a_pickle_that_takes_forever_is_unsafe() -> None:
    with pytest.raises(WeightsPickleUnsafe, match="takes longer"):
        layout_of(zipped(BOMBS["a key whose hash takes forever"]))
