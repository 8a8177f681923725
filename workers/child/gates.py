"""Gates about tensors: landed, nothing_else, finite. Each looks at the loaded model, not at logs.

A gate is {"outcome": "passed" | "failed" | "not-applicable", "figure": …, "reason": …}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from registry.loading.base import SIDES, rewrites_base, rows_of, table_of
from registry.loading.landing import ADAPTER_NAME, Landing
from workers.child.fingerprint import fingerprint

# Recomputed while training and read by nothing that loads: poison would only break the forward.
_UNPOISONED = (".ranknum.", ".delta_embedding.")
_MOST_NAMES = 20
_CONVERSION_TOLERANCE = 1e-5
# PEFT takes these apart or builds them anew, so a file tensor is not one tensor of the model.
_PROMPT_KEY = "prompt_embeddings"
_INDICES = ".shira_indices"
_REBUILT_TYPES = frozenset({"VBLORA"})


# Where a gate may be left out, and why: nothing else ever makes one "not-applicable".
NOT_APPLICABLE: Mapping[tuple[str, str], str] = {
    ("effect", "TRAINABLE_TOKENS"): (
        "every token it trains is new: the base has nothing to compare it with"
    ),
}


@dataclass(frozen=True)
class Gate:
    outcome: str
    figure: Any = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"outcome": self.outcome, "figure": self.figure, "reason": self.reason}


def passed(figure: Any = None, reason: str | None = None) -> Gate:
    return Gate("passed", figure, reason)


def failed(reason: str, figure: Any = None) -> Gate:
    return Gate("failed", figure, reason)


def not_applicable(gate: str, kind: str) -> Gate:
    """Raises KeyError for a gate and a PEFT type that are not in the table."""
    return Gate("not-applicable", None, NOT_APPLICABLE[gate, kind])


class Poison:
    """NaN wherever a sound adapter must put a value; what is left afterwards was never loaded."""

    def __init__(self, base: PreTrainedModel) -> None:
        self._before = {side: rows_of(base, side) for side in SIDES}

    def grown_rows(self, base: PreTrainedModel) -> None:
        """After the resize: the rows that the base did not have."""
        with torch.no_grad():
            for side, old in self._before.items():
                table = table_of(base, side)
                if table is None or old is None or table.weight.shape[0] <= old:
                    continue
                table.weight[old:] = torch.nan
                bias = getattr(table, "bias", None)
                if isinstance(bias, torch.Tensor):
                    bias[old:] = torch.nan

    def adapter_state(self, owned: Mapping[str, torch.Tensor]) -> None:
        """After the injection, before the weights are set: all that the adapter brought along."""
        with torch.no_grad():
            for name, tensor in owned.items():
                if tensor.is_floating_point() and not is_unpoisoned(name):
                    tensor.fill_(torch.nan)


def is_unpoisoned(name: str) -> bool:
    return any(part in f"{name}." for part in _UNPOISONED)


def check_landed(
    model: torch.nn.Module, landing: Landing, config: Any
) -> tuple[Gate, dict[str, Any]]:
    """Every file tensor is in the model, and what narrowing casts lost."""
    state = {**landing.base, **landing.owned}
    differing: list[str] = []
    lossy: dict[str, float] = {}
    for name, tensor, live in _pairs(model, landing, state):
        cast = tensor.to(live.device).to(live.dtype)
        if not _same(live, cast):
            differing.append(name)
        elif live.dtype != tensor.dtype and not _same(
            cast.to(tensor.dtype), tensor.to(live.device)
        ):
            lossy[name] = float((cast.double() - tensor.to(live.device).double()).abs().max())
    lost = _lost_on_the_way(landing, peft_kind(config))
    forgotten = _biases_left_out(landing, config)
    loss = {
        "tensors": len(lossy),
        "max_abs_error": max(lossy.values(), default=0.0),
        "names": sorted(lossy)[:_MOST_NAMES],
    }
    if differing or lost:
        names = sorted([*differing, *lost])
        return failed(f"not in the model as the file has them: {_list(names)}", len(names)), loss
    if forgotten:
        reason = f"the config trains these biases, the file lacks them: {_list(forgotten)}"
        return failed(reason, len(forgotten)), loss
    return passed(len(landing.file)), loss


def check_nothing_else(
    landing: Landing,
    base: PreTrainedModel,
    known: Mapping[str, int],
    config: Any,
    *,
    resized: bool,
) -> Gate:
    """No poison left in a tensor that is in use, and no base parameter changed unannounced."""
    # Of the base only the tables were poisoned; the rest is compared as a whole below.
    poisoned = _table_names(base)
    tables = [name for name in landing.base if landing.base_names[name] in poisoned]
    state = {**{name: landing.base[name] for name in tables}, **landing.owned}
    unloaded = sorted(
        name
        for name, tensor in state.items()
        if tensor.is_floating_point()
        and not is_unpoisoned(name)
        and ".original_module." not in name
        and not _is_from_file(name, landing)
        and bool(torch.isnan(tensor).any())
    )
    if unloaded:
        return failed(f"never loaded, wholly or in part: {_list(unloaded)}", len(unloaded))
    changed = _changed_base(landing, base, known, config, resized=resized)
    if changed:
        return failed(f"changed in the base: {_list(changed)}", len(changed))
    declared = len(landing.overwritten)
    reason = f"{declared} base parameters replaced as declared" if declared else None
    if rewrites_base(config):
        reason = "the config's initialisation rewrites the adapted weights of the base"
    return passed(declared, reason)


def check_finite(model: torch.nn.Module, landing: Landing) -> Gate:
    """Every loaded tensor is finite, in the file and after the cast."""
    state = {**landing.base, **landing.owned}
    bad = sorted(
        name
        for name, tensor, live in _pairs(model, landing, state)
        if not (_is_finite(tensor) and _is_finite(live))
    )
    if bad:
        return failed(f"not finite: {_list(bad)}", len(bad))
    return passed(len(landing.loaded))


def _pairs(
    model: torch.nn.Module, landing: Landing, state: Mapping[str, torch.Tensor]
) -> Iterable[tuple[str, torch.Tensor, torch.Tensor]]:
    """Each tensor that was given to the model, with the model's own."""
    for name, tensor in landing.loaded.items():
        if name in state:
            yield name, tensor, state[name]
    for name, tensor in landing.file.items():
        if name == _PROMPT_KEY:
            yield name, tensor, model.get_parameter("prompt_encoder.default.embedding.weight")
        elif name.endswith(_INDICES):
            module: Any = model.get_submodule(name.removesuffix(_INDICES))
            yield name, tensor, module.shira_indices[ADAPTER_NAME]


