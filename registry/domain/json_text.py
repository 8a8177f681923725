"""JSON files that strangers wrote, read into values that can be stored and digested.

Python's reader accepts more than JSON and builds whatever it is told to. Here the result is plain:
bounded in size and depth, text that any database takes, numbers that RFC 8785 can write.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from registry.domain.refs import shown
from registry.errors import ConfigInvalid

_LFS_POINTER = b"version https://git-lfs"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LARGEST_INTEGER = 2**53 - 1
_MAX_DEPTH = 40
_MAX_VALUES = 200_000


def parse_json_object(data: bytes, name: str, *, max_bytes: int) -> dict[str, object]:
    """The object in a JSON file. `name` is the file's name, for messages.

    Two keys of one name: the last wins, as in Python and so in PEFT and transformers.
    NaN and the infinities, which Python writes and JSON lacks, become `{"__float__": "NaN"}`, as
    transformers 5 writes them. Integers beyond 2**53 - 1 become floats.
    Raises ConfigInvalid.
    """
    if data.startswith(_LFS_POINTER):
        raise ConfigInvalid(f"{name} is a Git LFS pointer, not the file itself.")
    if len(data) > max_bytes:
        raise ConfigInvalid(f"{name} has {len(data)} bytes; at most {max_bytes} are read.")
    if data.startswith(_BYTE_ORDER_MARK):
        raise ConfigInvalid(f"{name} begins with a byte order mark, which Python's reader refuses.")
    try:
        document = json.loads(
            data.decode("utf-8"),
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        raise ConfigInvalid(f"{name} is not UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(f"{name} is not JSON{_place(error)}.") from error
    if not isinstance(document, dict):
        raise ConfigInvalid(f"{name} does not hold a JSON object.")
    _check(document, name)
    return document


def object_member(document: Mapping[str, object], key: str) -> dict[str, object] | None:
    """The member when it is an object, else None."""
    value = document.get(key)
    return value if isinstance(value, dict) else None


def integer_member(document: Mapping[str, object], key: str) -> int | None:
    """The member when it is an integer (no boolean), else None."""
    value = document.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text_member(document: Mapping[str, object], key: str) -> str | None:
    """The member when it is a string that holds more than spaces, else None."""
    value = document.get(key)
    return value if isinstance(value, str) and value.strip() else None


def _integer(text: str) -> int | float | dict[str, str]:
    # 2**53 has 16 digits: longer texts are not worth an exact integer, and may be hostile.
    if len(text) <= 17 and abs(value := int(text)) <= _LARGEST_INTEGER:
        return value
    return _float(text)


def _float(text: str) -> float | dict[str, str]:
    value = float(text)
    return value if math.isfinite(value) else _constant("-Infinity" if value < 0 else "Infinity")


def _constant(text: str) -> dict[str, str]:
    return {"__float__": text}


def _place(error: Exception) -> str:
    return f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""


def _check(document: dict[str, object], name: str) -> None:
    """Depth, number of values, and text that PostgreSQL takes: Unicode without NUL."""
    level: list[object] = [document]
    seen = 0
    for _ in range(_MAX_DEPTH):
        inner: list[object] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value, name)
            elif isinstance(value, dict):
                for key in value:
                    _check_text(key, name)
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        seen += len(level)
        if seen > _MAX_VALUES:
            raise ConfigInvalid(f"{name} holds more than {_MAX_VALUES} values.")
        if not inner:
            return
        level = inner
    raise ConfigInvalid(f"{name} is nested more than {_MAX_DEPTH} levels deep.")


def _check_text(text: str, name: str) -> None:
    if text.isascii():
        if "\0" in text:
            raise ConfigInvalid(f"{name} holds a NUL character in {shown(text)}.")
        return
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigInvalid(f"{name} holds text that is not Unicode: {shown(text)}.")
