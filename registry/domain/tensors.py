"""Tensors as names, dtypes and shapes; the strict parser of safetensors headers.

Dtypes keep the spelling of safetensors (`BF16`, `F32`, `I64`, …). A shape is a tuple of sizes,
`()` for a scalar.

A safetensors file is: the header's length as a little-endian unsigned 64-bit integer, the header
(a JSON object in UTF-8), the data. The rules are those of the official reader (safetensors 0.8);
where that reader is lax (two tensors of one name, text before `{`) or its limits are far beyond
any real file, this parser is stricter. It never accepts what the official reader refuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, update_wrapper
from typing import NamedTuple, NoReturn, TypeGuard, TypeVar, TypeVarTuple, cast

from registry.domain.canonical import canonical_json, sha256_digest
from registry.domain.refs import Digest, shown
from registry.errors import HeaderInvalid, WeightsLfsPointer, WeightsTruncated

Ts = TypeVarTuple("Ts")
T = TypeVar("T")
Shape = tuple[int, ...]


class TensorSpec(NamedTuple):
    """One tensor of a file, without its data. A tuple, since files have thousands of them."""

    name: str
    dtype: str
    shape: Shape


# A layout is the tensors of a checkpoint sorted by name. Equal layouts are stored once.
Layout = tuple[TensorSpec, ...]

# What was found out about a layout is kept for the next file that has it, unless it is larger.
_MOST_KEPT_TENSORS, _KEPT_LAYOUTS = 4096, 64

# Bits of one element, for the 22 dtypes of safetensors 0.8.
DTYPE_BITS: Mapping[str, int] = {
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
    **{"BOOL": 8, "U8": 8, "I8": 8},
    **{"F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"I16": 16, "U16": 16, "F16": 16, "BF16": 16},
    **{"I32": 32, "U32": 32, "F32": 32},
    **{"I64": 64, "U64": 64, "F64": 64, "C64": 64},
}

# The official reader allows 100,000,000 bytes; the largest headers of real files (50,000 tensors)
# take 7 MB. The other caps are ours too: they bound memory, database rows and page width.
MAX_HEADER_BYTES = 16_000_000
MAX_TENSORS = 200_000
MAX_DIMENSIONS = 16
MAX_NAME_BYTES = 1024

LENGTH_BYTES = 8
_OFFICIAL_MAX_HEADER_BYTES = 100_000_000
# A tensor's entry opens one object and two lists; more is an attack on the parser's memory.
_MAX_OPENINGS = 3 * MAX_TENSORS + 2
_LARGEST_USIZE = 2**64 - 1
_LFS_POINTER = b"version https://git-lfs"
# What people upload under a weights name by accident, told by its first bytes.
_OTHER_FILES: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes it"),
    (b"\x80\x02", "a Python pickle"),
    (b"GGUF", "a GGUF file"),
    (b"<", "a web page"),
    (b"{", "a JSON text without a header length"),
)
_METADATA = "__metadata__"
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})
_MINUS = re.compile(r"[\[,:\s]-")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True)
class Header:
    """What a safetensors header says.

    `header_bytes` is where the data begins: the length prefix plus the header. `data_bytes` is
    the length of the data, so that their sum is the file's size.
    """

    tensors: Layout
    metadata: Mapping[str, str]
    header_bytes: int
    data_bytes: int


def header_length(prefix: bytes) -> int:
    """The header's length in bytes, from the first bytes of a file; the prefix of 8 not counted.

    A reader fetches `8 + header_length(...)` bytes and hands them to `parse_safetensors_header`.
    Raises WeightsLfsPointer, WeightsTruncated (fewer than 8 bytes) or HeaderInvalid.
    """
    if len(prefix) >= LENGTH_BYTES and _LFS_POINTER.startswith(prefix[: len(_LFS_POINTER)]):
        raise WeightsLfsPointer
    if len(prefix) < LENGTH_BYTES:
        raise WeightsTruncated(
            f"The file holds {len(prefix)} bytes; a safetensors file begins with a length of 8."
        )
    length = int.from_bytes(prefix[:LENGTH_BYTES], "little")
    if length > _OFFICIAL_MAX_HEADER_BYTES:
        for magic, name in _OTHER_FILES:
            if prefix.startswith(magic):
                raise HeaderInvalid(f"This is not a safetensors file but {name}.")
    if length > MAX_HEADER_BYTES:
        raise HeaderInvalid(
            f"The header claims {length} bytes; at most {MAX_HEADER_BYTES} are read."
        )
    if length < len(b"{}"):
        raise HeaderInvalid(f"The header claims {length} bytes, too few for a JSON object.")
    return length


def parse_safetensors_header(data: bytes, file_size: int | None) -> Header:
    """Parse and validate the header at the start of `data`.

    `data` holds at least the length prefix and the header; what follows is not looked at.
    `file_size` is the whole file's size in bytes, None when it is not known; then alone the end
    of the last tensor is not compared with it.
    Raises HeaderInvalid, WeightsTruncated or WeightsLfsPointer, and nothing else.
    """
    length = header_length(data)
    begin = LENGTH_BYTES + length
    available = len(data) if file_size is None else min(len(data), max(file_size, 0))
    if available < begin:
        raise WeightsTruncated(f"The header takes {begin} bytes, the file holds {available}.")
    document = _parse_json(data[LENGTH_BYTES:begin])
    metadata = _metadata(document.pop(_METADATA, None))
    if len(document) > MAX_TENSORS:
        raise HeaderInvalid(f"The header names {len(document)} tensors; at most {MAX_TENSORS}.")
    entries = [_entry(name, fields) for name, fields in document.items()]
    end = _check_coverage(entries)
    if file_size is not None and begin + end != file_size:
        _refuse_size(begin + end, file_size)
    layout = tuple(sorted((spec for spec, _, _ in entries), key=lambda spec: spec.name))
    return Header(layout, metadata, begin, end)


def layout_digest(layout: Layout) -> Digest:
    """One digest for equal names, dtypes and shapes, in whatever order they are given."""
    rows = sorted(layout, key=lambda spec: spec.name)
    return sha256_digest(canonical_json([[spec.name, spec.dtype, spec.shape] for spec in rows]))


def once_per_layout(work: Callable[[Layout, *Ts], T]) -> Callable[[Layout, *Ts], T]:
    """Adapters of one recipe have equal layouts: what is found out about one serves the next.

    What follows the layout must be hashable.
    """
    kept = cast(Callable[[Layout, *Ts], T], lru_cache(maxsize=_KEPT_LAYOUTS)(work))

    def find(layout: Layout, /, *rest: *Ts) -> T:
        return (kept if len(layout) <= _MOST_KEPT_TENSORS else work)(layout, *rest)

    return update_wrapper(find, work)


def element_count(shape: Shape) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def tensor_bytes(spec: TensorSpec) -> int:
    """The bytes that a tensor takes in a file. Raises KeyError for a dtype not of safetensors."""
    return (element_count(spec.shape) * DTYPE_BITS[spec.dtype] + 7) // 8


# --- the JSON ----------------------------------------------------------------------------------


def _parse_json(data: bytes) -> dict[str, object]:
    if not data.startswith(b"{"):
        raise HeaderInvalid("The header does not begin with '{'.")
    if data.count(b"[") + data.count(b"{") > _MAX_OPENINGS:
        raise HeaderInvalid("The header nests more lists and objects than any real one.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HeaderInvalid("The header is not UTF-8.") from error
    try:
        document = json.loads(
            text,
            object_pairs_hook=_unique,
            # Costs a call for each number, so only where a minus may stand before one.
            parse_int=_natural if "-" in text and _MINUS.search(text) else None,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as error:
        raise HeaderInvalid("The header is not a JSON object.") from error
    if "\\" in text and _ESCAPED_SURROGATE.search(text):
        _refuse_lone_surrogates(document)
    if not isinstance(document, dict):
        raise HeaderInvalid("The header is not a JSON object.")
    return document


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise HeaderInvalid("The header holds the same name twice.")
    return members


def _natural(text: str) -> int:
    # "-0" is an integer to Python and none to the official reader.
    if text.startswith("-"):
        _refuse_number(text)
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    raise HeaderInvalid(f"The header holds the number {shown(text, 24)}; sizes are integers.")


def _refuse_lone_surrogates(document: object) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise HeaderInvalid("The header holds text that is not Unicode.") from error


def _metadata(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise HeaderInvalid("The header's __metadata__ is not an object.")
    for key, text in value.items():
        if not isinstance(text, str):
            raise HeaderInvalid(f"The metadata {shown(key)} is not a string.")
    return value


# --- the tensors -------------------------------------------------------------------------------

_Entry = tuple[TensorSpec, int, int]


def _entry(name: str, fields: object) -> _Entry:
    """The tensor and its range. Fields that the format does not know are allowed when plain."""
    _check_name(name)
    if not isinstance(fields, dict):
        raise HeaderInvalid(f"The entry of tensor {shown(name)} is not an object.")
    dtype, shape, offsets = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise HeaderInvalid(f"Tensor {shown(name)} has the unknown dtype {shown(str(dtype), 24)}.")
    if not _are_sizes(shape):
        raise HeaderInvalid(f"The shape of tensor {shown(name)} is not a list of sizes.")
    if len(shape) > MAX_DIMENSIONS:
        raise HeaderInvalid(
            f"Tensor {shown(name)} has {len(shape)} dimensions; at most {MAX_DIMENSIONS}."
        )
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise HeaderInvalid(f"The data_offsets of tensor {shown(name)} are not two sizes.")
    if len(fields) > len(_FIELDS):
        _check_other_fields(name, fields)
    spec = TensorSpec(name, dtype, tuple(shape))
    begin, end = offsets
    if end - begin != _size_in_bytes(spec):
        raise HeaderInvalid(
            f"Tensor {shown(name)} ({dtype}, {list(shape)}) does not fill its range "
            f"{begin} to {end}."
        )
    return spec, begin, end


def _check_name(name: str) -> None:
    if "\0" in name:
        raise HeaderInvalid(f"The tensor name {shown(name)} holds a NUL character.")
    # A character takes at most four bytes, so that short names need not be encoded.
    if len(name) > MAX_NAME_BYTES // 4 and len(name.encode("utf-8")) > MAX_NAME_BYTES:
        raise HeaderInvalid(f"The tensor name {shown(name)} is longer than {MAX_NAME_BYTES} bytes.")


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    """True for a list of unsigned 64-bit integers; booleans are none, as in the format."""
    if type(value) is not list:
        return False
    # Files have thousands of these short lists, and a generator for each takes twice as long.
    for size in value:  # noqa: SIM110
        if type(size) is not int or not 0 <= size <= _LARGEST_USIZE:
            return False
    return True


def _check_other_fields(name: str, fields: Mapping[str, object]) -> None:
    """Nested values are refused: the official reader limits their depth, we need none."""
    for key, value in fields.items():
        if key not in _FIELDS and isinstance(value, dict | list):
            raise HeaderInvalid(f"Tensor {shown(name)} has the unknown field {shown(key)}.")


def _size_in_bytes(spec: TensorSpec) -> int:
    """Multiplied in the official reader's order: a product beyond 64 bits is an error even when a
    later dimension of 0 would bring it back."""
    bits = 1
    for size in spec.shape:
        bits *= size
        if bits > _LARGEST_USIZE:
            raise HeaderInvalid(f"The size of tensor {shown(spec.name)} overflows 64 bits.")
    bits *= DTYPE_BITS[spec.dtype]
    if bits > _LARGEST_USIZE:
        raise HeaderInvalid(f"The size of tensor {shown(spec.name)} overflows 64 bits.")
    if bits % 8:
        raise HeaderInvalid(f"Tensor {shown(spec.name)} does not end on a whole byte.")
    return bits // 8


def _check_coverage(entries: list[_Entry]) -> int:
    """The ranges, sorted, follow each other from 0 without hole or overlap. Returns the end."""
    position = 0
    for spec, begin, end in sorted(entries, key=lambda entry: (entry[1], entry[2])):
        if begin != position:
            fault = "overlaps the tensor before it" if begin < position else "leaves a hole"
            raise HeaderInvalid(f"Tensor {shown(spec.name)} at byte {begin} {fault}.")
        position = end
    return position


def _refuse_size(claimed: int, file_size: int) -> NoReturn:
    if claimed > file_size:
        raise WeightsTruncated(f"The header describes {claimed} bytes, the file has {file_size}.")
    raise HeaderInvalid(
        f"The header describes {claimed} bytes, the file has {file_size - claimed} more."
    )
