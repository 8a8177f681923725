"""LoRA's own tensors of one module: complete, of the config's rank, of the base's width.

Shapes (PEFT 0.21): linear A [r, in], B [out, r]; convolutions A [r, in, …], B [out, r, 1, …];
embeddings A [r, rows], B [dim, r]; a DoRA magnitude has one value per output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from registry.domain.expected import Expected
from registry.domain.findings import FaultKind, Findings
from registry.domain.keys import Part
from registry.domain.pair import FileTensor, Pair
from registry.domain.tensors import Shape

# (part, leaf) -> the tensor of one module.
Parts = Mapping[tuple[Part, str], FileTensor]

_LORA_B = Part.LORA_B
_A, _B = (Part.LORA_A, "weight"), (Part.LORA_B, "weight")
_EMBEDDING_A, _EMBEDDING_B = (Part.LORA_EMBEDDING_A, ""), (Part.LORA_EMBEDDING_B, "")
_B_BIAS = (Part.LORA_B, "bias")
_PAIRS = ((_A, _B), (_EMBEDDING_A, _EMBEDDING_B))
_IN_MODEL = {
    Part.LORA_A: "lora_A.default.weight",
    Part.LORA_B: "lora_B.default.weight",
    Part.LORA_EMBEDDING_A: "lora_embedding_A.default",
    Part.LORA_EMBEDDING_B: "lora_embedding_B.default",
    Part.MAGNITUDE: "lora_magnitude_vector.default.weight",
}


@dataclass(frozen=True)
class _Wanted:
    """The shape that the model has for a tensor: along the plan, and in a plain load."""

    tensor: FileTensor
    planned: Shape | None
    naive: Shape | None


def check_lora_module(
    pair: Pair, expected: Expected, module: str, parts: Parts, findings: Findings
) -> None:
    """Judge the LoRA tensors of a module that the base has, or may have, and the config targets."""
    _check_complete(pair, module, parts, findings)
    rank = _check_rank(pair, module, parts, findings)
    weight, naive = expected.planned(module), expected.naive(module)
    if weight is None or naive is None:
        findings.unspoken.update(tensor.spec.name for tensor in parts.values())
        findings.naive_unknown = True
        return
    for wanted in _wanted_shapes(pair, module, parts, rank, weight, naive):
        _compare(wanted, findings)


def make_plain_check(
    pair: Pair, expected: Expected
) -> Callable[[FileTensor, FileTensor], bool] | None:
    """A check of the common case in few steps: A and B of a linear layer that the config targets,
    exactly as PEFT makes them. None where the config asks for more than these two.
    """
    config, weights, conv1d = pair.config, pair.base.names.weights, pair.base.names.conv1d
    if config.peft_type != "LORA" or config.use_dora or config.lora_bias or pair.wraps_parameters:
        return None
    if pair.base.renamed_again is not None:
        return None
    changing, rank_of, matches, nested = (
        expected.changing,
        pair.rank,
        pair.targets.matches,
        pair.nested,
    )

    def is_plain(first: FileTensor, second: FileTensor) -> bool:
        (spec_a, key_a), (spec_b, key_b) = first, second
        module = key_a.module
        if key_b.module != module or key_b.part is not _LORA_B or key_b.leaf != "weight":
            return False
        weight = weights.get(module)
        if weight is None or len(weight) != 2 or module in changing or module in nested:
            return False
        rank = rank_of(module)
        fan_out, fan_in = weight[::-1] if module in conv1d else weight
        fits = spec_a.shape == (rank, fan_in) and spec_b.shape == (fan_out, rank)
        return fits and matches(module) is True

    return is_plain


def _check_complete(pair: Pair, module: str, parts: Parts, findings: Findings) -> None:
    """Half an adapter is none: PEFT starts the other half afresh and at most warns."""
    missing: list[tuple[Part, str]] = []
    for first, second in _PAIRS:
        if (first in parts) != (second in parts):
            missing.append(second if first in parts else first)
    has_magnitude = any(part is Part.MAGNITUDE for part, _ in parts)
    paired = _A in parts or _EMBEDDING_A in parts
    if pair.config.use_dora and paired and not has_magnitude:
        missing.append((Part.MAGNITUDE, ""))
    if pair.config.lora_bias and _B in parts and _B_BIAS not in parts:
        missing.append(_B_BIAS)
    for part, leaf in missing:
        name = f"{module}.{part}{'.' + leaf if leaf else ''}"
        findings.add("tensors-missing", name, "is not in the file, but the config asks for it.")
        findings.silent(name)
    if has_magnitude and not pair.config.use_dora:
        tensor = next(item for (part, _), item in parts.items() if part is Part.MAGNITUDE)
        findings.add(
            "dora-flag-missing",
            tensor.spec.name,
            "is a DoRA magnitude, but the config does not set use_dora.",
            tensor.shape,
        )
        findings.silent(tensor.spec.name)
    if _B_BIAS in parts and not pair.config.lora_bias:
        tensor = parts[_B_BIAS]
        findings.add(
            "tensors-unexpected",
            tensor.spec.name,
            "is a bias of LoRA, but the config does not set lora_bias.",
            tensor.shape,
        )
        findings.silent(tensor.spec.name)


def _check_rank(pair: Pair, module: str, parts: Parts, findings: Findings) -> int:
    """The rank that the model gives the module; both matrices must have it.

    Where the config does not tell (AdaLoRA prunes ranks while it trains, patterns may be regular
    expressions) the file's own rank stands.
    """
    firsts = (Part.LORA_A, Part.LORA_EMBEDDING_A)
    own = next((t.shape[0] for (part, _), t in parts.items() if part in firsts and t.shape), 0)
    if pair.config.peft_type != "LORA":
        return own
    rank = pair.rank(module)
    if rank is None:
        findings.unspoken.update(tensor.spec.name for tensor in parts.values())
        findings.naive_unknown = True
        return own
    for first, second in _PAIRS:
        for key, axis in ((first, 0), (second, 1)):
            tensor = parts.get(key)
            if tensor is None or len(tensor.shape) <= axis or tensor.shape[axis] == rank:
                continue
            findings.add(
                "rank-mismatch",
                tensor.spec.name,
                f"has rank {tensor.shape[axis]}, the config gives the module rank {rank}.",
                tensor.shape,
            )
            if pair.base.weight(module) is None:
                wanted = (*tensor.shape[:axis], rank, *tensor.shape[axis + 1 :])
                _mismatch(tensor, wanted, findings)
    return rank


def _wanted_shapes(
    pair: Pair, module: str, parts: Parts, rank: int, weight: Shape, naive: Shape
) -> list[_Wanted]:
    wanted: list[_Wanted] = []
    flip = pair.base.is_conv1d(module)
    planned_in, planned_out = _fans(weight, flip)
    naive_in, naive_out = _fans(naive, flip)
    ones = (1,) * (len(weight) - 2)
    for (part, leaf), tensor in parts.items():
        if part is Part.LORA_A:
            shapes = ((rank, *planned_in), (rank, *naive_in))
        elif part is Part.LORA_B and leaf != "bias":
            shapes = ((planned_out, rank, *ones), (naive_out, rank, *ones))
        elif part is Part.LORA_B:
            shapes = ((planned_out,), (naive_out,))
        elif part is Part.LORA_EMBEDDING_A:
            shapes = ((rank, weight[0]), (rank, naive[0]))
        elif part is Part.LORA_EMBEDDING_B:
            shapes = ((weight[-1], rank), (naive[-1], rank))
        elif part is Part.MAGNITUDE and len(weight) == 2 and pair.config.use_dora:
            is_embedding = _EMBEDDING_A in parts
            size = weight[-1] if is_embedding else planned_out
            shapes = ((size,), (naive[-1] if is_embedding else naive_out,))
        else:
            continue
        wanted.append(_Wanted(tensor, *shapes))
    return wanted


def _fans(weight: Shape, flip: bool) -> tuple[Shape, int]:
    """What A's later dimensions and B's first must be; Conv1D stores its weight the other way."""
    if flip:
        return (weight[0],), weight[1]
    return weight[1:], weight[0]


def _compare(wanted: _Wanted, findings: Findings) -> None:
    tensor = wanted.tensor
    axis = 1 if tensor.key.part in (Part.LORA_B, Part.LORA_EMBEDDING_B) else 0
    if wanted.planned is not None and not _agree(tensor.shape, wanted.planned, axis):
        findings.add(
            "shape-mismatch",
            tensor.spec.name,
            f"is {list(tensor.shape)}; this base takes {list(wanted.planned)}.",
            tensor.shape,
            wanted.planned,
        )
    if wanted.naive is not None and tensor.shape != wanted.naive:
        _mismatch(tensor, wanted.naive, findings)


def _agree(shape: Shape, wanted: Shape, axis: int) -> bool:
    """Equal beside the rank, which has a reason of its own; a vector has none."""
    if len(shape) != len(wanted) or len(shape) <= axis or len(shape) == 1:
        return shape == wanted
    return shape[:axis] + shape[axis + 1 :] == wanted[:axis] + wanted[axis + 1 :]


def _mismatch(tensor: FileTensor, model_shape: Shape, findings: Findings) -> None:
    inside = _IN_MODEL.get(tensor.key.part, tensor.key.part.value)
    if tensor.key.part is Part.LORA_B and tensor.key.leaf == "bias":
        inside = "lora_B.default.bias"
    findings.fault(
        FaultKind.MISMATCH,
        f"base_model.model.{tensor.module}.{inside}",
        tensor.module,
        tensor.shape,
        model_shape,
    )
