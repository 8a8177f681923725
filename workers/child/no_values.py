"""Spare the drawing of initial values that tensors without data cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import init

# Of torch.nn.init, what does nothing but write values into the tensor that it is given.
_WRITERS = (
    "uniform_",
    "normal_",
    "trunc_normal_",
    "constant_",
    "ones_",
    "zeros_",
    "xavier_uniform_",
    "xavier_normal_",
    "kaiming_uniform_",
    "kaiming_normal_",
)


@contextmanager
def without_initial_values() -> Iterator[None]:
    """For the whole process: give meta tensors back untouched. It is a tenth of a large load.

    Vectors and empty tensors go the usual way: some of these functions refuse them, and that
    belongs to the load.
    """
    originals = {name: getattr(init, name) for name in _WRITERS}
    for name, original in originals.items():
        setattr(init, name, _sparing(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(init, name, original)


def _sparing(original: Callable[..., Any]) -> Callable[..., Any]:
    def write(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if tensor.is_meta and tensor.dim() > 1 and tensor.numel():
            return tensor
        return original(tensor, *args, **kwargs)

    return write
