"""Names that PEFT would not match: which rename is certain, which copies the plan drops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from registry.domain.adapter_config import AdapterConfig
from registry.domain.base_view import BaseView
from registry.domain.findings import FaultKind, Findings
from registry.domain.issues import Severity
from registry.domain.keys import AdapterKey, Part, canonical_candidates, parse_key
from registry.domain.pair import LORA_PARTS, FileTensor
from registry.domain.refs import shown
from registry.domain.tensors import Layout, TensorSpec

# Parts that are parameters under their own name, so a wrapped module moves them to `base_layer`.
_OWN_NAME = frozenset({Part.SAVED, Part.BIAS})
_ORIGINAL = ".original_module."
_LORA_A, _LORA_B = Part.LORA_A, Part.LORA_B


@dataclass(frozen=True)
class Naming:
    """`tensors` are what the plan keeps, `renames` and `dropped` what its step says. `originals`
    are those of the dropped that a plain load would put into the base."""

    tensors: tuple[FileTensor, ...]
    renames: dict[str, str]
    dropped: tuple[str, ...]
    originals: tuple[FileTensor, ...] = ()


def name_tensors(
    tensors: Sequence[FileTensor],
    config: AdapterConfig,
    base: BaseView,
    saved_root: Callable[[str], str | None],
    findings: Findings,
) -> Naming:
    """Give every tensor the name under which PEFT takes it.

    A rename is certain when the name's form alone settles it, or when the base has exactly one
    module that the name can mean; otherwise `key-names-nonstandard` is an error. Two tensors for
    one name are copies only if shape and dtype agree; the one with the standard name is kept.
    The untrained original beside a saved module is dropped too: nothing reads it.
    """
    peft_type = config.peft_type
    weights = base.names.weights
    doubtful = [
        key
        for spec, key in tensors
        # The common case is decided without another call.
        if not (
            (key.part is _LORA_A or key.part is _LORA_B)
            and key.canonical == spec.name
            and key.module in weights
        )
        and not _is_certain(key, base)
    ]
    if not doubtful:
        return Naming(tuple(tensors), {}, ())
    adapted = {key.module for _, key in tensors if key.part in LORA_PARTS}
    found = {
        key.file_key: _target_name(key, peft_type, base, adapted, saved_root) for key in doubtful
    }
    originals = [
        key
        for key in doubtful
        if key.part is Part.ORIGINAL and not (config.bias == "all" and key.leaf == "bias")
    ]
    if not originals and all(name == target for name, target in found.items()):
        return Naming(tuple(tensors), {}, ())
    keys = {tensor.spec.name: tensor.key for tensor in tensors}
    targets: dict[str, str | None] = {name: name for name in keys}
    targets.update(found)
    for name in [name for name, target in found.items() if target is None]:
        # A name with two readings is a copy when the file holds the one it would be.
        twins = [twin for twin in canonical_candidates(name, peft_type) if twin in keys]
        if len(twins) == 1 and keys[twins[0]].is_standard:
            targets[name] = twins[0]
    twins_of: dict[str, str] = {}
    for key in originals:
        # Beside a saved module that is renamed, the original stands under the same wrong prefix.
        beside = key.file_key.replace(_ORIGINAL, ".")
        twins_of[key.file_key] = targets.get(beside) or beside
    layout = tuple(spec for spec, _ in tensors)
    return _settle(layout, peft_type, targets, twins_of, saved_root, findings)


def _is_certain(key: AdapterKey, base: BaseView) -> bool:
    """A tensor that only an adapter has, named as PEFT names it."""
    return (
        key.part in LORA_PARTS
        and key.canonical == key.file_key
        and base.has(key.module) is not False
    )


def _target_name(
    key: AdapterKey,
    peft_type: str,
    base: BaseView,
    adapted: set[str],
    saved_root: Callable[[str], str | None],
) -> str | None:
    """The name PEFT expects; the key's own when it is right already, None when not certain."""
    name = key.file_key
    if key.part in (Part.PROMPT, Part.UNKNOWN, Part.ORIGINAL):
        # An original copy is a parameter of the base below the wrapper; its name is PEFT's own.
        return name
    if key.canonical == name:
        if key.part in _OWN_NAME and key.module in adapted and saved_root(key.module) is None:
            # Before 0.7 PEFT wrote `X.bias`; in an adapted module it now is `X.base_layer.bias`.
            return f"{name[: -len(key.leaf)]}base_layer.{key.leaf}"
        if base.has(key.module) is not False:
            return name
        return _only_candidate(name, peft_type, base) or name
    if key.canonical is not None and base.has(key.module) is not False:
        return key.canonical
    return _only_candidate(name, peft_type, base) or key.canonical


