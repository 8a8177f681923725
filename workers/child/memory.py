"""What a proof needs and what there is, in bytes, before anything large is read."""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from registry.domain.tensors import (
    LENGTH_BYTES,
    Shape,
    element_count,
    header_length,
    parse_safetensors_header,
)
from registry.loading.base import read_dtype
from registry.loading.steps import Steps

# Activations, logits in float32 and a copy or two of both, for a probe of some hundred tokens.
_PROBE_TOKENS = 128
_LOGIT_COPIES = 6
_SLACK_BYTES = 64 << 20
# PEFT keeps most adapter weights in float32, beside what was read from the file.
_ADAPTER_BYTES_PER_VALUE = 8


@dataclass(frozen=True)
class Need:
    """`base` is spent once for all proofs of the base, `proof` for each and given back."""

    base: int
    proof: int


def estimate_need(steps: Steps, base_folder: Path, adapter_folder: Path) -> Need:
    """From the headers alone: the base in the plan's type, the adapter, the resize, the probe."""
    width = read_dtype(steps.base.kwargs.get("dtype")).itemsize
    values, largest = 0, 0
    for path in weight_files(base_folder):
        for shape in _shapes(path):
            size = element_count(shape)
            values += size
            largest = max(largest, size)
    adapter = sum(
        element_count(shape) for shape in _shapes(adapter_folder / "adapter_model.safetensors")
    )
    config = json.loads((base_folder / "config.json").read_bytes())
    hidden, rows = _sizes(config)
    resize = 0
    if steps.resize is not None:
        rows = max(rows, steps.resize.rows)
        # Both sides, the old table beside the new one while it is copied.
        resize = 4 * steps.resize.rows * hidden * width
    probe = _PROBE_TOKENS * (rows * 4 * _LOGIT_COPIES + hidden * 4 * 64)
    merge = 3 * largest * 4 * 2
    return Need(
        base=values * width,
        proof=adapter * _ADAPTER_BYTES_PER_VALUE + resize + probe + merge + _SLACK_BYTES,
    )


def available_bytes(device: torch.device, *, every_device: bool = False) -> int:
    """Free memory of the device, or of all of its kind; on a CPU what the limits leave too."""
    if device.type == "cuda":
        indices = range(torch.cuda.device_count()) if every_device else [device.index or 0]
        return sum(int(torch.cuda.mem_get_info(index)[0]) for index in indices)
    free = _proc_bytes(Path("/proc/meminfo"), "MemAvailable:")
    limit, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if limit == resource.RLIM_INFINITY:
        return free
    return min(free, max(0, limit - _proc_bytes(Path("/proc/self/status"), "VmData:")))


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers would load: those of the index, else the single one."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return [folder / "model.safetensors"]
    names: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
    # A name of an index is as untrusted as any other; its folder part is not followed.
    return [folder / Path(name).name for name in sorted(set(names.values()))]


def _shapes(path: Path) -> list[Shape]:
    # The official reader maps the whole file, which fails for the very files to be refused here.
    with path.open("rb") as file:
        prefix = file.read(LENGTH_BYTES)
        data = prefix + file.read(header_length(prefix))
    return [spec.shape for spec in parse_safetensors_header(data, None).tensors]


def _sizes(config: dict[str, Any]) -> tuple[int, int]:
    """Hidden size and vocabulary rows as far as the config says."""
    text = next((config[k] for k in ("text_config", "llm_config") if k in config), config)
    hidden = next((text[k] for k in ("hidden_size", "d_model", "n_embd", "dim") if k in text), 0)
    return int(hidden or 0), int(text.get("vocab_size") or config.get("vocab_size") or 0)


def _proc_bytes(path: Path, key: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
