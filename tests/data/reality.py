"""What a real load did, told by values alone: nothing here looks at the loader's own account.

Right before PEFT sets the weights, everything that the adapter brought along is filled with NaN
and every base parameter is copied. What is NaN afterwards was never loaded, what differs from its
copy was overwritten, and a tensor of the file whose values are nowhere was dropped.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file

# A rank count that is kept for training and never saved.
_NOT_LOADED = ("ranknum",)
# Taken in another form than the file's: positions of a sparse tensor.
_NOT_KEPT = ("shira_indices",)


@dataclass(frozen=True)
class Reality:
    """`error` is what was raised; the sets are names in the model, the file and the base."""

    error: str | None = None
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()

    def outcome(self, *, trains_biases: bool = False) -> str:
        """`raises`, `faults` or `landed`; a config that trains biases declares them replaced."""
        if self.error is not None:
            return "raises"
        undeclared = [n for n in self.overwritten if not (trains_biases and n.endswith(".bias"))]
        return "faults" if self.missing or self.unexpected or undeclared else "landed"


@dataclass
class _Watched:
    base: dict[int, tuple[str, torch.Tensor]] = field(default_factory=dict)
    before: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    owned: dict[str, torch.Tensor] = field(default_factory=dict)
    model: Any = None


def load_for_real(
    base: Any, weights: Path, load: Callable[[Any], object], *, converted: bool = False
) -> Reality:
    """What `load` does to a copy of the base with the tensors of the file `weights`.

    `converted` files hold their values in another form than the model.
    """
    model = copy.deepcopy(base)
    with warnings.catch_warnings(), _watching(model) as seen:
        warnings.simplefilter("ignore")
        try:
            load(model)
        except Exception as error:
            return Reality(f"{type(error).__name__}: {error}")
    missing = [
        name
        for name, tensor in seen.owned.items()
        if tensor.isnan().any() and not any(part in name for part in _NOT_LOADED)
    ]
    overwritten = [n for n, (now, then) in seen.before.items() if not torch.equal(now, then)]
    dropped = [] if converted else _dropped(seen.model, load_file(weights))
    return Reality(None, tuple(missing), tuple(dropped), tuple(sorted(overwritten)))


@contextmanager
def _watching(base: torch.nn.Module) -> Iterator[_Watched]:
    seen = _Watched({id(tensor): (name, tensor) for name, tensor in base.named_parameters()})
    original = torch.nn.Module.load_state_dict

    def load(model: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        seen.model = model
        # After the adapter was attached: some types rewrite the base while that happens.
        for name, tensor in seen.base.values():
            seen.before[name] = (tensor, tensor.detach().clone())
        with torch.no_grad():
            for name, tensor in model.named_parameters():
                if id(tensor) not in seen.base and tensor.is_floating_point():
                    tensor.fill_(float("nan"))
                    seen.owned[name] = tensor
        return original(model, state, *args, **kwargs)

    PeftModel.load_state_dict = load
    try:
        yield seen
    finally:
        del PeftModel.load_state_dict


def _dropped(model: torch.nn.Module, file: dict[str, torch.Tensor]) -> list[str]:
    """File tensors whose values no tensor of the model has."""
    live: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for _, tensor in [*model.named_parameters(), *model.named_buffers()]:
        live.setdefault(tuple(tensor.shape), []).append(tensor.detach())
    return sorted(
        name
        for name, tensor in file.items()
        if not name.endswith(_NOT_KEPT)
        and not any(
            torch.equal(known, tensor.to(known.dtype))
            for known in live.get(tuple(tensor.shape), ())
        )
    )
