"""Adapters whose config or file cannot be read: there is nothing to rehearse, and no load works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.data.kinds import weights_path

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def _as_it_is(folder: Path) -> None:
    pass


def _cut(folder: Path) -> None:
    path = weights_path(folder)
    path.write_bytes(path.read_bytes()[:-7])


@dataclass(frozen=True)
class Unread:
    """`code` is the one error of the static rules, `raised` what a real load says. A None in
    `config` removes the key; `change` works on the finished folder."""

    rows: str
    what: str
    code: str
    raised: str
    config: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[Path], object] = _as_it_is
    kind: str = "llama-lora"

    @property
    def name(self) -> str:
        return f"{self.rows}-{self.what}".replace(" ", "-")


def _config(rows: str, what: str, raised: str, **config: Any) -> Unread:
    return Unread(rows, what, "config-invalid", raised, config)


UNREAD = (
    _config("C2", "no type", "KeyError: 'peft_type'", peft_type=None),
    _config("C2", "a type that was removed", "KeyError: 'BONE'", peft_type="BONE"),
    _config("C2", "a type in lower case", "KeyError: 'lora'", peft_type="lora"),
    _config("C3", "a task that does not exist", "ValueError: Invalid task", task_type="CHAT"),
    _config("C8", "saved modules as one text", "KeyError", modules_to_save="lm_head"),
    _config("C9", "rank zero", "ValueError: `r` should be", r=0),
    _config("C10", "settings of Megatron", "ModuleNotFoundError", megatron_config={"a": 1}),
    _config("C11", "a rank in words", "TypeError", r="four"),
    _config("C11", "targets as a number", "TypeError", target_modules=7),
    Unread(
        "BIN4",
        "another name of the file",
        "weights-misnamed",
        "HFValidationError",
        change=lambda folder: weights_path(folder).rename(folder / "model.safetensors"),
    ),
    Unread(
        "BIN",
        "no file",
        "weights-missing",
        "HFValidationError",
        change=lambda folder: weights_path(folder).unlink(),
    ),
    Unread("TRUNC", "file cut off", "weights-truncated", "SafetensorError", change=_cut),
    Unread(
        "LFS",
        "a pointer in its place",
        "weights-lfs-pointer",
        "SafetensorError: Error while deserializing header: header too large",
        change=lambda folder: weights_path(folder).write_bytes(POINTER),
    ),
)
