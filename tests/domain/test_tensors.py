"""The strict header parser, with the official safetensors reader as the judge."""

import json
import math
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from registry.domain.tensors import (
    DTYPE_BITS,
    MAX_DIMENSIONS,
    MAX_HEADER_BYTES,
    MAX_NAME_BYTES,
    Header,
    TensorSpec,
    header_length,
    layout_digest,
    once_per_layout,
    parse_safetensors_header,
    tensor_bytes,
)
from registry.errors import HeaderInvalid, WeightsLfsPointer, WeightsTruncated

_SPARSE_LIMIT = 2**40


def _file(header: bytes | str, data_bytes: int = 0) -> tuple[bytes, int]:
    """The first bytes of a file and its size."""
    text = header.encode() if isinstance(header, str) else header
    return len(text).to_bytes(8, "little") + text, 8 + len(text) + data_bytes


def _entry(dtype: object, shape: object, begin: object, end: object, **more: object) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def _official(data: bytes, size: int) -> dict[str, tuple[str, tuple[int, ...]]] | None:
    """Names, dtypes and shapes as the official reader gives them; None when it refuses.

    The file is sparse: only the header is written.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        path.write_bytes(data[:size])
        os.truncate(path, size)
        try:
            with safe_open(path, framework="np") as reader:
                slices = {name: reader.get_slice(name) for name in reader.keys()}  # noqa: SIM118
                return {
                    name: (part.get_dtype(), tuple(part.get_shape()))
                    for name, part in slices.items()
                }
        except (SafetensorError, OSError, ValueError, OverflowError):
            return None


def _ours(data: bytes, size: int | None) -> Header | None:
    try:
        return parse_safetensors_header(data, size)
    except HeaderInvalid:
        return None


def _as_mapping(header: Header) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {spec.name: (spec.dtype, spec.shape) for spec in header.tensors}


F32 = _entry("F32", [2], 0, 8)
F32_TEXT = json.dumps(F32)

# Accepted by both. (header, bytes of data)
SOUND = {
    "an empty object": ("{}", 0),
    "one tensor": (json.dumps({"a": F32}), 8),
    "a scalar": (json.dumps({"a": _entry("F32", [], 0, 4)}), 4),
    "an empty tensor": (json.dumps({"a": _entry("F32", [0, 7], 0, 0)}), 0),
    "an empty tensor between two": (
        json.dumps(
            {"a": F32, "b": _entry("F32", [0], 8, 8), "c": _entry("I8", [1], 8, 9)},
        ),
        9,
    ),
    "tensors in any order": (
        json.dumps({"z": _entry("U8", [3], 8, 11), "a": F32}),
        11,
    ),
    "metadata": (json.dumps({"__metadata__": {"format": "pt"}, "a": F32}), 8),
    "empty metadata": (json.dumps({"__metadata__": {}, "a": F32}), 8),
    "trailing spaces": (json.dumps({"a": F32}) + "     ", 8),
    "an unknown plain field": (json.dumps({"a": _entry("F32", [2], 0, 8, note="x")}), 8),
    "a name with a newline": (json.dumps({"a\nb": F32}), 8),
    "a name like a path": (json.dumps({"../../etc": F32}), 8),
    "an emoji as a name": (json.dumps({"😀": F32}, ensure_ascii=False), 8),
    "an escaped surrogate pair": (json.dumps({"😀": F32}), 8),
    "an empty name": (json.dumps({"": F32}), 8),
    "two 4-bit numbers": (json.dumps({"a": _entry("F4", [2], 0, 1)}), 1),
    "four 6-bit numbers": (json.dumps({"a": _entry("F6_E2M3", [4], 0, 3)}), 3),
    "sixteen dimensions": (json.dumps({"a": _entry("I8", [1] * MAX_DIMENSIONS, 0, 1)}), 1),
}

# Refused by us; the official reader refuses them too unless STRICTER names them.
HOSTILE = {
    "no object": ("[]", 0),
    "null": ("null", 0),
    "a number": ("42", 0),
    "a string": ('"abc"', 0),
    "cut JSON": ('{"a": {"dtype": "F32"', 0),
    "text after the object": ("{} x", 0),
    "two objects": ("{}{}", 0),
    "leading space": (" " + json.dumps({"a": F32}), 8),
    "leading newline": ("\n{}", 0),
    "a byte order mark": ("\ufeff{}", 0),
    "bytes that are not UTF-8": (b'{"a\xff": 1}', 0),
    "an overlong encoding": (b'{"\xc0\xaf": 1}', 0),
    "an encoded surrogate": (b'{"\xed\xa0\x80": 1}', 0),
    "a NUL byte at the end": ("{}\0", 0),
    "a control character in a name": ('{"a\x01b": 1}', 0),
    "a lone escaped surrogate": (f'{{"\\ud800": {F32_TEXT}}}', 8),
    "a lone surrogate in the metadata": ('{"__metadata__": {"a": "\\uDC00"}}', 0),
    "a lone surrogate in an unknown field": (
        json.dumps({"a": _entry("F32", [2], 0, 8, note="\ud800")}),
        8,
    ),
    "NaN": ('{"a": NaN}', 0),
    "Infinity as a size": ('{"a": {"dtype":"F32","shape":[Infinity],"data_offsets":[0,8]}}', 8),
    "a comment": ('{/* */"a": 1}', 0),
    "a trailing comma": (f'{{"a": {F32_TEXT},}}', 8),
    "single quotes": ("{'a': 1}", 0),
    "a duplicate tensor": (f'{{"a": {F32_TEXT}, "a": {F32_TEXT}}}', 8),
    "a duplicate field": (
        '{"a": {"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        8,
    ),
    "duplicate metadata": ('{"__metadata__": {}, "__metadata__": {}}', 0),
    "a duplicate name through an escape": (
        f'{{"a": {F32_TEXT}, "\\u0061": {F32_TEXT}}}',
        8,
    ),
    "NUL in a name": (json.dumps({"a\0b": F32}), 8),
    "a name of 1025 bytes": (json.dumps({"a" * (MAX_NAME_BYTES + 1): F32}), 8),
    "a name of 1026 bytes in 513 characters": (
        json.dumps({"é" * (MAX_NAME_BYTES // 2 + 1): F32}, ensure_ascii=False),
        8,
    ),
    "an entry that is a list": (json.dumps({"a": ["F32", [2], [0, 8]]}), 8),
    "an entry that is null": (json.dumps({"a": None}), 0),
    "no dtype": (json.dumps({"a": {"shape": [2], "data_offsets": [0, 8]}}), 8),
    "no shape": (json.dumps({"a": {"dtype": "F32", "data_offsets": [0, 8]}}), 8),
    "no offsets": (json.dumps({"a": {"dtype": "F32", "shape": [2]}}), 8),
    "an unknown dtype": (json.dumps({"a": _entry("F31", [2], 0, 8)}), 8),
    "a dtype in lower case": (json.dumps({"a": _entry("f32", [2], 0, 8)}), 8),
    "a dtype that is a number": (json.dumps({"a": _entry(32, [2], 0, 8)}), 8),
    "a shape that is a number": (json.dumps({"a": _entry("F32", 2, 0, 8)}), 8),
    "a shape that is null": (json.dumps({"a": _entry("F32", None, 0, 4)}), 4),
    "a shape of strings": (json.dumps({"a": _entry("F32", ["2"], 0, 8)}), 8),
    "a negative size": (json.dumps({"a": _entry("F32", [-2], 0, 8)}), 8),
    "two negative sizes": (json.dumps({"a": _entry("F32", [-1, -2], 0, 8)}), 8),
    "minus zero": ('{"a": {"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}', 0),
    "a fraction": (json.dumps({"a": _entry("F32", [2.0], 0, 8)}), 8),
    "an exponent": ('{"a": {"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}}', 8),
    "a leading zero": ('{"a": {"dtype":"F32","shape":[02],"data_offsets":[0,8]}}', 8),
    "a boolean size": (json.dumps({"a": _entry("F32", [True, 2], 0, 8)}), 8),
    "a size of 2**64": (json.dumps({"a": _entry("F32", [2**64, 0], 0, 0)}), 0),
    "a size of 2**70": (json.dumps({"a": _entry("F32", [2**70], 0, 8)}), 8),
    "a size of 5000 digits": (
        '{"a": {"dtype":"F32","shape":[%s],"data_offsets":[0,8]}}' % ("9" * 5000),
        8,
    ),
    "a product beyond 64 bits": (json.dumps({"a": _entry("F32", [2**40, 2**40], 0, 8)}), 8),
    "a product beyond 64 bits, then 0": (
        json.dumps({"a": _entry("F32", [2**40, 2**40, 0], 0, 0)}),
        0,
    ),
    "bits beyond 64 bits": (json.dumps({"a": _entry("F64", [2**62], 0, 8)}), 8),
    "seventeen dimensions": (json.dumps({"a": _entry("I8", [1] * 17, 0, 1)}), 1),
    "one offset": (json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8]}}), 8),
    "three offsets": (
        json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}}),
        8,
    ),
    "offsets in reverse": (json.dumps({"a": _entry("F32", [2], 8, 0)}), 8),
    "negative offsets": (json.dumps({"a": _entry("F32", [2], -8, 0)}), 8),
    "offsets beyond 64 bits": (json.dumps({"a": _entry("F32", [2], 2**64, 2**64 + 8)}), 8),
    "a hole at the start": (json.dumps({"a": _entry("F32", [2], 4, 12)}), 12),
    "a hole between": (json.dumps({"a": F32, "b": _entry("F32", [2], 12, 20)}), 20),
    "an overlap": (json.dumps({"a": F32, "b": _entry("F32", [2], 4, 12)}), 12),
    "two tensors in one place": (json.dumps({"a": F32, "b": F32}), 8),
    "a range too short": (json.dumps({"a": _entry("F32", [2], 0, 4)}), 4),
    "a range too long": (json.dumps({"a": _entry("F32", [2], 0, 16)}), 16),
    "half a byte": (json.dumps({"a": _entry("F4", [3], 0, 2)}), 2),
    "three bits too many": (json.dumps({"a": _entry("F6_E3M2", [3], 0, 2)}), 2),
    "data missing at the end": (json.dumps({"a": F32}), 7),
    "data beyond the end": (json.dumps({"a": F32}), 9),
    "metadata that is a list": (json.dumps({"__metadata__": ["pt"], "a": F32}), 8),
    "metadata that is a string": (json.dumps({"__metadata__": "pt", "a": F32}), 8),
    "a number in the metadata": (json.dumps({"__metadata__": {"a": 1}, "b": F32}), 8),
    "null in the metadata": (json.dumps({"__metadata__": {"a": None}, "b": F32}), 8),
    "a list in an unknown field": (json.dumps({"a": _entry("F32", [2], 0, 8, more=[1])}), 8),
    "a hundred thousand brackets": ("{" + '"a":' + "[" * 100_000, 0),
    "brackets in an unknown field": (
        '{"a": {"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":%s}}' % ("[" * 200 + "]" * 200),
        8,
    ),
    "a number too large for a float": (
        '{"a": {"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1e999}}',
        8,
    ),
    "a million objects": ('{"a": [' + "{}," * 1_000_000 + "{}]}", 0),
}

STRICTER = {
    "leading space",
    "leading newline",
    "a duplicate tensor",
    "a duplicate name through an escape",
    "NUL in a name",
    "a name of 1025 bytes",
    "a name of 1026 bytes in 513 characters",
    "an entry that is a list",
    "seventeen dimensions",
    "a list in an unknown field",
}


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_header_gives_what_the_official_reader_gives(case):
    data, size = _file(*SOUND[case])
    header = parse_safetensors_header(data, size)
    assert _as_mapping(header) == _official(data, size)
    assert header.header_bytes + header.data_bytes == size


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused_and_never_only_by_the_official_reader(case):
    data, size = _file(*HOSTILE[case])
    with pytest.raises(HeaderInvalid):
        parse_safetensors_header(data, size)
    assert (_official(data, size) is None) == (case not in STRICTER)


def test_the_table_is_long_enough_to_mean_something():
    assert len(HOSTILE) >= 50


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_dtype_has_the_bits_of_the_official_reader(dtype):
    data, size = _file(
        json.dumps({"a": _entry(dtype, [8], 0, DTYPE_BITS[dtype])}), DTYPE_BITS[dtype]
    )
    assert _official(data, size) == {"a": (dtype, (8,))}
    assert tensor_bytes(parse_safetensors_header(data, size).tensors[0]) == DTYPE_BITS[dtype]


def test_there_are_the_22_dtypes_that_the_official_reader_names_when_it_refuses_one(tmp_path):
    data, size = _file(json.dumps({"a": _entry("F31", [2], 0, 8)}), 8)
    path = tmp_path / "a.safetensors"
    path.write_bytes(data.ljust(size, b"\0"))
    with pytest.raises(SafetensorError) as refusal:
        safe_open(path, framework="np").__enter__()
    listed = str(refusal.value).split("expected one of ")[1].split("`")[1::2]
    assert set(listed) == set(DTYPE_BITS)
    assert len(listed) == 22


def test_a_file_that_ends_too_early_is_truncated_and_a_longer_one_is_invalid():
    data, size = _file(json.dumps({"a": F32}), 8)
    for end in (0, 3, 8, size - 9, size - 8, size - 1):
        with pytest.raises(WeightsTruncated):
            parse_safetensors_header(data[:end], end)
    with pytest.raises(HeaderInvalid) as refusal:
        parse_safetensors_header(data, size + 1)
    assert not isinstance(refusal.value, WeightsTruncated)


def test_without_a_file_size_the_end_is_taken_from_the_header():
    data, size = _file(json.dumps({"a": F32}), 8)
    assert parse_safetensors_header(data, None) == parse_safetensors_header(data, size)


def test_an_lfs_pointer_is_named_as_such_by_its_first_eight_bytes_already():
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    with pytest.raises(WeightsLfsPointer):
        header_length(pointer[:8])
    with pytest.raises(WeightsLfsPointer):
        parse_safetensors_header(pointer, len(pointer))


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (b"PK\x03\x04" + bytes(range(1, 9)), "zip"),
        (b"<!DOCTYPE html>", "web page"),
        (b'{"error": 404}', "JSON"),
        (b"GGUF\x03\x00\x00\x00\x01", "GGUF"),
        (b"version 1.0 of a text", "at most"),
    ],
)
def test_another_kind_of_file_is_named(first, name):
    with pytest.raises(HeaderInvalid, match=name):
        parse_safetensors_header(first, len(first))


def test_a_header_beyond_the_cap_is_refused_before_it_is_read():
    with pytest.raises(HeaderInvalid, match="at most"):
        header_length((MAX_HEADER_BYTES + 1).to_bytes(8, "little"))
    assert header_length(MAX_HEADER_BYTES.to_bytes(8, "little")) == MAX_HEADER_BYTES


def test_more_tensors_than_the_cap_are_refused():
    entry = json.dumps(_entry("I8", [0], 0, 0), separators=(",", ":"))
    text = "{" + ",".join(f'"{index}":{entry}' for index in range(200_001)) + "}"
    with pytest.raises(HeaderInvalid):
        parse_safetensors_header(*_file(text))


def test_the_digest_does_not_depend_on_order_and_does_on_every_field():
    one, two = TensorSpec("a", "F32", (2, 3)), TensorSpec("b", "F32", ())
    assert layout_digest((one, two)) == layout_digest((two, one))
    others = [
        (one,),
        (one, TensorSpec("b", "F16", ())),
        (one, TensorSpec("b", "F32", (1,))),
        (one, TensorSpec("c", "F32", ())),
    ]
    assert len({layout_digest(layout) for layout in [(one, two), *others]}) == 5


_bytes_like_headers = st.one_of(
    st.binary(max_size=64),
    st.text(alphabet='{}[]":,01-.eabd_ptyshNaIf\\u ', max_size=120).map(str.encode),
)


@given(st.binary(max_size=200), st.none() | st.integers(-10, 300))
def test_no_bytes_raise_anything_but_our_errors(data, size):
    assert isinstance(_ours(data, size), Header | None)


@given(_bytes_like_headers, st.none() | st.integers(0, 300))
def test_no_header_text_raises_anything_but_our_errors(text, size):
    assert isinstance(_ours(_file(text)[0], size), Header | None)


_sizes = st.integers(0, 5) | st.sampled_from([-1, 2**31, 2**63, 2**64, 1.5, True, None, "2"])
_names = st.text(max_size=5) | st.sampled_from(["__metadata__", "a", "\ud83d"])


@st.composite
def _nearly_sound_files(draw):
    """Files that are right but for one or two faults, so that both readers have work to do."""
    entries: dict[str, object] = {}
    position = 0
    for name in draw(st.lists(_names, max_size=4)):
        dtype = draw(st.sampled_from(sorted(DTYPE_BITS)))
        shape = draw(st.lists(st.integers(0, 5), max_size=3))
        end = position + math.prod(shape) * DTYPE_BITS[dtype] // 8
        entries[name] = _entry(dtype, shape, position, end)
        position = end
    if entries and draw(st.booleans()):
        entry = entries[draw(st.sampled_from(sorted(entries)))]
        assert isinstance(entry, dict)
        field = draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
        entry[field] = draw(st.lists(_sizes, max_size=3) | _sizes | _names)
    if draw(st.booleans()):
        entries["__metadata__"] = draw(
            st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
        )
    text = json.dumps(entries, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return _file(text, position + draw(st.sampled_from([0, 0, 0, 1, -1])))


@settings(max_examples=300)
@given(_nearly_sound_files())
def test_what_we_accept_the_official_reader_accepts_with_equal_shapes(file):
    data, size = file
    header = _ours(data, size)
    if header is not None and size < _SPARSE_LIMIT:
        assert _as_mapping(header) == _official(data, size)


def test_what_is_found_about_a_layout_is_kept_unless_it_is_large():
    asked = []

    @once_per_layout
    def count(layout, more):
        asked.append(more)
        return len(layout) + more

    def layout_of(size):
        return tuple(TensorSpec(str(number), "F32", (1,)) for number in range(size))

    assert [count(layout_of(4), 1), count(layout_of(4), 1), count(layout_of(4), 2)] == [5, 5, 6]
    assert [count(layout_of(5000), 3), count(layout_of(5000), 3)] == [5003, 5003]
    assert asked == [1, 2, 3, 3]
