"""Tensors under a module's own name: saved modules, trained biases, embeddings saved along, and
token deltas. PEFT fills a saved module or raises KeyError; what is no part of one replaces a
parameter of the base, silently."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

from registry.domain.adapter_config import AdapterConfig
from registry.domain.base_view import BaseView
from registry.domain.expected import Expected
from registry.domain.findings import FaultKind, Findings
from registry.domain.keys import Part
from registry.domain.library_tables import OTHER_HEAD_MODEL_TYPES
from registry.domain.pair import FileTensor, Pair
from registry.domain.targets import CLASSIFIER_MODULES, saved_names
from registry.domain.tensors import Shape

PREFIX = "base_model.model."


def make_saved_root(config: AdapterConfig) -> Callable[[str], str | None]:
    """Which saved module holds a path. PEFT compares names by the end of the text, not by dots."""
    names = tuple(name for name in saved_names(config) if name)

    @cache
    def saved_root(module: str) -> str | None:
        if not any(name in module for name in names):
            return None
        path = ""
        for segment in module.split("."):
            path = f"{path}.{segment}" if path else segment
            if path.endswith(names):
                return path
        return None

    return saved_root


def check_own_name(pair: Pair, expected: Expected, tensor: FileTensor, findings: Findings) -> None:
    """Judge one tensor under a module's own name (SAVED, BIAS, BASE_LAYER, ORIGINAL)."""
    root = pair.saved_root(tensor.module)
    if root is not None and tensor.key.part in (Part.SAVED, Part.BIAS):
        key = f"{PREFIX}{root}.modules_to_save.default{tensor.parameter[len(root) :]}"
        _check_saved(pair, expected, tensor, key, findings)
        return
    _check_overwrite(pair, expected, tensor, root, findings)


def _check_saved(
    pair: Pair, expected: Expected, tensor: FileTensor, key: str, findings: Findings
) -> None:
    module, leaf = tensor.module, tensor.key.leaf
    if pair.base.has(module) is False and not _built_for_task(pair, module):
        _unexpected(tensor, "belongs to a saved module that this base does not have.", findings)
        return
    planned, naive = expected.planned(module, leaf), expected.naive(module, leaf)
    if planned is not None and planned != tensor.shape:
        _shape_mismatch(tensor, planned, findings)
    if naive is None:
        # A classifier is built afresh for the task; only a rehearsal sees its other layers.
        if not _built_for_task(pair, module):
            findings.unspoken.add(tensor.spec.name)
            findings.naive_unknown = findings.naive_may_raise = True
    elif naive != tensor.shape:
        findings.fault(FaultKind.MISMATCH, key, module, tensor.shape, naive)


def _built_for_task(pair: Pair, module: str) -> bool:
    """True for the head that the task's class adds to any base."""
    names = CLASSIFIER_MODULES.get(pair.config.task_type or "", ())
    root = pair.saved_root(module)
    return root is not None and bool(names) and root.endswith(names)


def _check_overwrite(
    pair: Pair, expected: Expected, tensor: FileTensor, root: str | None, findings: Findings
) -> None:
    """The tensor lands on a parameter of the base, if on anything."""
    module, leaf, part = tensor.module, tensor.key.leaf, tensor.key.part
    wrapped = module in pair.adapted
    if part is Part.BASE_LAYER and not wrapped and pair.is_lora:
        _unexpected(tensor, "lies below an adapter layer that the config does not make.", findings)
        return
    if part is Part.ORIGINAL and root is None:
        _unexpected(tensor, "is the copy of a module that the config does not save.", findings)
        return
    planned, naive = expected.planned(module, leaf), expected.naive(module, leaf)
    if part is Part.ORIGINAL and _built_for_task(pair, module):
        # The head is built with the file's number of labels, so the original beside it fits too.
        planned, naive = planned or tensor.shape, naive or tensor.shape
    if planned is None or naive is None:
        _judge_unknown(pair, tensor, findings)
        return
    if planned != tensor.shape:
        _shape_mismatch(tensor, planned, findings)
    else:
        findings.overwritten.add(tensor.parameter)
    if naive != tensor.shape:
        key = tensor.key.file_key
        findings.fault(FaultKind.MISMATCH, key, module, tensor.shape, naive)


def note_dropped(
    pair: Pair, expected: Expected, originals: Iterable[FileTensor], findings: Findings
) -> None:
    """Originals that the plan drops: without it PEFT puts them into the base, if they fit."""
    for tensor in originals:
        naive = expected.naive(tensor.module, tensor.key.leaf)
        if naive is None:
            findings.naive_unknown = True
        elif naive == tensor.shape:
            findings.silent(tensor.spec.name)
        else:
            key = tensor.key.file_key
            findings.fault(FaultKind.MISMATCH, key, tensor.module, tensor.shape, naive)


def _judge_unknown(pair: Pair, tensor: FileTensor, findings: Findings) -> None:
    """The base has no such parameter, or we do not know."""
    known = pair.base.has(tensor.module)
    # Where the module's weight is known so are its other parameters: this is none of them.
    if known is False or (pair.base.speaks and pair.base.weight(tensor.module) is not None):
        _unexpected(tensor, "has no counterpart in this base.", findings)
        return
    findings.unspoken.add(tensor.spec.name)
    findings.naive_unknown = True


