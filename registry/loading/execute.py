"""The steps of a plan, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from registry.domain.steps import LoadTokenizer, Plan
from registry.errors import PlanMismatch
from registry.loading import files
from registry.loading.base import SIDES, fill_rows, load_base, resize_rows, rows_of
from registry.loading.landing import ADAPTER_NAME, Landing, attach, check_landing
from registry.loading.steps import Steps, steps_of


def execute(
    plan: Plan,
    *,
    device: str = "cpu",
    device_map: str | Mapping[str, int | str] | None = None,
    base_folder: Path | None = None,
    adapter_folder: Path | None = None,
    token: str | None = None,
) -> tuple[PeftModel, PreTrainedTokenizerBase | None]:
    """See `registry.loading.load_adapter`."""
    steps = steps_of(plan)
    access = files.Access(token)
    base_files = base_folder or files.base_folder(steps.base, access)
    adapter_files = adapter_folder or files.adapter_folder(steps.adapter, access)
    tokenizer = None
    if steps.tokenizer is not None:
        local = adapter_folder if steps.tokenizer.of == "adapter" else base_folder
        folder = local or files.tokenizer_folder(steps.tokenizer, access)
        tokenizer = load_tokenizer(steps.tokenizer, folder)
    base, _ = load_base(steps.base, base_files, device=device, device_map=device_map)
    model, _ = carry_out(base, steps, adapter_files)
    return model, tokenizer


def load_tokenizer(step: LoadTokenizer, folder: Path) -> PreTrainedTokenizerBase:
    """Raises PlanMismatch when it has another length than the plan says."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    if len(tokenizer) != step.length:
        raise PlanMismatch(
            f"The tokenizer has {len(tokenizer)} tokens where the plan says {step.length}."
        )
    return tokenizer


def carry_out(
    base: PreTrainedModel,
    steps: Steps,
    adapter_folder: Path,
    *,
    after_resize: Callable[[PreTrainedModel], None] | None = None,
    before_loading: Callable[[Mapping[str, torch.Tensor]], None] | None = None,
) -> tuple[PeftModel, Landing]:
    """Everything after the base is loaded: resize, fill, rename, attach, check.

    The two callbacks are where the proof puts its poison; a plain load has none. Raises
    PlanMismatch, and whatever PEFT raises.
    """
    if steps.resize is not None:
        resize_rows(base, steps.resize.rows)
        check_rows(base, steps.resize.rows)
    if after_resize is not None:
        after_resize(base)
    for step in steps.fills:
        fill_rows(base, step)
    model, landing = attach(
        base,
        adapter_folder,
        steps.rename,
        device=base.device,
        kwargs=steps.adapter.kwargs,
        before_loading=before_loading,
    )
    check_landing(landing, model.peft_config[ADAPTER_NAME], steps.adapter)
    return model, landing


def check_rows(base: PreTrainedModel, rows: int) -> None:
    """Both sides have exactly the rows that were asked for, where the model has a side at all."""
    for side in SIDES:
        found = rows_of(base, side)
        if found is not None and found != rows:
            raise PlanMismatch(f"After the resize the {side} side has {found} rows, not {rows}.")
