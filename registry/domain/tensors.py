"""Tensors as names, dtypes and shapes; the strict parser of safetensors headers.

Dtypes keep the spelling of safetensors (`BF16`, `F32`, `I64`, …). A shape is a tuple of sizes,
`()` for a scalar.
"""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, order=True)
class TensorSpec:
    """One tensor of a file, without its data."""

    name: str
    dtype: str
    shape: Shape


# A layout is the tensors of a checkpoint sorted by name. Equal layouts are stored once.
Layout = tuple[TensorSpec, ...]