def _only_candidate(name: str, peft_type: str, base: BaseView) -> str | None:
    """The one name whose module the base certainly has; None for none or several."""
    found = [
        candidate
        for candidate in canonical_candidates(name, peft_type)
        if base.has(parse_key(candidate, peft_type).module)
    ]
    return found[0] if len(found) == 1 else None


def _settle(
    layout: Layout,
    peft_type: str,
    targets: dict[str, str | None],
    originals: dict[str, str],
    saved_root: Callable[[str], str | None],
    findings: Findings,
) -> Naming:
    by_target: dict[str, TensorSpec] = {}
    renames: dict[str, str] = {}
    dropped: list[str] = []
    contradicting: set[str] = set()
    # Tensors that already have the right name come first, so a copy never displaces them.
    for spec in sorted(layout, key=lambda spec: (targets[spec.name] != spec.name, spec.name)):
        target = targets[spec.name]
        if target is None:
            findings.add(
                "key-names-nonstandard",
                spec.name,
                "has a name that PEFT does not take, and what it stands for is not certain.",
                severity=Severity.ERROR,
            )
            findings.silent(spec.name)
            target = spec.name
        kept = by_target.get(target)
        if kept is None:
            by_target[target] = spec
            if target != spec.name:
                renames[spec.name] = target
        elif (kept.shape, kept.dtype) == (spec.shape, spec.dtype):
            dropped.append(spec.name)
        else:
            # Which of the two is meant nobody can say; the standard name alone is judged further.
            contradicting.add(spec.name)
            findings.add(
                "key-names-nonstandard",
                spec.name,
                f"stands for the same parameter as {shown(kept.name)}, with another shape or type.",
                spec.shape,
                kept.shape,
                severity=Severity.ERROR,
            )
    dropped += [name for name, twin in originals.items() if twin in by_target]
    _report(renames, dropped, findings)
    _note_key_errors(
        [parse_key(name, peft_type) for name in renames.values()], saved_root, findings
    )
    gone = contradicting.union(dropped)
    tensors = tuple(
        FileTensor(spec, parse_key(renames.get(spec.name, spec.name), peft_type))
        for spec in layout
        if spec.name not in gone
    )
    unread = tuple(
        FileTensor(spec, parse_key(spec.name, peft_type))
        for spec in layout
        if spec.name in gone and spec.name in originals
    )
    return Naming(tensors, renames, tuple(sorted(dropped)), unread)


def _note_key_errors(
    targets: Iterable[AdapterKey], saved_root: Callable[[str], str | None], findings: Findings
) -> None:
    """PEFT looks a saved module up by its plain name, and raises KeyError for any other."""
    for key in targets:
        if key.part in _OWN_NAME and saved_root(key.module) is not None:
            findings.fault(FaultKind.KEY_ERROR, key.file_key, key.module)


def _report(renames: dict[str, str], dropped: list[str], findings: Findings) -> None:
    for name, target in renames.items():
        findings.add("key-names-nonstandard", name, f"is renamed to {shown(target, 200)}.")
        if not _taken_anyway(name, target):
            findings.silent(name)
    for name in dropped:
        findings.add(
            "duplicate-tensors-saved",
            name,
            "repeats a saved module that is kept; the plan drops it.",
        )


def _taken_anyway(name: str, target: str) -> bool:
    """PEFT takes its own in-model name: an adapter saved as `default` loads as `default`."""
    return ".default" in name and name.replace(".default", "", 1) == target
