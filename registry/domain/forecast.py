"""What `PeftModel.from_pretrained` alone would do, in PEFT 0.21's own words where it raises."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from registry.domain.classes import PEFT_CLASSES
from registry.domain.findings import Fault, FaultKind, Findings
from registry.domain.naive_load import NaiveLoad
from registry.domain.tensors import Shape

# torch prints every mismatch; a message needs no more than these.
_MAX_LINES = 20
_NUMBER = re.compile(r"\d+")
# The order in which transformers' models register the projections of a layer.
_REGISTERED = {
    name: place
    for place, name in enumerate(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    )
}


@dataclass(frozen=True)
class ModelNames:
    """What the text of an error needs: the task, and which modules come first and last."""

    task_type: str | None
    input_embedding: str | None
    output_head: str | None


def forecast_load(
    findings: Findings, names: ModelNames, *, index: tuple[int, int] | None, wrong: bool
) -> NaiveLoad:
    """The first thing that stops PEFT, else whether it goes wrong in silence.

    `index` is (largest trained token id, rows) when that id has no row. `wrong` says that the load
    would be wrong for a reason that is no tensor's.
    """
    by_kind = {kind: [f for f in findings.faults if f.kind is kind] for kind in FaultKind}
    if by_kind[FaultKind.NO_TARGET]:
        return NaiveLoad("raises", _no_target(by_kind[FaultKind.NO_TARGET][0]))
    if index is not None:
        return NaiveLoad("raises", _index_error(*index))
    if by_kind[FaultKind.KEY_ERROR]:
        first = min(by_kind[FaultKind.KEY_ERROR], key=lambda fault: _place(fault, names))
        return NaiveLoad("raises", f"KeyError: {first.key!r}")
    if by_kind[FaultKind.MISMATCH]:
        return NaiveLoad("raises", _mismatches(by_kind[FaultKind.MISMATCH], names))
    if by_kind[FaultKind.SILENT] or wrong:
        return NaiveLoad("unknown" if findings.naive_may_raise else "loads-wrong")
    if findings.naive_unknown or findings.unspoken:
        return NaiveLoad("unknown")
    return NaiveLoad("loads")


def _no_target(fault: Fault) -> str:
    return (
        f"NoMatchingPeftModuleError: Target modules {fault.key} not found in the base model. "
        "Please check the target modules and try again."
    )


def _index_error(index: int, rows: int) -> str:
    return f"IndexError: index {index} is out of bounds for dimension 0 with size {rows}"


def _mismatches(faults: Iterable[Fault], names: ModelNames) -> str:
    ordered = sorted(faults, key=lambda fault: _place(fault, names))
    peft_class = PEFT_CLASSES.get(names.task_type or "", "PeftModel")
    lines = [f"RuntimeError: Error(s) in loading state_dict for {peft_class}:"]
    for fault in ordered[:_MAX_LINES]:
        lines.append(
            f"\tsize mismatch for {fault.key}: copying a param with shape "
            f"{_size(fault.file_shape)} from checkpoint, the shape in current model is "
            f"{_size(fault.model_shape)}."
        )
    if len(ordered) > _MAX_LINES:
        lines.append(f"\t… and {len(ordered) - _MAX_LINES} more")
    return "\n".join(lines)


def _size(shape: Shape | None) -> str:
    return f"torch.Size({list(shape or ())})"


def _place(fault: Fault, names: ModelNames) -> tuple[object, ...]:
    """Where the parameter stands in the model: embedding, layers by number, head."""
    if fault.module == names.input_embedding:
        side = 0
    else:
        side = 2 if fault.module == names.output_head else 1
    numbers = tuple(int(number[:9]) for number in _NUMBER.findall(fault.module))
    last = fault.module.rpartition(".")[2]
    attention = 0 if "attn" in fault.module or "attention" in fault.module else 1
    place = _REGISTERED.get(last, len(_REGISTERED))
    return (side, numbers, attention, place, fault.key)
