"""Where each tensor of the file lands: in the adapter, on a base parameter, or nowhere.

Rule 2: "no exception" proves nothing. Three sets decide: tensors that nothing takes, parameters
of the adapter that nothing fills, base parameters that the file replaces.
"""

from __future__ import annotations

import re

from registry.domain.expected import Expected
from registry.domain.findings import FaultKind, Findings
from registry.domain.issues import Severity
from registry.domain.keys import Part
from registry.domain.lora import check_lora_module, make_plain_check
from registry.domain.pair import LORA_PARTS, FileTensor, Pair
from registry.domain.saved import check_own_name, check_saved_complete, check_token_deltas

_OWN_NAME = frozenset({Part.SAVED, Part.BIAS, Part.BASE_LAYER, Part.ORIGINAL})
_LORA_A = Part.LORA_A
_LAYER_NUMBER = re.compile(r"(.*?)\.(\d+)\.")
# In the files, and left out by classes for other tasks: the pooler of most encoders, the decoder of
# a funnel.
_MAYBE_UNBUILT = ("pooler", "funnel.decoder.")
_HALVES = frozenset({"encoder", "decoder"})
_MAX_LAYER_DIGITS = 9


def land_tensors(pair: Pair, expected: Expected, findings: Findings) -> None:
    """Judge every tensor of the file, then what the file ought to hold and does not."""
    modules = _land_one_by_one(pair, expected, findings)
    if pair.config.peft_type != "LORA":
        findings.naive_unknown = True
    for module, parts in modules.items():
        _check_module(pair, expected, module, parts, findings)
    check_token_deltas(pair, findings)
    check_saved_complete(pair, expected, findings)
    _check_targets(pair, findings)
    _check_bias(pair, findings)


def _land_one_by_one(
    pair: Pair, expected: Expected, findings: Findings
) -> dict[str, dict[tuple[Part, str], FileTensor]]:
    """Judge what can be judged tensor by tensor; give back the LoRA parts of the other modules.

    Tensors are sorted by name, so the two matrices of a layer stand side by side; where they are
    what PEFT makes there is no more to say of them.
    """
    modules: dict[str, dict[tuple[Part, str], FileTensor]] = {}
    is_lora, is_plain, last = pair.is_lora, make_plain_check(pair, expected), len(pair.tensors) - 1
    decided = False
    for place, tensor in enumerate(pair.tensors):
        spec, key = tensor
        if decided:
            decided = False
        elif (
            key.part is _LORA_A
            and is_plain is not None
            and place < last
            and is_plain(tensor, pair.tensors[place + 1])
        ):
            decided = True
        elif 0 in spec.shape:
            findings.add("empty-tensors", spec.name, "has no values.", spec.shape)
            findings.fault(FaultKind.MISMATCH, key.file_key, key.module, spec.shape, None)
        elif is_lora and key.part in LORA_PARTS:
            modules.setdefault(key.module, {})[key.part, key.leaf] = tensor
        elif key.part in _OWN_NAME:
            check_own_name(pair, expected, tensor, findings)
        elif key.part not in (Part.PROMPT, Part.TOKEN_DELTA):
            _check_other(pair, tensor, findings)
    return modules


def _check_module(
    pair: Pair,
    expected: Expected,
    module: str,
    parts: dict[tuple[Part, str], FileTensor],
    findings: Findings,
) -> None:
    if pair.wraps_parameters or module in pair.nested:
        # Adapters of parameters nest, replicated layers are made while PEFT loads: only a run of
        # PEFT shows what they wrap.
        findings.unspoken.update(tensor.spec.name for tensor in parts.values())
        findings.naive_unknown = True
        return
    renamed = pair.base.renamed_again if pair.config.peft_type == "LORA" else None
    if renamed is not None and renamed.search(module):
        for tensor in parts.values():
            findings.add(
                "tensors-unexpected",
                tensor.spec.name,
                "is renamed by the library while PEFT loads it, though its name is the module's "
                "own, and then finds no place.",
                tensor.shape,
            )
            findings.silent(tensor.spec.name)
        return
    has = pair.base.has(module)
    if has is False:
        for tensor in parts.values():
            _absent_module(pair, tensor, findings)
        return
    targeted = pair.targets.matches(module)
    if targeted is False:
        for tensor in parts.values():
            findings.add(
                "tensors-unexpected",
                tensor.spec.name,
                "belongs to a module that target_modules leaves out.",
                tensor.shape,
            )
            if pair.base.converted:
                # PEFT translates the targets too, and may refuse to.
                findings.naive_unknown = True
            else:
                findings.silent(tensor.spec.name)
        return
    if has is None or targeted is None:
        findings.naive_unknown = True
    check_lora_module(pair, expected, module, parts, findings)


