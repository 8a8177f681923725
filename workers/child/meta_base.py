"""Base models without weights: built from config.json on the meta device, resized, measured."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from registry.errors import InvalidRequest
from registry.loading.base import SIDES, auto_class, read_dtype, resize_rows, rows_of, table_of
from registry.loading.configs import make_config

# safetensors' spelling -> torch's type. A file may hold types that this torch does not know.
_DTYPE_NAMES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "I64": "int64",
    "U64": "uint64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
}
DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, torch_name)
    for name, torch_name in _DTYPE_NAMES.items()
    if hasattr(torch, torch_name)
}
SPELLINGS = {dtype: name for name, dtype in DTYPES.items()}


class CannotBuild(Exception):
    """This library cannot build the base from its config without weights."""


def read_config(raw: Mapping[str, Any], num_labels: int | None = None) -> Any:
    """The config object of config.json. Raises CannotBuild; never runs a repository's code."""
    try:
        return make_config(raw, num_labels)
    except MemoryError:
        raise
    except InvalidRequest as error:
        raise CannotBuild(error.message) from error
    except Exception as error:
        raise CannotBuild(f"The config cannot be read: {type(error).__name__}: {error}") from error


def build_meta_base(config: Any, class_name: str, dtype: str | None) -> PreTrainedModel:
    """The model on the meta device. The config is copied: a resize writes into it."""
    try:
        with torch.device("meta"):
            model: PreTrainedModel = auto_class(class_name).from_config(
                copy.deepcopy(config), dtype=read_dtype(dtype), trust_remote_code=False
            )
    except MemoryError:
        raise
    except Exception as error:
        raise CannotBuild(f"{type(error).__name__}: {error}") from error
    return model.eval()


def list_tree(model: torch.nn.Module) -> list[list[Any]]:
    """Every parameter and saved buffer as [name, dtype, shape], sorted by name."""
    return [
        [name, SPELLINGS.get(tensor.dtype, str(tensor.dtype)), list(tensor.shape)]
        for name, tensor in sorted(model.state_dict().items())
    ]


def resize_meta_base(model: PreTrainedModel, rows: int) -> str | None:
    """Resize, and say what still has the old vocabulary: None when the resize is complete."""
    old = {side: rows_of(model, side) for side in SIDES}
    with torch.device("meta"):
        resize_rows(model, rows)
    for side in SIDES:
        found = rows_of(model, side)
        if found is not None and found != rows:
            return f"the {side} side"
    dimensions = {size for size in old.values() if size is not None and size != rows}
    left = _with_dimension(model, dimensions)
    if not left:
        return None
    kept = left - _shapes_without_vocabulary(model, left, dimensions)
    return ", ".join(sorted(kept)[:5]) or None


def _with_dimension(model: PreTrainedModel, dimensions: set[int]) -> set[str]:
    """Parameters and buffers, saved or not, with one of the dimensions."""
    tables = {id(table.weight) for side in SIDES if (table := table_of(model, side)) is not None}
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        name
        for name, tensor in tensors
        if id(tensor) not in tables and dimensions & set(tensor.shape)
    }


def _shapes_without_vocabulary(
    model: PreTrainedModel, names: set[str], dimensions: set[int]
) -> set[str]:
    """Which of the names have the dimension by coincidence (a hidden size of the same number).

    Built anew with another vocabulary, such a tensor keeps its shape.
    """
    config = copy.deepcopy(model.config)
    text = config.get_text_config()
    other = max(dimensions) + 8
    if getattr(text, "vocab_size", None) is None:
        return set()
    text.vocab_size = other
    if hasattr(config, "vocab_size"):
        config.vocab_size = other
    try:
        with torch.device("meta"):
            twin = type(model)(config)
    except Exception:
        return set()
    if rows_of(twin, "input") != other:
        return set()
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in [*twin.named_parameters(), *twin.named_buffers()]
    }
    ours = {
        name: tuple(tensor.shape)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]
    }
    return {name for name in names if shapes.get(name) == ours[name]}
