"""The base model: load it, resize it, fill its new rows, share it between adapters."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from transformers import PreTrainedModel

from registry.domain.refs import shown
from registry.domain.steps import FillRows, LoadBase
from registry.errors import InvalidRequest, PlanMismatch
from registry.loading.configs import read_config_file

# Configs of these inits rewrite the weights of the base while the adapter is attached.
_REWRITING_INITS = ("pissa", "olora", "corda", "lora_ga", "loftq", "eva", "orthogonal")
_REWRITING_TYPES = frozenset({"OSF"})

Side = Literal["input", "output"]
SIDES: tuple[Side, ...] = ("input", "output")


def load_base(
    step: LoadBase,
    folder: Path,
    *,
    device: str = "cpu",
    device_map: str | Mapping[str, int | str] | None = None,
) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The base from local files, and the names of parameters that its files do not hold.

    Those parameters (a new classifier head) are random until an adapter brings them.
    """
    kwargs: dict[str, Any] = dict(step.kwargs)
    dtype, labels = kwargs.pop("dtype", None), kwargs.pop("num_labels", None)
    if device_map is not None:
        kwargs["device_map"] = device_map
    model, loading = auto_class(step.auto_class).from_pretrained(
        folder,
        config=read_config_file(folder, labels),
        dtype=read_dtype(dtype),
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        **kwargs,
    )
    if device_map is None:
        model = model.to(device)
    elif {"cpu", "disk"} & {str(place) for place in model.hf_device_map.values()}:
        raise InvalidRequest(
            "The device map puts a part of the base on the processor or on disk; an adapter can "
            "only be loaded when all of it is on accelerators."
        )
    return model.eval(), tuple(sorted(loading["missing_keys"]))


def auto_class(name: str) -> Any:
    """transformers' class of this name. Raises InvalidRequest for any other attribute."""
    if name.startswith("AutoModel") and name.isidentifier():
        found = getattr(transformers, name, None)
        if found is not None:
            return found
    raise InvalidRequest(f"{shown(name)} is not an auto class of transformers.")


def read_dtype(name: object) -> torch.dtype:
    """`bfloat16` as torch's type. Raises InvalidRequest."""
    dtype = getattr(torch, str(name), None) if name is not None else torch.float32
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InvalidRequest(f"{shown(str(name))} is not a floating-point type of torch.")
    return dtype


def table_of(model: PreTrainedModel, side: Side) -> torch.nn.Module | None:
    """The input embedding or the output head, None when the model has none."""
    try:
        table = model.get_input_embeddings() if side == "input" else model.get_output_embeddings()
    except (AttributeError, NotImplementedError):
        # How transformers' classes without this side answer: by default the first, some the second.
        return None
    return table if isinstance(getattr(table, "weight", None), torch.Tensor) else None


def rows_of(model: PreTrainedModel, side: Side) -> int | None:
    table = table_of(model, side)
    return None if table is None else int(table.weight.shape[0])


def resize_rows(model: PreTrainedModel, rows: int) -> None:
    """Exactly `rows` on both sides: no padding, and new rows without statistics of the old ones.

    The mean of `mean_resizing` is itself drawn at random; what must be filled has its own step.
    """
    model.resize_token_embeddings(rows, mean_resizing=False)


def fill_rows(model: PreTrainedModel, step: FillRows) -> None:
    """Give rows that no tensor of the file fills the mean of the rows before them.

    The mean is computed in float32 over the base's own rows, so every load gives the same.
    Raises PlanMismatch when the side has no such rows.
    """
    table = table_of(model, step.side)
    if table is None or not 0 < step.first < step.end <= table.weight.shape[0]:
        raise PlanMismatch(
            f"The model has no {step.side} rows {step.first} to {step.end} that could be filled."
        )
    with torch.no_grad():
        for part in (table.weight, getattr(table, "bias", None)):
            if part is not None and not part.is_meta:
                mean = part[: step.first].to(torch.float32).mean(dim=0)
                part[step.first : step.end] = mean.to(part.dtype)


def rewrites_base(config: Any) -> bool:
    """Whether attaching this PEFT config changes the base's weights by design (PiSSA and kin)."""
    kind = getattr(config.peft_type, "value", config.peft_type)
    init = getattr(config, "init_lora_weights", None)
    return kind in _REWRITING_TYPES or (
        isinstance(init, str) and init.lower().startswith(_REWRITING_INITS)
    )


def clone_shared(
    base: PreTrainedModel, own: Collection[str] | Literal["all"] = ()
) -> PreTrainedModel:
    """A model of its own whose parameters share the base's storage.

    `own` names the parameters that get a copy instead: those that the adapter's file overwrites,
    or "all" for types that rewrite the base. Modules, buffers, config and ties are the clone's
    own, so neither a resize nor a failed load reaches the base.
    """
    memo: dict[int, Any] = {}
    for name, parameter in base.named_parameters():
        is_own = own == "all" or name in own
        data = parameter.data.clone() if is_own else parameter.data
        memo[id(parameter)] = torch.nn.Parameter(data, requires_grad=parameter.requires_grad)
    clone: PreTrainedModel = copy.deepcopy(base, memo)
    return clone
