"""Attach an adapter through PEFT and see where every tensor of its file went.

PEFT drops unexpected tensors without a word, warns at most about missing ones and lets the file
overwrite the base. So three sets are taken from the raw result of `load_state_dict`; together they
say whether the file and nothing but the file was loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from peft import (
    MODEL_TYPE_TO_PEFT_MODEL_MAPPING,
    PeftConfig,
    PeftModel,
    load_peft_weights,
    set_peft_model_state_dict,
)
from transformers import PreTrainedModel

from registry.domain.steps import LoadAdapter, RenameKeys
from registry.errors import FileInvalid, InvalidRequest, PlanMismatch
from registry.loading.repair import repair_names

ADAPTER_NAME = "default"
# What a plan may ask of PEFT beside the adapter itself.
_LOAD_KEYWORDS = frozenset({"autocast_adapter_dtype"})
# PEFT loads these itself, after `load_state_dict` has called them unexpected.
_LOADED_APART = frozenset({"prompt_embeddings", "prefix_task_cols", "prefix_task_rows"})
# Recomputed on loading, shared with a tensor of another name, or unused outside training.
_NEVER_SAVED = (
    ".ranknum.",
    ".vera_A.",
    ".vera_B.",
    ".vblora_vector_bank.",
    ".tinylora_v.",
    ".unilora_theta_d.",
    ".delta_embedding.",
)


@dataclass(frozen=True)
class Landing:
    """Where the tensors went. Names are the model's, but `overwritten` has the plain base's.

    `loaded` is what was given to `load_state_dict`, after PEFT's own renaming and transformers'
    conversions; `file` is what the file holds under the plan's names.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    overwritten: tuple[str, ...]
    file: Mapping[str, torch.Tensor] = field(default_factory=dict, repr=False)
    loaded: Mapping[str, torch.Tensor] = field(default_factory=dict, repr=False)
    # State of the model that the adapter brought along, and that it found: name -> tensor.
    owned: Mapping[str, torch.Tensor] = field(default_factory=dict, repr=False)
    base: Mapping[str, torch.Tensor] = field(default_factory=dict, repr=False)
    # Name in the adapted model -> name in the plain base.
    base_names: Mapping[str, str] = field(default_factory=dict, repr=False)


def attach(
    base: PreTrainedModel,
    folder: Path,
    rename: RenameKeys | None = None,
    *,
    device: str | torch.device = "cpu",
    kwargs: Mapping[str, str | int | bool] = MappingProxyType({}),
    before_loading: Callable[[Mapping[str, torch.Tensor]], None] | None = None,
) -> tuple[PeftModel, Landing]:
    """Wrap `base` with the adapter in `folder`, as `PeftModel.from_pretrained` does.

    The class is chosen and the weights are set by the same parts of PEFT; between the two,
    `before_loading` gets the tensors that the adapter brought along (the proof poisons them).
    """
    if not (folder / "adapter_model.safetensors").is_file():
        raise FileInvalid("The adapter has no adapter_model.safetensors; pickles are not opened.")
    config = PeftConfig.from_pretrained(folder)
    config.inference_mode = True
    before = name_state(base)
    model = MODEL_TYPE_TO_PEFT_MODEL_MAPPING.get(config.task_type, PeftModel)(
        base, config, ADAPTER_NAME, **_known(kwargs)
    )
    owned, found, base_names = split_state(model, before)
    if before_loading is not None:
        before_loading(owned)
    mapping = None if config.is_prompt_learning else _name_patterns(base)
    weights = load_peft_weights(str(folder), device=str(device), key_mapping=mapping)
    tensors = repair_names(weights, rename)
    observed = observe_loading(model)
    set_peft_model_state_dict(model, tensors, adapter_name=ADAPTER_NAME)
    model.eval()
    landing = Landing(
        missing=find_missing(owned, observed.missing, observed.loaded),
        unexpected=unexpected_names(observed.unexpected),
        overwritten=tuple(sorted(base_names[name] for name in observed.loaded if name in found)),
        file=tensors,
        loaded=observed.loaded,
        owned=owned,
        base=found,
        base_names=base_names,
    )
    return model, landing


@dataclass
class Observed:
    """The raw result of one `load_state_dict`, filled while it runs."""

    loaded: dict[str, torch.Tensor] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