def _lost_on_the_way(landing: Landing, peft_type: str) -> list[str]:
    """File tensors that never came to `load_state_dict`, unless the library converted them.

    PEFT hands tensors on as they are, under other names. Converted ones (fused experts) are new
    tensors; stacking and block-diagonals keep the sum of squares, so a lost part shows in it.
    """
    given = {id(tensor) for tensor in landing.loaded.values()}
    others = [
        name
        for name, tensor in landing.file.items()
        if id(tensor) not in given
        and name != _PROMPT_KEY
        and not name.endswith(_INDICES)
        and not _repeats(tensor, landing.loaded.get(name))
    ]
    if not others or peft_type in _REBUILT_TYPES:
        return []
    before = {id(tensor) for tensor in landing.file.values()}
    made = [tensor for tensor in landing.loaded.values() if id(tensor) not in before]
    gone, new = _squares(landing.file[name] for name in others), _squares(made)
    if made and abs(gone - new) <= _CONVERSION_TOLERANCE * max(gone, new):
        return []
    return others


def _repeats(tensor: torch.Tensor, kept: torch.Tensor | None) -> bool:
    """A second tensor for the same place, with the same values: PEFT takes either."""
    return kept is not None and _same(tensor, kept)


def _biases_left_out(landing: Landing, config: Any) -> list[str]:
    """Biases that the config trains and that a file with other biases does not hold.

    A file without any is another matter: the planner warns of it, and the base's are used.
    """
    bias = getattr(config, "bias", "none")
    if bias == "none":
        return []
    trained = {
        plain
        for name, plain in landing.base_names.items()
        if (plain == "bias" or plain.endswith(".bias"))
        and ".original_module." not in name
        and (bias == "all" or ".base_layer." in name)
    }
    held = trained & set(landing.overwritten)
    return sorted(trained - held) if held else []


def peft_kind(config: Any) -> str:
    """`LORA`, however the config spells it."""
    return str(getattr(config.peft_type, "value", config.peft_type))


def _squares(tensors: Iterable[torch.Tensor]) -> float:
    return sum(float(tensor.double().square().sum()) for tensor in tensors)


def _changed_base(
    landing: Landing,
    base: PreTrainedModel,
    known: Mapping[str, int],
    config: Any,
    *,
    resized: bool,
) -> list[str]:
    overwritten = set(landing.overwritten)
    grown = _table_names(base) if resized else frozenset()
    originals = base.state_dict(keep_vars=True)
    rewriting = rewrites_base(config)
    changed: set[str] = set()
    seen: set[str] = set()
    for name, tensor in landing.base.items():
        plain = landing.base_names[name]
        seen.add(plain)
        if plain in overwritten or (rewriting and ".base_layer." in name):
            continue
        if plain in grown:
            rows = min(tensor.shape[0], originals[plain].shape[0])
            if not torch.equal(tensor[:rows], originals[plain][:rows]):
                changed.add(plain)
        elif fingerprint(tensor) != known[plain]:
            changed.add(plain)
    # A base parameter that is no longer part of the model was replaced by something else.
    held = {id(originals[name]) for name in seen}
    gone = {
        n for n, t in originals.items() if n not in seen and id(t) not in held and not rewriting
    }
    return sorted(changed | gone)


def _table_names(base: PreTrainedModel) -> frozenset[str]:
    """The parameters of the embedding and the head, by their names in the plain base."""
    held = {id(p) for table, _ in _tables(base) for p in table.parameters(recurse=False)}
    state = base.state_dict(keep_vars=True)
    return frozenset(name for name, tensor in state.items() if id(tensor) in held)


def _tables(base: PreTrainedModel) -> list[tuple[torch.nn.Module, int]]:
    found = [table_of(base, "input"), table_of(base, "output")]
    return [(table, int(table.weight.shape[0])) for table in found if table is not None]


def _is_from_file(name: str, landing: Landing) -> bool:
    """Whether the file itself holds NaN there: that is the finite gate's finding."""
    tensor = landing.loaded.get(name)
    return tensor is not None and not _is_finite(tensor)


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal, a NaN being equal to itself."""
    if left.shape != right.shape:
        return False
    if not left.is_floating_point():
        return bool(torch.equal(left, right))
    return bool(((left == right) | (left.isnan() & right.isnan())).all())


def _is_finite(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    if tensor.element_size() == 1:
        tensor = tensor.float()
    return bool(torch.isfinite(tensor).all())


def _list(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more
