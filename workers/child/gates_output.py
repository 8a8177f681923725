"""Gates about outputs: forward and effect. A probe goes through the model, adapter on and off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper

from registry.loading.landing import Landing
from workers.child.gates import (
    NOT_APPLICABLE,
    Gate,
    failed,
    not_applicable,
    passed,
    peft_kind,
)
from workers.child.probes import Probe, ProbeSite, expected_shape, make_effect_probe, read_output
from workers.child.towers import is_tower, show_image

# A longer probe reaches the experts that a short one was not routed to.
_LONGER = 96
# Types that multiply the base's weights: with nothing learned they differ by rounding alone.
_MULTIPLIED_NOISE = 64.0
_MULTIPLYING_TYPES = frozenset({"OFT", "BOFT", "HRA", "ROAD", "OSF", "DELORA", "IA3", "PSOFT"})


@dataclass
class Effect:
    """What the effect gate found out beside its verdict."""

    gate: Gate
    repeat_max_diff: float = 0.0
    not_exercised: list[str] = field(default_factory=list)
    zero_updates: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """One pass of a probe: the output, and how often each adapted module was called."""

    probe: Probe
    output: torch.Tensor
    calls: Mapping[str, int]

    @property
    def reached_all(self) -> bool:
        return all(times or is_tower(name) for name, times in self.calls.items())


def look(model: PeftModel, site: ProbeSite, probe: Probe) -> Seen:
    with _watched(model) as calls:
        output = run(model, site, probe)
    return Seen(probe, output, calls)


def check_forward(site: ProbeSite, seen: Seen) -> Gate:
    """The task's own shape, and finite."""
    output = seen.output
    expected = expected_shape(site)
    actual = tuple(output.shape)
    fits = len(actual) == len(expected) and all(
        size is None or size == given for size, given in zip(expected, actual, strict=True)
    )
    if not fits:
        return failed(f"the output has shape {list(actual)}, the task's is {list(expected)}")
    if not bool(torch.isfinite(output).all()):
        return failed("the output is not finite", list(actual))
    return passed(list(actual))


def check_unset(
    model: PeftModel, site: ProbeSite, probe: Probe, unset: Mapping[str, torch.Tensor]
) -> Gate | None:
    """Base parameters that no file holds are random; a failed gate when the output needs them."""
    if not unset:
        return None
    kept = {name: tensor.detach().clone() for name, tensor in unset.items()}
    with torch.no_grad():
        for tensor in unset.values():
            tensor.fill_(torch.nan)
        try:
            output = run(model, site, probe)
        finally:
            for name, tensor in unset.items():
                tensor.copy_(kept[name])
    if bool(torch.isfinite(output).all()):
        return None
    names = ", ".join(sorted(unset)[:5])
    return failed(f"neither the base's files nor the adapter hold {names}, and the output needs it")


def check_effect(model: PeftModel, site: ProbeSite, landing: Landing, forward: Seen) -> Effect:
    """The output differs from the same model without the adapter, and every adapted module ran.

    `forward` is the pass that the forward gate judged; where its ids can be compared with the
    plain base, it is not made again.
    """
    seen = _reach_all_modules(model, site, forward)
    again = run(model, site, seen.probe)
    with model.disable_adapter():
        off = run(model, site, seen.probe)
    difference = _largest(seen.output - again)
    effect = Effect(passed(), difference, zero_updates=find_zero_updates(model))
    idle = sorted(name for name, times in seen.calls.items() if not times)
    in_image = 0.0
    if any(is_tower(name) for name in idle):
        idle, in_image = _look_at_towers(model, site, idle)
    effect.not_exercised = [name for name in idle if is_tower(name)]
    asleep = [name for name in idle if not is_tower(name)]
    refusal = _refuse_values(model, landing, peft_kind(site.peft_config), asleep)
    effect.gate = refusal or _compare(model, site, seen, off, in_image)
    if effect.zero_updates and effect.gate.outcome == "passed":
        reason = f"{len(effect.zero_updates)} modules have a zero update"
        effect.gate = passed(effect.gate.figure, reason)
    return effect


def _reach_all_modules(model: PeftModel, site: ProbeSite, forward: Seen) -> Seen:
    """The shortest probe that every adapted module beside the towers ran for, else the longest."""
    probe = make_effect_probe(site)
    if probe.ids == forward.probe.ids:
        seen = Seen(probe, forward.output, forward.calls)
    else:
        seen = look(model, site, probe)
    if not seen.reached_all:
        seen = look(model, site, make_effect_probe(site, _LONGER))
    return seen


def _look_at_towers(model: PeftModel, site: ProbeSite, idle: list[str]) -> tuple[list[str], float]:
    """What is still idle after a dummy image, and how far the adapter changes its features."""
    with _watched(model) as ran:
        on = show_image(model, site)
    if on is None:
        return idle, 0.0
    with model.disable_adapter():
        off = show_image(model, site)
    difference = _largest(on - off) if off is not None and on.shape == off.shape else 0.0
    return [name for name in idle if not ran[name]], difference


