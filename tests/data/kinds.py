"""Sound adapters of many kinds: trained (that is, perturbed) with PEFT itself on a tiny base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file, save_file

from registry.domain.refs import Digest
from registry.domain.steps import (
    FillRows,
    LoadAdapter,
    LoadBase,
    Plan,
    RenameKeys,
    ResizeEmbeddings,
    Step,
)
from tests.data.families import FAMILIES, VOCABULARY, Family, build_base, save_base

GROWN, SHRUNK, PADDED = VOCABULARY + 5, VOCABULARY - 16, VOCABULARY + 32
LABELS = 3


@dataclass(frozen=True)
class Kind:
    """One sound kind: on which base, trained how, and what its plan has beside the two loads.

    `rows`: the vocabulary was resized to this before training. `fill` names the side whose new
    rows the plan fills. `overwrites`: base parameters that the file replaces. `edit` changes the
    saved tensors, as other tools or older versions save them. `labels`: a classifier.
    """

    name: str
    family: str
    config: Callable[[Family], Any]
    task: str = "CAUSAL_LM"
    auto_class: str | None = None
    dtype: torch.dtype = torch.float32
    file_dtype: torch.dtype | None = None
    rows: int | None = None
    fill: str | None = None
    overwrites: tuple[str, ...] = ()
    edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None
    labels: int | None = None
    untouched: tuple[str, ...] = ()
    rehearsable: bool = True

    @property
    def load_class(self) -> str:
        return self.auto_class or FAMILIES[self.family].auto_class


@dataclass(frozen=True)
class Made:
    """A kind on disk with its plan."""

    kind: Kind
    base_folder: Path
    adapter_folder: Path
    plan: Plan
    tensors: Mapping[str, torch.Tensor] = field(repr=False, default_factory=dict)


def make(kind: Kind, root: Path) -> Made:
    """Train and save the kind under `root`, once."""
    family = FAMILIES[kind.family]
    dtype_name = str(kind.dtype).removeprefix("torch.")
    base_folder = save_base(family, root / "bases" / f"{family.name}-{dtype_name}", kind.dtype)
    folder = root / "adapters" / kind.name
    if not (folder / "adapter_config.json").exists():
        _train(kind, family, base_folder, folder)
    tensors = load_file(weights_path(folder))
    return Made(kind, base_folder, folder, plan_of(kind, tensors), tensors)


def weights_path(folder: Path) -> Path:
    return folder / "adapter_model.safetensors"


def plan_of(kind: Kind, names: Iterable[str]) -> Plan:
    """The plan as it must come out; written by hand so that the loader is tested by itself."""
    kwargs: dict[str, str | int] = {"dtype": str(kind.dtype).removeprefix("torch.")}
    if kind.labels is not None:
        kwargs["num_labels"] = kind.labels
    steps: list[Step] = [LoadBase(kind.load_class, f"acme/{kind.family}", "0" * 40, kwargs)]
    if kind.rows is not None:
        steps.append(ResizeEmbeddings(kind.rows))
        if kind.fill in ("input", "output"):
            side = "input" if kind.fill == "input" else "output"
            steps.append(FillRows(side, VOCABULARY, kind.rows))
    dropped = find_duplicates(names)
    if dropped:
        steps.append(RenameKeys({}, dropped))
    steps.append(LoadAdapter(f"acme/{kind.name}", "1" * 40, None, {}, kind.overwrites))
    return Plan(Digest("sha256:" + "0" * 64), tuple(steps))


def find_duplicates(names: Iterable[str]) -> tuple[str, ...]:
    """What PEFT saves beside a saved module of a resized model: its own copy, and the original."""
    known = set(names)
    return tuple(
        sorted(
            name
            for name in known
            for infix in (".modules_to_save.default.", ".modules_to_save.", ".original_module.")
            if infix in name and name.replace(infix, ".") in known
        )
    )


def _train(kind: Kind, family: Family, base_folder: Path, folder: Path) -> None:
    more = {} if kind.labels is None else {"num_labels": kind.labels}
    base = build_base(base_folder, kind.load_class, kind.dtype, **more)
    if kind.rows is not None:
        base.resize_token_embeddings(kind.rows, mean_resizing=False)
    config = kind.config(family)
    config.task_type = kind.task
    model = peft.get_peft_model(base, config)
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not any(part in name for part in kind.untouched):
                parameter.add_(torch.randn_like(parameter) * 0.05)
    # The config names the base's folder here, where PEFT finds whether the vocabulary was resized.
    model.save_pretrained(folder)
    _name_base(folder, f"acme/{kind.family}")
    tensors = load_file(weights_path(folder))
    if kind.file_dtype is not None:
        tensors = {
            name: tensor.to(kind.file_dtype) if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()
        }
    if kind.edit is not None:
        tensors = kind.edit(tensors)
    save_file(tensors, weights_path(folder), metadata={"format": "pt"})


def _name_base(folder: Path, repo_id: str) -> None:
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"base_model_name_or_path": repo_id}, indent=2))


def copy_adapter(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target
