"""Adapters as pickles: what torch.save writes, byte by byte, and what an attacker would write.

Nothing here imports torch. The opcodes are spelled out, so that a file of gigabytes can be a head
and a hole, and so that a hostile one can name what it likes.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.data.weights import Tensors, tensor_size
from tests.hub.content import Hole

STORAGES = {
    "F64": "DoubleStorage",
    "F32": "FloatStorage",
    "F16": "HalfStorage",
    "BF16": "BFloat16Storage",
    "I64": "LongStorage",
    "U8": "ByteStorage",
}
MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def zip_pickle(tensors: Tensors) -> bytes:
    """What torch.save writes since 1.6: a zip with data.pkl first and one entry per storage."""
    entries = {"data.pkl": dict_pickle(tensors), "byteorder": b"little"}
    for number, (dtype, shape) in enumerate(tensors.values()):
        entries[f"data/{number}"] = bytes(tensor_size(dtype, shape))
    return zip_archive(entries | {"version": b"3\n"})


def zip_pickle_hole(tensors: Tensors) -> Hole:
    """The first entry of such a zip, then a hole as long as the data: enough to read shapes."""
    body = dict_pickle(tensors)
    name = b"archive/data.pkl"
    # As torch writes it: sizes are zero in the local header and follow the data (flag bit 3).
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 0, 0x808, 0, 0, 0, 0, 0, 0, len(name), 0)
    after = struct.pack("<4s3I", b"PK\7\10", 0, len(body), len(body))
    head = local + name + body + after
    data = sum(tensor_size(dtype, shape) for dtype, shape in tensors.values())
    return Hole(head, len(head) + data)


def legacy_pickle(tensors: Tensors) -> bytes:
    """What torch.save wrote before 1.6: five pickles in a row, then the storages."""
    data = b"".join(
        struct.pack("<q", math.prod(shape)) + bytes(tensor_size(dtype, shape))
        for dtype, shape in tensors.values()
    )
    keys = pickle.dumps([str(number) for number in range(len(tensors))], 2)
    return _legacy_head() + dict_pickle(tensors, legacy=True) + keys + data


def dict_pickle(tensors: Tensors, *, legacy: bool = False) -> bytes:
    """A dictionary of tensors, each over a storage of its own, pickled as torch does."""
    items = b"".join(
        _text(name) + _tensor(str(number), dtype, shape, legacy=legacy)
        for number, (name, (dtype, shape)) in enumerate(tensors.items())
    )
    return b"\x80\x02}(" + items + b"u."


def _tensor(
    key: str,
    dtype: str,
    shape: tuple[int, ...],
    *,
    legacy: bool = False,
    numel: int | None = None,
    offset: int = 0,
) -> bytes:
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    storage = b"(" + _text("storage") + _global("torch", STORAGES[dtype]) + _text(key)
    storage += _text("cpu") + _int(math.prod(shape) if numel is None else numel)
    storage += (b"N" if legacy else b"") + b"tQ"
    sizes = b"(" + b"".join(map(_int, shape)) + b"t(" + b"".join(map(_int, strides)) + b"t"
    hooks = _global("collections", "OrderedDict") + b")R"
    rebuild = _global("torch._utils", "_rebuild_tensor_v2")
    return rebuild + b"(" + storage + _int(offset) + sizes + b"\x89" + hooks + b"tR"


def zip_archive(entries: Mapping[str, bytes], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, body in entries.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), body, compress_type=compression)
    return buffer.getvalue()


# What each hostile pickle tries. The first group must never run; the second asks for more than
# any adapter needs; the third lies about its tensors.
def hostile_pickles(marker: Path) -> Mapping[str, bytes]:
    """Name -> file. Code that runs would create the file `marker`."""
    command = f"touch {marker}"
    run = _call("posix", "system", _text(command))
    honest = {"base_model.model.a.lora_A.weight": ("F32", (2, 2))}
    key = _text("base_model.model.a.lora_A.weight")
    programs = {
        "runs a command": run,
        "evaluates text": _call("builtins", "eval", _text(f"__import__('os').system({command!r})")),
        "names a command on the stack": _text("posix")
        + _text("system")
        + b"\x93("
        + _text(command)
        + b"tR",
        "reaches through getattr": _call(
            "builtins", "getattr", _global("posix", "sys") + _text("modules")
        ),
        "loads another pickle": _call("torch", "load", _text(str(marker))),
        "sets state": _global("collections", "OrderedDict") + b")R}" + _text("a") + run + b"sb",
        "names a class by INST": b"(" + _text(command) + b"iposix\nsystem\n",
        "takes an extension code": b"\x82\x01",
    }
    lies = {
        "claims a storage smaller than its tensor": _tensor("0", "F32", (64, 64), numel=4),
        "claims an offset outside its storage": _tensor("0", "F32", (2, 2), offset=2**40),
        "claims a negative size": _tensor("0", "F32", (-2, 2), numel=4),
        "holds a number for a tensor": _int(7),
    }
    greedy = {
        "writes to memo slot two thousand million": b"\x80\x02Nr" + b"\xff\xff\xff\x7f" + b".",
        "nests a million lists": b"\x80\x02" + b"(" * 1_000_000 + b"l" * 1_000_000 + b".",
        "claims a text of four gigabytes": b"\x80\x02X\xf0\xff\xff\xff",
        "never stops": b"\x80\x02}" + b"(" * 1000,
        "is empty": b"",
    }
    bodies = {name: b"\x80\x02}(" + key + code + b"u." for name, code in (programs | lies).items()}
    files = {name: _wrap(body) for name, body in (bodies | greedy).items()}
    plain = dict_pickle(honest)
    return files | {
        "runs a command in a legacy file": _legacy_head() + bodies["runs a command"],
        "runs a command in its first pickle": b"\x80\x02" + run + b".",
        "compresses its pickle": zip_archive(
            {"data.pkl": plain + bytes(10_000_000)}, compression=zipfile.ZIP_DEFLATED
        ),
        "has no data.pkl": zip_archive({"other": plain}),
        "is cut off": zip_pickle(honest)[:80],
    }


def _wrap(body: bytes) -> bytes:
    return zip_archive({"data.pkl": body, "version": b"3\n", "data/0": bytes(16)})


def _legacy_head() -> bytes:
    system = {
        "protocol_version": LEGACY_PROTOCOL,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    return b"".join(pickle.dumps(value, 2) for value in (MAGIC, LEGACY_PROTOCOL, system))


def _call(module: str, name: str, arguments: bytes) -> bytes:
    return _global(module, name) + b"(" + arguments + b"tR"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _text(value: str) -> bytes:
    body = value.encode()
    return b"X" + struct.pack("<I", len(body)) + body


def _int(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    body = pickle.encode_long(value)
    return b"\x8a" + bytes([len(body)]) + body