def _refuse_values(model: PeftModel, landing: Landing, kind: str, asleep: list[str]) -> Gate | None:
    """A failed gate for what the values and the calls alone decide."""
    if not any(bool(tensor.any()) for tensor in landing.file.values()):
        return failed("no update: every tensor of the file is zero", 0.0)
    if asleep:
        return failed(f"adapted modules that never ran: {', '.join(asleep[:10])}", len(asleep))
    if not has_update(model, landing, kind):
        return failed("no update: what the file would add to the base is zero everywhere", 0.0)
    return None


def _compare(
    model: PeftModel, site: ProbeSite, seen: Seen, off: torch.Tensor, in_image: float
) -> Gate:
    on, off = _compared(seen.output, off, seen.probe)
    if bool(torch.isnan(off).any()):
        return failed("the output of the base without the adapter is not finite")
    config = site.peft_config
    kind = peft_kind(config)
    difference, floor = _largest(on - off), 0.0
    if kind in _MULTIPLYING_TYPES or getattr(config, "use_dora", False):
        noise = max(_MULTIPLIED_NOISE * torch.finfo(torch.float32).eps, _dtype_noise(model))
        floor = noise * _largest(off)
    if difference > floor:
        return passed(difference)
    if in_image > 0.0:
        return passed(in_image, "seen in the features of a dummy image, not in text")
    if (
        len(seen.probe.ids_above) == len(site.trained_ids) > 0
        and ("effect", kind) in NOT_APPLICABLE
    ):
        return not_applicable("effect", kind)
    return failed("the output is that of the base without the adapter", difference)


def run(model: PeftModel, site: ProbeSite, probe: Probe) -> torch.Tensor:
    with torch.no_grad():
        return read_output(site, model(**probe.inputs))


def has_update(model: PeftModel, landing: Landing, kind: str) -> bool:
    """Whether the file's values change anything, read from the values themselves.

    Only for types whose update is a product that is zero when one factor is. A saved module counts
    when it differs from the base's, a replaced base parameter likewise, a trained token when its
    row is not zero.
    """
    if kind == "LORA" and (len(find_zero_updates(model)) < _count_lora(model)):
        return True
    if kind not in ("LORA", "TRAINABLE_TOKENS"):
        return True
    for module in model.modules():
        deltas = getattr(module, "trainable_tokens_delta", None)
        if deltas is not None and any(bool(delta.any()) for delta in deltas.values()):
            return True
    return kind == "LORA" and (_saved_differs(model) or _biases_changed(landing))


def find_zero_updates(model: PeftModel) -> list[str]:
    """LoRA modules whose two factors cannot add anything."""
    return sorted(name for name, zero in _lora_updates(model).items() if zero)


def _count_lora(model: PeftModel) -> int:
    return len(_lora_updates(model))


def _lora_updates(model: PeftModel) -> dict[str, bool]:
    """LoRA module -> whether its update is zero."""
    found: dict[str, bool] = {}
    for name, module in model.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        for left, right in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
            first, second = getattr(module, left, None), getattr(module, right, None)
            if first is None or second is None or "default" not in first or "default" not in second:
                continue
            factors = [
                getattr(part["default"], "weight", part["default"]) for part in (first, second)
            ]
            bias = getattr(second["default"], "bias", None)
            has_bias = bias is not None and bool(bias.any())
            found[name] = not has_bias and not all(bool(factor.any()) for factor in factors)
    return found


def _saved_differs(model: PeftModel) -> bool:
    """Whether a saved module is another than the base's on the rows that both have."""
    for module in model.modules():
        if not isinstance(module, AuxiliaryTrainingWrapper) or not hasattr(
            module, "modules_to_save"
        ):
            continue
        originals = dict(module.original_module.named_parameters())
        for name, saved in module.modules_to_save["default"].named_parameters():
            original = originals.get(name)
            if original is None or not bool(saved.any()):
                continue
            same = original.isnan() | (original == saved) | saved.isnan()
            if not bool(same.all()):
                return True
    return False


def _biases_changed(landing: Landing) -> bool:
    return any(bool(landing.loaded[name].any()) for name in landing.loaded if name in landing.base)


def _compared(
    on: torch.Tensor, off: torch.Tensor, probe: Probe
) -> tuple[torch.Tensor, torch.Tensor]:
    if probe.columns is not None:
        on, off = on[..., : probe.columns], off[..., : probe.columns]
    # Virtual tokens of prompt learning stand before the text.
    shared = min(on.shape[1], off.shape[1]) if on.dim() > 2 else None
    if shared is not None:
        on, off = on[:, -shared:], off[:, -shared:]
    return on, off


def _largest(tensor: torch.Tensor) -> float:
    return float(tensor.abs().nan_to_num(nan=0.0, posinf=3e38).max()) if tensor.numel() else 0.0


def _dtype_noise(model: PeftModel) -> float:
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return float(torch.finfo(dtype).eps) if dtype != torch.float32 else 0.0


@contextmanager
def _watched(model: PeftModel) -> Iterator[dict[str, int]]:
    """Count the calls of every adapted module."""
    ran: dict[str, int] = {}
    hooks = []
    for name, module in _adapted(model):
        ran[name] = 0

        def count(_module: Any, _inputs: Any, _output: Any, name: str = name) -> None:
            ran[name] += 1

        hooks.append(module.register_forward_hook(count))
    try:
        yield ran
    finally:
        for hook in hooks:
            hook.remove()


def _adapted(model: PeftModel) -> Iterable[tuple[str, torch.nn.Module]]:
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
            yield name, module
