"""Rename and drop the file's tensors where the plan says so, before PEFT sees them."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from registry.domain.keys import Part, canonical_candidates, parse_key
from registry.domain.steps import RenameKeys
from registry.errors import PlanMismatch

# Duplicates are copies of saved modules, whose names are the same for every PEFT type.
_ANY_TYPE = "LORA"


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
        _check_duplicate(name, tensors[name], kept)
    return kept


def _check_duplicate(name: str, tensor: torch.Tensor, kept: Mapping[str, torch.Tensor]) -> None:
    key = parse_key(name, _ANY_TYPE)
    if key.part is Part.ORIGINAL:
        # The module as it was before training: another tensor by nature, and beside the saved
        # module nothing reads it.
        if any(parse_key(other, _ANY_TYPE).module == key.module for other in kept):
            return
    else:
        twins = (name, *canonical_candidates(name, _ANY_TYPE))
        if any(twin in kept and _is_equal(tensor, kept[twin]) for twin in twins):
            return
    raise PlanMismatch(
        f"The plan drops {name}, but keeps no tensor that it repeats.", unexpected=[name]
    )


def _is_equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Without data (a rehearsal) the shapes are all there is to compare."""
    if left.shape != right.shape:
        return False
    return bool(left.is_meta or right.is_meta or torch.equal(left, right.to(left.dtype)))
