"""Read names, dtypes and shapes out of a pickle that torch.save wrote, and rebuild nothing else.

Question: one byte, `Z` (the data.pkl of a zip archive, from its first byte on) or `L` (a file of
the older format), then the first bytes of the pickle. Answer, as JSON, one of
{"tensors": [[name, dtype, shape], ...], "storage_bytes": n} · {"short": true}, the bytes ended
before the pickle did · {"unsafe": what it wanted} · {"broken": what is wrong}.

The unpickler is Python's own with an allow-list of names; each name stands for a class below that
keeps claims and touches no memory. Source of the format: torch/serialization.py, torch/_utils.py.
"""

from __future__ import annotations

import io
import json
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from workers.child import protocol

_MAX_TENSORS = 200_000
_MAX_DIMENSIONS = 16
_MAX_NAME_BYTES = 1024
_LARGEST_COUNT = 2**63 - 1

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

# torch's storage class: dtype as safetensors spells it, bytes of one element
_STORAGES = {
    "DoubleStorage": ("F64", 8),
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
    "ComplexFloatStorage": ("C64", 8),
}
# dtypes that came after storage classes were given up; their tensors name them (rebuild v3)
_DTYPES = {
    "uint16": ("U16", 2),
    "uint32": ("U32", 4),
    "uint64": ("U64", 8),
    "float8_e5m2": ("F8_E5M2", 1),
    "float8_e4m3fn": ("F8_E4M3", 1),
    "float8_e8m0fnu": ("F8_E8M0", 1),
    "float8_e4m3fnuz": ("F8_E4M3FNUZ", 1),
    "float8_e5m2fnuz": ("F8_E5M2FNUZ", 1),
}


class Unsafe(Exception):
    """The pickle asks for something other than tensors."""


class Broken(Exception):
    """The pickle asks for tensors that cannot be."""


@dataclass(frozen=True, slots=True)
class ElementType:
    """A storage class or a dtype of torch. Without a name it is a run of bytes."""

    name: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Storage:
    key: str
    element: ElementType
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]
    storage: Storage


def _rebuild_tensor(storage: object, offset: object, size: object, stride: object) -> Tensor:
    return _make_tensor(storage, offset, size, stride, None)


def _rebuild_tensor_v2(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object,
    backward_hooks: object,
    metadata: object = None,
) -> Tensor:
    return _make_tensor(storage, offset, size, stride, None)


def _rebuild_tensor_v3(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object,
    backward_hooks: object,
    dtype: object,
    metadata: object = None,
) -> Tensor:
    if not isinstance(dtype, ElementType):
        raise Broken("a tensor names no dtype")
    return _make_tensor(storage, offset, size, stride, dtype)


def _rebuild_parameter(data: object, requires_grad: object, backward_hooks: object) -> Tensor:
    if not isinstance(data, Tensor):
        raise Broken("a parameter holds no tensor")
    return data


_ALLOWED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "UntypedStorage"): ElementType(None, 1),
    ("torch", "UntypedStorage"): ElementType(None, 1),
    **{("torch", name): ElementType(*kind) for name, kind in {**_STORAGES, **_DTYPES}.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = _ALLOWED.get((module, name))
        if allowed is None:
            raise Unsafe(f"{module}.{name}"[:200])
        return allowed

    def persistent_load(self, claim: Any) -> Storage:
        """("storage", class, key, device, count) and, in the older format, a view (None)."""
        if not isinstance(claim, tuple) or len(claim) not in (5, 6) or claim[0] != "storage":
            raise Broken("a reference to a storage is not one")
        element, key, count = claim[1], claim[2], claim[4]
        if not isinstance(element, ElementType) or not isinstance(key, str):
            raise Broken("a storage has no type or no name")
        if len(claim) == 6 and claim[5] is not None:
            raise Broken("views of storages are of a version of torch before 0.4")
        return Storage(key, element, _count(count, "a storage's size"))


def _make_tensor(
    storage: object, offset: object, size: object, stride: object, dtype: ElementType | None
) -> Tensor:
    if not isinstance(storage, Storage):
        raise Broken("a tensor has no storage")
    element = dtype or storage.element
    if element.name is None:
        raise Broken("a tensor has no dtype")
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
        raise Broken("a tensor's shape and strides differ in length")
    if len(size) > _MAX_DIMENSIONS:
        raise Broken(f"a tensor has {len(size)} dimensions; at most {_MAX_DIMENSIONS} are read")
    shape = tuple(_count(length, "a size") for length in size)
    last = _count(offset, "an offset")
    elements = 1
    for length, step in zip(shape, stride, strict=True):
        last += max(length - 1, 0) * _count(step, "a stride")
        elements *= length
        _count(elements, "a tensor's size")
    if elements and (last + 1) * element.size > storage.count * storage.element.size:
        raise Broken("a tensor reaches beyond its storage")
    return Tensor(element.name, shape, storage)


def _count(value: object, what: str) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST_COUNT:
        raise Broken(f"{what} is no count")
    return value


def read(question: bytes) -> dict[str, Any]:
    source = io.BytesIO(question[1:])
    load = _load_legacy if question[:1] == b"L" else _load
    try:
        return _describe(load(source))
    except Unsafe as error:
        return {"unsafe": str(error)}
    except Broken as error:
        return {"broken": str(error)}
    except MemoryError:
        raise
    except Exception as error:
        # Pickles fail in every way there is. One that ran off the end wants more bytes.
        if source.tell() >= len(question) - 1:
            return {"short": True}
        return {"broken": f"the pickle cannot be read ({type(error).__name__})"}


def _load(source: io.BytesIO) -> object:
    return _Unpickler(source, encoding="utf-8").load()


def _load_legacy(source: io.BytesIO) -> object:
    """Four pickles in a row: magic number, version, facts of the machine, the object."""
    if _load(source) != _LEGACY_MAGIC:
        raise Broken("the file begins with a pickle that torch.save did not write")
    if _load(source) != _LEGACY_PROTOCOL:
        raise Broken("the file is of an unknown version of torch's older format")
    _load(source)
    return _load(source)


def _describe(loaded: object) -> dict[str, Any]:
    if not isinstance(loaded, dict):
        raise Broken(f"it holds one {type(loaded).__name__.lower()}, not tensors by name")
    if len(loaded) > _MAX_TENSORS:
        raise Broken(f"it holds {len(loaded)} tensors; at most {_MAX_TENSORS} are read")
    tensors = []
    storages: dict[str, int] = {}
    for name, tensor in loaded.items():
        if not isinstance(name, str) or len(name.encode(errors="replace")) > _MAX_NAME_BYTES:
            raise Broken("a tensor's name is no text, or too long")
        if not isinstance(tensor, Tensor):
            raise Broken(f"{name[:100]!a} is a {type(tensor).__name__}, not a tensor")
        tensors.append([name, tensor.dtype, tensor.shape])
        storage = tensor.storage
        size = storage.count * storage.element.size
        if storages.setdefault(storage.key, size) != size:
            raise Broken(f"storage {storage.key[:100]!a} has two sizes")
    return {"tensors": tensors, "storage_bytes": sum(storages.values())}


def answer(question: bytes) -> bytes:
    return json.dumps(read(question), separators=(",", ":")).encode()


if __name__ == "__main__":
    protocol.serve_bytes(answer)