def observe_loading(model: torch.nn.Module) -> Observed:
    """Note what the model's next `load_state_dict` is given and says."""
    observed = Observed()

    def before(_module: Any, state: Mapping[str, torch.Tensor], *_rest: Any) -> None:
        observed.loaded = dict(state)
        taken.remove()

    def after(_module: Any, result: Any) -> None:
        observed.missing = list(result.missing_keys)
        observed.unexpected = list(result.unexpected_keys)
        said.remove()

    taken = model.register_load_state_dict_pre_hook(before)
    said = model.register_load_state_dict_post_hook(after)
    return observed


def name_state(base: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The base's parameters and saved buffers. Holding them keeps their identity."""
    return dict(base.state_dict(keep_vars=True))


def split_state(
    model: torch.nn.Module, before: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, str]]:
    """The state that the adapter brought, the state that was there, and the latter's old names.

    Told apart by identity: PEFT wraps modules and keeps their parameters.
    """
    names: dict[int, list[str]] = {}
    for name, tensor in before.items():
        names.setdefault(id(tensor), []).append(name)
    owned: dict[str, torch.Tensor] = {}
    found: dict[str, torch.Tensor] = {}
    base_names: dict[str, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        old = names.get(id(tensor))
        if old is None:
            owned[name] = tensor
        else:
            # A tied tensor has two names in the base: the one it is reached by here counts.
            plain = base_name_of(name)
            found[name] = tensor
            base_names[name] = plain if plain in old else old[0]
    return owned, found, base_names


def base_name_of(name: str) -> str:
    """The plain base's name of a tensor that PEFT has wrapped, or of a file's tensor."""
    name = name.removeprefix("base_model.model.")
    for infix in (".base_layer.", ".original_module.", ".token_adapter."):
        name = name.replace(infix, ".")
    return name


def find_missing(
    owned: Mapping[str, torch.Tensor],
    raw_missing: Iterable[str],
    loaded: Collection[str],
) -> tuple[str, ...]:
    """Adapter state that nothing was loaded into, but for what PEFT never saves.

    A tied tensor has several names and is saved under one; loaded there, it is not missing.
    """
    filled = {id(owned[name]) for name in loaded if name in owned}
    return tuple(
        sorted(
            name
            for name in raw_missing
            if name in owned
            and id(owned[name]) not in filled
            and not name.startswith("prompt_encoder.")
            and not any(part in f"{name}." for part in _NEVER_SAVED)
        )
    )


def unexpected_names(raw_unexpected: Iterable[str]) -> tuple[str, ...]:
    """File tensors that found no place, but for those that PEFT loads on its own afterwards."""
    return tuple(sorted(set(raw_unexpected) - _LOADED_APART))


def is_never_saved(name: str) -> bool:
    """Adapter state that a sound file does not hold."""
    return any(part in f"{name}." for part in _NEVER_SAVED)


def check_landing(landing: Landing, config: PeftConfig, step: LoadAdapter) -> None:
    """Raise PlanMismatch with the three sets unless all landed and nothing else was touched."""
    undeclared = undeclared_overwrites(landing.overwritten, config, step)
    if not (landing.missing or landing.unexpected or undeclared):
        return
    counts = (
        f"{len(landing.missing)} missing, {len(landing.unexpected)} unexpected, "
        f"{len(undeclared)} of the base overwritten without the plan saying so"
    )
    raise PlanMismatch(
        f"The adapter did not load as planned: {counts}.",
        missing=list(landing.missing),
        unexpected=list(landing.unexpected),
        overwritten=list(undeclared),
    )


def undeclared_overwrites(
    overwritten: Iterable[str], config: Any, step: LoadAdapter | None
) -> tuple[str, ...]:
    """Overwritten base parameters that neither the plan names nor the config's `bias` trains."""
    declared = frozenset(step.overwrites) if step is not None else frozenset()
    bias = config.get("bias") if isinstance(config, Mapping) else getattr(config, "bias", None)
    trains_biases = bias not in (None, "none")
    return tuple(
        name
        for name in overwritten
        if name not in declared
        and not (trains_biases and (name == "bias" or name.endswith(".bias")))
    )


def _known(kwargs: Mapping[str, str | int | bool]) -> dict[str, Any]:
    unknown = sorted(set(kwargs) - _LOAD_KEYWORDS)
    if unknown:
        raise InvalidRequest(f"The plan's load_adapter step has unknown keywords: {unknown}.")
    return dict(kwargs)


def _name_patterns(base: PreTrainedModel) -> Mapping[str, str] | None:
    """The renames that transformers gives a model whose names changed, as PEFT takes them."""
    patterns: Mapping[str, str] = getattr(base, "_checkpoint_conversion_mapping", None) or {}
    return patterns or None
