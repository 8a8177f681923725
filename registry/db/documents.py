"""Frozen dataclasses of the domain as JSON documents and back, exactly, by their annotations.

A member that the class no longer has is skipped and a new one takes its default, so that documents
of the release before can be read.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar, cast

T = TypeVar("T")
_ATOMS = (str, bool, int, float, type(None))


def to_document(value: object) -> Any:
    """`value` in JSON's types; sets come out sorted."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, _ATOMS):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: to_document(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_document(member) for key, member in value.items()}
    if isinstance(value, frozenset):
        return sorted(to_document(member) for member in value)
    if isinstance(value, tuple | list):
        return [to_document(member) for member in value]
    raise TypeError(f"{type(value).__name__} has no place in a document.")


def from_document(kind: type[T], document: Any) -> T:
    """The dataclass again. Raises TypeError or ValueError for a document of something else."""
    return cast(T, _read(kind, document))


def _read(kind: Any, document: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _read(_alternative(kind, document), document)
    if isinstance(kind, typing.NewType):
        return _read(kind.__supertype__, document)
    if origin is tuple:
        return _read_tuple(typing.get_args(kind), document)
    if origin is frozenset:
        (member,) = typing.get_args(kind)
        return frozenset(_read(member, entry) for entry in document)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _, member = typing.get_args(kind)
        return {key: _read(member, entry) for key, entry in document.items()}
    if is_dataclass(kind):
        hints = _hints(cast(type, kind))
        members = {name: _read(hints[name], document[name]) for name in hints if name in document}
        return cast(type, kind)(**members)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(document)
    return document


def _read_tuple(members: tuple[Any, ...], document: Any) -> tuple[Any, ...]:
    if len(members) == 2 and members[1] is Ellipsis:
        return tuple(_read(members[0], entry) for entry in document)
    return tuple(_read(kind, entry) for kind, entry in zip(members, document, strict=True))


def _alternative(union: Any, document: Any) -> Any:
    """The member of a union that JSON of this shape was made from."""
    for kind in typing.get_args(union):
        plain: Any = kind.__supertype__ if isinstance(kind, typing.NewType) else kind
        if _may_be(typing.get_origin(plain) or plain, document):
            return kind
    raise ValueError(f"{type(document).__name__} is none of {union}.")


def _may_be(kind: type, document: Any) -> bool:
    if isinstance(document, list):
        return kind in (tuple, frozenset)
    if isinstance(document, dict):
        return is_dataclass(kind) or issubclass(kind, Mapping)
    if isinstance(document, str):
        return issubclass(kind, str)
    if isinstance(document, int | float) and not isinstance(document, bool):
        # Integers pass where floats are declared and stay integers: 16 is printed as 16.
        return kind in (int, float)
    return kind is type(document)


@lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
