"""Prove: one base stays loaded, adapters come and go; device and files, no network.

Question: {"base_folder", "adapter_folder", "plan", "device", "device_map"}.
Answer: {"outcome", "checks", "notes", "error", "environment", "device"}; see `proof`.
"""

from __future__ import annotations

import os

# Read once, by the first matrix product on an accelerator.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import gc
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from registry.domain.steps import plan_from_json
from registry.loading.base import load_base
from registry.loading.steps import Steps, steps_of
from workers.child import protocol
from workers.child.measure import environment
from workers.child.memory import Need, available_bytes, estimate_need
from workers.child.proof import ProofBase, error_document, make_proof_base, prove_adapter

DeviceMap = str | Mapping[str, int | str] | None


@dataclass
class Bench:
    """The base that lies ready, and the question it was loaded for."""

    key: tuple[Any, ...] | None = None
    base: ProofBase | None = None

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """One proof. What the libraries print and warn of is no part of it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            device = torch.device(question["device"])
            if device.type == "cuda" and not torch.cuda.is_available():
                document = error_document("proof-error", "This machine has no CUDA device.")
                device_map: DeviceMap = None
            else:
                document, device_map = self._prove(question, device)
        return document | {
            "environment": dict(environment()),
            "device": _device_name(device, device_map),
        }

    def _prove(
        self, question: Mapping[str, Any], device: torch.device
    ) -> tuple[dict[str, Any], DeviceMap]:
        steps = steps_of(plan_from_json(question["plan"]))
        base_folder, adapter_folder = (
            Path(question["base_folder"]),
            Path(question["adapter_folder"]),
        )
        need = estimate_need(steps, base_folder, adapter_folder)
        device_map = question.get("device_map")
        if device_map is None and spreads(need, device):
            device_map = "auto"
        key = (base_folder, steps.base, str(device), str(device_map))
        if key != self.key:
            self._forget()
        document = self._prove_within(
            steps, base_folder, adapter_folder, need, device, device_map, key
        )
        return document, device_map

    def _prove_within(
        self,
        steps: Steps,
        base_folder: Path,
        adapter_folder: Path,
        need: Need,
        device: torch.device,
        device_map: DeviceMap,
        key: tuple[Any, ...],
    ) -> dict[str, Any]:
        """The proof, unless it cannot fit."""
        needed = need.proof if self.base is not None else need.base + need.proof
        available = available_bytes(device, every_device=device_map is not None)
        if needed > available:
            return error_document(
                "proof-out-of-memory",
                f"The proof needs about {needed} bytes, {available} are free.",
                needed_bytes=needed,
                available_bytes=available,
            )
        if self.base is None:
            self.base = _load(steps, base_folder, device, device_map)
            self.key = key
        document = prove_adapter(self.base, steps, adapter_folder)
        if device_map is not None:
            # Hooks that move tensors between devices do not survive a copy of the model.
            self._forget()
        gc.collect()
        return document

    def _forget(self) -> None:
        self.key, self.base = None, None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def spreads(need: Need, device: torch.device) -> bool:
    """A base that one device cannot hold goes over all of them, where there are several."""
    return (
        device.type == "cuda"
        and torch.cuda.device_count() > 1
        and need.base + need.proof > int(torch.cuda.mem_get_info(device)[1])
    )


def _load(steps: Steps, folder: Path, device: torch.device, device_map: DeviceMap) -> ProofBase:
    model, unset = load_base(steps.base, folder, device=str(device), device_map=device_map)
    return make_proof_base(model, steps.base.auto_class, unset)


def _device_name(device: torch.device, device_map: DeviceMap) -> str:
    """`cpu`, `cuda`, and for a spread base over how many."""
    if device.type != "cuda":
        return str(device.type)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda x{count}" if device_map is not None and count > 1 else "cuda"


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    protocol.serve(Bench().answer)
