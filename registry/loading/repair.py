"""Rename and drop the file's tensors where the plan says so, before PEFT sees them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from registry.domain.steps import RenameKeys
from registry.errors import PlanMismatch

# What a duplicate's name has more than the name of the tensor that is kept. The copy of the module
# as it was before training is another tensor by nature; nothing reads it beside a saved module.
_COPY_INFIXES = (".modules_to_save.default.", ".modules_to_save.")
_ORIGINAL_INFIX = ".original_module."


def repair_names(
    tensors: Mapping[str, torch.Tensor], step: RenameKeys | None
) -> dict[str, torch.Tensor]:
    """The tensors under the names that the plan gives them.

    Raises PlanMismatch when the file lacks a name of the step, when two tensors would get one
    name, or when a dropped tensor differs from the one kept.
    """
    if step is None:
        return dict(tensors)
    absent = sorted({*step.renames, *step.dropped} - set(tensors))
    if absent:
        raise PlanMismatch("The file lacks tensors that the plan renames or drops.", missing=absent)
    dropped = set(step.dropped)
    kept: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if name in dropped:
            continue
        new = step.renames.get(name, name)
        if new in kept:
            raise PlanMismatch(f"Two tensors of the file become {new}.", unexpected=[name])
        kept[new] = tensor
    for name in step.dropped:
        _check_duplicate(name, tensors[name], step.renames.get(name, name), kept)
    return kept


def _check_duplicate(
    name: str, tensor: torch.Tensor, renamed: str, kept: Mapping[str, torch.Tensor]
) -> None:
    if _ORIGINAL_INFIX in name:
        if name.replace(_ORIGINAL_INFIX, ".") in kept or renamed in kept:
            return
    else:
        twin = next((kept[other] for other in twin_names(renamed) if other in kept), None)
        if twin is not None and _is_equal(tensor, twin):
            return
    raise PlanMismatch(
        f"The plan drops {name}, but keeps no tensor that it repeats.", unexpected=[name]
    )


def twin_names(name: str) -> tuple[str, ...]:
    """The names under which the tensor that a duplicate repeats may be kept."""
    return (name, *(name.replace(infix, ".") for infix in _COPY_INFIXES if infix in name))


def _is_equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Without data (a rehearsal) the shapes are all there is to compare."""
    if left.shape != right.shape:
        return False
    return bool(left.is_meta or right.is_meta or torch.equal(left, right.to(left.dtype)))