def check_saved_complete(pair: Pair, expected: Expected, findings: Findings) -> None:
    """Every parameter of every saved module that the base has must be in the file (KeyError)."""
    own = [tensor for tensor in pair.others if tensor.key.part in (Part.SAVED, Part.BIAS)]
    in_file = {tensor.parameter for tensor in own}
    in_file_roots = {pair.saved_root(tensor.module) for tensor in own}
    for name in saved_names(pair.config):
        for root in _roots_in_base(pair.base, name):
            for parameter in pair.base.names.below.get(root, (f"{root}.weight",)):
                if parameter not in in_file:
                    _report_missing(parameter, findings)
    task_heads = CLASSIFIER_MODULES.get(pair.config.task_type or "", ())
    heads = [name for name in task_heads if _has_root(in_file_roots, name)]
    if not task_heads or heads or pair.base.tree.exact:
        return
    if pair.config.task_type == "SEQ_CLS" and (
        pair.base.config.model_type not in OTHER_HEAD_MODEL_TYPES
    ):
        names = " or ".join(task_heads)
        findings.add(
            "modules-to-save-missing",
            task_heads[0],
            f"is not in the file: a classifier needs its head ({names}).",
        )
        findings.naive_unknown = True


def _has_root(roots: Iterable[str | None], name: str) -> bool:
    return any(root is not None and root.endswith(name) for root in roots)


def _roots_in_base(base: BaseView, name: str) -> list[str]:
    """Modules of the base whose path ends with the name; a tied head has no tensor of its own."""
    last = name.rpartition(".")[2]
    ends = (paths for end, paths in base.names.ends.items() if end.endswith(last))
    roots = [path for paths in ends for path in paths if path.endswith(name) and base.has(path)]
    outermost = [path for path in roots if not _within_another(path, roots)]
    head = base.output_head
    if head is not None and head.endswith(name) and head not in outermost:
        outermost.append(head)
    return sorted(outermost)


def _within_another(path: str, roots: Iterable[str]) -> bool:
    return any(path.startswith(f"{root}.") for root in roots)


def _report_missing(parameter: str, findings: Findings) -> None:
    findings.add(
        "modules-to-save-missing",
        parameter,
        "is not in the file, but modules_to_save asks for it.",
    )
    findings.fault(FaultKind.KEY_ERROR, f"{PREFIX}{parameter}", parameter.rpartition(".")[0])


def check_token_deltas(pair: Pair, findings: Findings) -> None:
    """`trainable_token_indices` and the file's deltas: both or neither, one row per index."""
    deltas = {
        tensor.module: tensor for tensor in pair.others if tensor.key.part is Part.TOKEN_DELTA
    }
    wanted = _indices_by_module(pair, deltas)
    for module, count in wanted.items():
        tensor = deltas.pop(module, None)
        key = f"{module}.token_adapter.trainable_tokens_delta"
        if tensor is None:
            findings.add("tensors-missing", key, "is not in the file, but the config asks for it.")
            findings.fault(FaultKind.KEY_ERROR, f"{PREFIX}{key}", module)
            continue
        width = pair.base.weight(module)
        size = width[-1] if width is not None else max(tensor.shape[-1:], default=0)
        if tensor.shape != (count, size):
            _shape_mismatch(tensor, (count, size), findings)
            findings.fault(
                FaultKind.MISMATCH, f"{PREFIX}{key}.default", module, tensor.shape, (count, size)
            )
    if pair.config.peft_type == "TRAINABLE_TOKENS":
        return
    for tensor in deltas.values():
        _unexpected(tensor, "holds trained tokens that the config does not name.", findings)


def _indices_by_module(pair: Pair, deltas: dict[str, FileTensor]) -> dict[str, int]:
    indices = pair.config.trainable_token_indices
    if not indices or pair.config.peft_type == "TRAINABLE_TOKENS":
        return {}
    if isinstance(indices, tuple):
        module = pair.base.input_embedding
        return {} if module is None else {module: len(indices)}
    wanted: dict[str, int] = {}
    for name, ids in indices.items():
        modules = [path for path in deltas if path == name or path.endswith(f".{name}")]
        for side in (pair.base.input_embedding, pair.base.output_head):
            if side is not None and (side == name or side.endswith(f".{name}")):
                modules.append(side)
        wanted.update(dict.fromkeys(modules, len(ids)))
    if pair.base.tied and pair.base.output_head in wanted and pair.base.output_head not in deltas:
        # On a tied base the head shares the input's delta, and the file holds it once.
        del wanted[pair.base.output_head]
    return wanted


def _unexpected(tensor: FileTensor, text: str, findings: Findings) -> None:
    findings.add("tensors-unexpected", tensor.spec.name, text, tensor.shape)
    findings.silent(tensor.spec.name)


def _shape_mismatch(tensor: FileTensor, planned: Shape, findings: Findings) -> None:
    findings.add(
        "shape-mismatch",
        tensor.spec.name,
        f"is {list(tensor.shape)}; this base takes {list(planned)}.",
        tensor.shape,
        planned,
    )
