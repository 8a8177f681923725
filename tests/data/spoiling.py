"""How a sound adapter is spoiled: what a mutation gets, gives back, and how that is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.data.kinds import Kind, Made, copy_adapter, weights_path

Tensors = dict[str, torch.Tensor]
Config = dict[str, Any]


@dataclass
class Spoiled:
    """What will be written. `garble` works on the finished file; `base` names another base."""

    tensors: Tensors
    config: Config
    kind: Kind
    base_folder: Path
    base: str | None = None
    garble: Callable[[Path], object] | None = None


Mutation = Callable[[Spoiled], Spoiled | None]


def spoil(made: Made, mutation: Mutation, folder: Path) -> Spoiled | None:
    """Write the spoiled copy to `folder`; None when the mutation does not apply."""
    spoiled = mutation(read_sound(made))
    if spoiled is None:
        return None
    copy_adapter(made.adapter_folder, folder)
    (folder / "adapter_config.json").write_text(json.dumps(spoiled.config))
    contiguous = {name: tensor.contiguous() for name, tensor in spoiled.tensors.items()}
    save_file(contiguous, weights_path(folder), metadata={"format": "pt"})
    if spoiled.garble is not None:
        spoiled.garble(weights_path(folder))
    return spoiled


def read_sound(made: Made) -> Spoiled:
    """The sound adapter, before anything is done to it."""
    config = json.loads((made.adapter_folder / "adapter_config.json").read_text())
    tensors = {name: tensor.clone() for name, tensor in made.tensors.items()}
    return Spoiled(tensors, config, made.kind, made.base_folder)


def names_with(spoiled: Spoiled, *parts: str) -> list[str]:
    return sorted(name for name in spoiled.tensors if any(part in name for part in parts))


def drop(spoiled: Spoiled, names: list[str]) -> Spoiled | None:
    """Without the names; None when there were none or nothing else."""
    for name in names:
        del spoiled.tensors[name]
    return spoiled if names and spoiled.tensors else None


def rename(spoiled: Spoiled, change: Callable[[str], str]) -> Spoiled | None:
    renamed = {change(name): tensor for name, tensor in spoiled.tensors.items()}
    if set(renamed) == set(spoiled.tensors):
        return None
    spoiled.tensors = renamed
    return spoiled


def configure(spoiled: Spoiled, key: str, value: Any) -> Spoiled | None:
    """Another value for a key that is set; None when it is not."""
    if not spoiled.config.get(key) or spoiled.config[key] == value:
        return None
    spoiled.config[key] = value
    return spoiled


def on_base(spoiled: Spoiled, base: str) -> Spoiled | None:
    kind = spoiled.kind
    if kind.family != "llama" or kind.dtype != torch.float32 or kind.labels is not None:
        return None
    spoiled.base = base
    return spoiled


def saved_names(spoiled: Spoiled) -> list[str]:
    """Tensors of modules_to_save, their copies left out."""
    modules = spoiled.config.get("modules_to_save") or []
    return sorted(
        name
        for name in spoiled.tensors
        if any(f".{module}." in name for module in modules)
        and "lora_" not in name
        and not is_copy(name)
    )


def is_copy(name: str) -> bool:
    return ".original_module." in name or ".modules_to_save." in name


def is_lora(spoiled: Spoiled) -> bool:
    return bool(spoiled.config["peft_type"] == "LORA")
