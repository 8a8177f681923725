"""Measured beside the gates, never a gate: round trip, merge, memory, a reference output."""

from __future__ import annotations

import copy
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer

from registry.loading.landing import ADAPTER_NAME, Landing
from workers.child.probes import Probe, ProbeSite

# Above this share of the update lost in the cast, a merged model is not the adapted one.
_MERGE_THRESHOLD = 0.1
_MERGE_SECONDS = 120.0
_TOP = 20
_MOST_NAMES = 20


def measure_round_trip(model: PeftModel, landing: Landing) -> dict[str, Any]:
    """Whether saving gives back the file: keys, and values after the cast to the file's type."""
    try:
        saved = get_peft_model_state_dict(
            model, adapter_name=ADAPTER_NAME, save_embedding_layers=False
        )
    except Exception as error:
        return {"outcome": "n/a", "reason": f"{type(error).__name__}: {error}"[:300]}
    given = {id(tensor) for tensor in landing.loaded.values()}
    if any(id(tensor) not in given for name, tensor in landing.file.items() if ".lora_" in name):
        return {"outcome": "n/a", "reason": "the library converts these tensors while it loads"}
    shared = set(saved) & set(landing.file)
    differing = [
        name
        for name in shared
        if not torch.equal(saved[name].to(landing.file[name].dtype).cpu(), landing.file[name].cpu())
    ]
    only_file = sorted(set(landing.file) - shared)
    only_saved = sorted(set(saved) - shared)
    same = not (differing or only_file or only_saved)
    return {
        "outcome": "same" if same else "differs",
        "differing": len(differing),
        "only_in_file": only_file[:_MOST_NAMES],
        "only_when_saved": only_saved[:_MOST_NAMES],
    }


def measure_merge(model: PeftModel, *, is_tied: bool) -> dict[str, Any]:
    """How much of each update survives when it is added to the base's weights in their type.

    Per module ‖(W_merged − W) − ΔW‖ / ‖ΔW‖ in float32. Each module is merged as a copy, so the
    model stays as it is.
    """
    started = time.monotonic()
    ratios: dict[str, float] = {}
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)]
    if not layers:
        return {"outcome": "n/a", "reason": "nothing of this type can be merged into weights"}
    for name, layer in layers:
        if time.monotonic() - started > _MERGE_SECONDS:
            break
        try:
            ratio = _merge_ratio(layer)
        except Exception as error:
            return {"outcome": "n/a", "reason": f"{type(error).__name__}: {error}"[:300]}
        if ratio is not None:
            ratios[name] = ratio
    tied = sorted(name for name, _ in layers if is_tied and _is_table(model, name))
    if not ratios:
        return {"outcome": "n/a", "reason": "nothing of this type can be merged into weights"}
    worst = max(ratios, key=lambda name: ratios[name])
    unsafe = ratios[worst] > _MERGE_THRESHOLD
    reason = None
    if tied:
        reason = f"the tables are tied: untie the head before merging {', '.join(tied)}"
    elif unsafe:
        reason = "the base's type is too coarse for the update: merge in float32"
    return {
        "outcome": "unsafe" if unsafe or tied else "safe",
        "worst": ratios[worst],
        "worst_module": worst,
        "median": sorted(ratios.values())[len(ratios) // 2],
        "modules": len(ratios),
        "of": len(layers),
        "reason": reason,
    }


def _merge_ratio(layer: torch.nn.Module) -> float | None:
    """None for a layer without a weight of its own, or without an update."""
    weight = _weight_of(layer)
    if weight is None:
        return None
    if _adds_only(layer):
        return _added_ratio(layer, weight.detach())
    # What the base's own type loses shows against the next wider one.
    wide_type = torch.float64 if weight.dtype == torch.float32 else torch.float32
    plain = weight.detach().to(wide_type)
    coarse = _merged_weight(copy.deepcopy(layer)).to(wide_type)
    update = _merged_weight(copy.deepcopy(layer).to(wide_type)) - plain
    size = float(update.norm())
    if size == 0.0:
        return None
    return float(((coarse - plain) - update).norm()) / size


def _adds_only(layer: Any) -> bool:
    """Whether merging is adding one matrix: plain LoRA, without any of its variants."""
    return (
        isinstance(layer, LoraLinear)
        and ADAPTER_NAME not in layer.lora_variant
        and not layer.lora_bias.get(ADAPTER_NAME, False)
    )


def _added_ratio(layer: Any, weight: torch.Tensor) -> float | None:
    """As PEFT merges such a layer: the update, in float32, is added in place."""
    update = layer.get_delta_weight(ADAPTER_NAME).float()
    size = float(update.norm())
    if size == 0.0:
        return None
    wide_type = torch.float64 if weight.dtype == torch.float32 else torch.float32
    gained = weight.clone().add_(update).to(wide_type).sub_(weight)
    return float(gained.sub_(update).norm()) / size


def _merged_weight(layer: Any) -> torch.Tensor:
    layer.merge(safe_merge=False, adapter_names=[ADAPTER_NAME])
    weight = _weight_of(layer)
    if weight is None:
        raise TypeError("the layer has no weight once merged")
    return weight.detach()


def _weight_of(layer: Any) -> torch.Tensor | None:
    weight = getattr(layer.get_base_layer(), "weight", None)
    return weight if isinstance(weight, torch.Tensor) else None


def _is_table(model: PeftModel, name: str) -> bool:
    base = model.get_base_model()
    tables = {id(base.get_input_embeddings()), id(base.get_output_embeddings())}
    return id(model.get_submodule(name)) in tables


def measure_reference(site: ProbeSite, probe: Probe, output: torch.Tensor) -> dict[str, Any]:
    """For comparing a served model later: fixed ids, and the likeliest tokens after them."""
    values = output[0].float()
    if values.dim() == 1:
        return {"ids": list(probe.ids), "values": _rounded(values.log_softmax(-1)[:_TOP])}
    text = values.shape[0]
    positions = sorted({text // 2, text - 1})
    if not site.has_vocabulary_head:
        shown = {str(at): _rounded(values[at].flatten()[:_TOP]) for at in positions}
        return {"ids": list(probe.ids), "positions": positions, "values": shown}
    tops: dict[str, Any] = {}
    for at in positions:
        likelihoods, tokens = values[at].log_softmax(-1).topk(min(_TOP, values.shape[-1]))
        tops[str(at)] = [
            [int(token), round(float(value), 6)]
            for token, value in zip(tokens, likelihoods, strict=True)
        ]
    return {"ids": list(probe.ids), "positions": positions, "top": tops}


def peak_memory(device: torch.device) -> int:
    """Bytes: the accelerator's high-water mark, on a CPU the process's."""
    if device.type == "cuda":
        return sum(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count()))
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(float(value), 6) for value in values]


def environment() -> Mapping[str, str | None]:
    """What a proof was made with. The driver is the device's, None on a CPU."""
    driver = None
    if torch.cuda.is_available():
        version = Path("/proc/driver/nvidia/version")
        driver = version.read_text().split("\n")[0][:200] if version.exists() else None
    return {
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "cuda": torch.version.cuda,
        "driver": driver,
        "python": platform.python_version(),
    }