def _check_other(pair: Pair, tensor: FileTensor, findings: Findings) -> None:
    """Parts of other PEFT types: only whether the module is there can be said."""
    if tensor.module and pair.base.has(tensor.module) is False and pair.base.tree.exact:
        _absent_module(pair, tensor, findings)
        return
    findings.unspoken.add(tensor.spec.name)
    findings.naive_unknown = True


def _absent_module(pair: Pair, tensor: FileTensor, findings: Findings) -> None:
    match = _LAYER_NUMBER.match(tensor.module)
    layers = pair.base.config.num_hidden_layers
    if match is not None and len(match[2]) <= _MAX_LAYER_DIGITS:
        number = int(match[2])
        beyond = pair.base.has(f"{match[1]}.{number}") is False and pair.base.has(match[1])
        if beyond or (layers is not None and number >= layers):
            known = f"{layers} layers" if layers is not None else "fewer layers"
            findings.add(
                "layers-outside-base",
                tensor.spec.name,
                f"is for layer {number}; this base has {known}.",
                tensor.shape,
            )
            findings.silent(tensor.spec.name)
            return
    findings.add(
        "tensors-unexpected",
        tensor.spec.name,
        "is for a module that this base does not have.",
        tensor.shape,
    )
    findings.silent(tensor.spec.name)


# --- what the config asks for ------------------------------------------------------------------


def _check_targets(pair: Pair, findings: Findings) -> None:
    """Targets that the base lacks, and targeted modules that the file lacks."""
    if not (pair.is_lora and pair.targets.known and pair.base.speaks):
        if pair.is_lora:
            findings.naive_unknown = True
        return
    if not _names_agree(pair):
        return
    adapted, names = pair.adapted, pair.base.names
    others = [
        module
        for module in (*names.matrices, *_unlisted_sides(pair))
        if module not in adapted and pair.targets.matches(module) and pair.base.has(module)
    ]
    found = bool(others) or any(
        pair.targets.matches(module) and pair.base.has(module) for module in adapted
    )
    absent = _absent_names(pair)
    if not found and (absent or not pair.targets.names):
        listed = ", ".join(repr(name) for name in sorted(pair.targets.names))
        findings.add(
            "targets-not-found", "", f"This base has none of the target modules ({listed})."
        )
        findings.fault(FaultKind.NO_TARGET, "{" + listed + "}")
        return
    for name in absent:
        findings.add(
            "targets-not-found",
            name,
            "is among target_modules, but this base has no such module.",
            severity=Severity.INFO,
        )
    roots = {module.partition(".")[0] for module in pair.adapted}
    if pair.base.has_head and pair.base.config.is_encoder_decoder:
        # A class that writes text builds both halves.
        roots |= _HALVES
    for module in others:
        if pair.saved_root(module) is not None:
            continue
        if not pair.base.tree.exact and (
            module.partition(".")[0] not in roots or any(m in module for m in _MAYBE_UNBUILT)
        ):
            continue
        findings.add("tensors-missing", module, "is targeted, but the file has nothing for it.")
        findings.silent(module)


def _names_agree(pair: Pair) -> bool:
    """True when the names at hand tell something of the modules that the file adapts."""
    if pair.base.tree.exact:
        return True
    if pair.adapted and pair.adapted <= pair.base.names.weights.keys():
        return True
    known = [pair.base.has(module) for module in pair.adapted]
    return bool(known) and None not in known


def _unlisted_sides(pair: Pair) -> tuple[str, ...]:
    """A tied head has no tensor of its own in the file, and is a module all the same."""
    sides = (pair.base.input_embedding, pair.base.output_head)
    return tuple(side for side in sides if side and side not in pair.base.names.matrices)


def _absent_names(pair: Pair) -> list[str]:
    paths = (*pair.base.names.below, *_unlisted_sides(pair))
    found: list[str] = []
    for name in pair.targets.names:
        ending = f".{name}"
        if not any(path == name or path.endswith(ending) for path in paths):
            found.append(name)
    return found


def _check_bias(pair: Pair, findings: Findings) -> None:
    """`bias` says that biases were trained: then some must be in the file (PEFT does not check)."""
    if not pair.is_lora or pair.config.bias in ("none", ""):
        return
    if any(tensor.key.leaf == "bias" for tensor in pair.tensors):
        return
    parameters = pair.base.tree.parameters
    if pair.config.bias == "lora_only":
        trained = any(f"{module}.bias" in parameters for module in pair.adapted)
    else:
        trained = any(name.endswith(".bias") for name in parameters)
    if trained or not parameters:
        findings.add(
            "bias-not-saved",
            "",
            f"The config says bias={pair.config.bias!r:.20}, but the file holds no bias.",
        )
