"""Generated adapters with the verdict that static plan, rehearsal and a real load must share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.data.kinds import Kind, Made, weights_path
from tests.data.weights import Files, write_files

Tensors = dict[str, torch.Tensor]
Edit = Callable[[Tensors], Tensors]
P = "base_model.model."


def unchanged(tensors: Tensors) -> Tensors:
    return tensors


@dataclass(frozen=True)
class Case:
    """What happened to a sound adapter, and what must be said of it.

    `rows` names the measured rows that it stands for and `what` says it in words. `kind` is the
    sound adapter, `edit` changes its tensors, `config` its config (None removes a key), `base`
    takes another family's base, `tokenizer` are files to add.

    `verdict` is the status after the rehearsal: `rehearsed`, `incompatible` or `unsupported`.
    `codes` are exactly the errors and warnings of the static rules, and names to be mended.
    `found` are errors that the rehearsal adds where the rules have no word. `shows` is what a plain
    load shows, in the rehearsal as in reality: parts of the error, or names of the sets that are
    not empty; nothing for a load that goes well.

    `forecast` is False where the static rules leave a plain load to the rehearsal. `only_real` are
    things that only a real load shows: the rehearsal's known gaps.
    """

    rows: str
    what: str
    kind: str | Kind
    verdict: str = "rehearsed"
    codes: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    edit: Edit = unchanged
    config: Mapping[str, Any] = field(default_factory=dict)
    base: str | None = None
    tokenizer: Files = field(default_factory=dict)
    found: tuple[str, ...] = ()
    forecast: bool = True
    only_real: bool = False

    @property
    def name(self) -> str:
        return f"{self.rows} {self.what}"


def write_case(case: Case, made: Made, folder: Path) -> Path:
    """The adapter's folder: its file, its config, its tokenizer."""
    folder.mkdir(parents=True)
    tensors = case.edit({name: tensor.clone() for name, tensor in made.tensors.items()})
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, weights_path(folder), metadata={"format": "pt"})
    config = json.loads((made.adapter_folder / "adapter_config.json").read_text())
    changed = {**config, **case.config}
    kept = {key: value for key, value in changed.items() if value is not None}
    (folder / "adapter_config.json").write_text(json.dumps(kept))
    write_files(case.tokenizer, folder)
    return folder


def renamed(*changes: tuple[str, str]) -> Edit:
    """Text in the names exchanged, in order."""

    def edit(tensors: Tensors) -> Tensors:
        known = dict(tensors)
        for old, new in changes:
            known = {name.replace(old, new): tensor for name, tensor in known.items()}
        return known

    return edit


def prefixed(prefix: str) -> Edit:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def without(*parts: str) -> Edit:
    return lambda tensors: {
        name: tensor for name, tensor in tensors.items() if not any(p in name for p in parts)
    }


def added(tensors: Mapping[str, torch.Tensor]) -> Edit:
    extra = {P + name: tensor for name, tensor in tensors.items()}
    return lambda known: {**known, **extra}


def reshaped(part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Edit:
    return lambda tensors: {
        name: change(tensor) if part in name else tensor for name, tensor in tensors.items()
    }


def cut_rows(part: str, rows: int) -> Edit:
    return reshaped(part, lambda tensor: tensor[:rows])


def both(first: Edit, second: Edit) -> Edit:
    return lambda tensors: second(first(tensors))
