"""Rehearse: the real PEFT on a base without weights, with the file's header for its tensors.

Question: {"config": adapter_config.json, "tensors": [[name, dtype, shape]…], "base": config.json,
"auto_class": …, "dtype": …, "num_labels": …, "plan": plan JSON or null}.
Answer: {"naive": run, "along_plan": run or null, "tree": [[name, dtype, shape]…] or null,
"versions": {…}}; a run is {"outcome", "missing", "unexpected", "overwritten", "error", "warnings",
"resize_left"}.

Of the libraries, the reader of safetensors is replaced, and the functions that draw initial values
leave matrices without data alone. Both are so for the whole process, and so is the default
device: one question at a time, in a process of its own.
"""

from __future__ import annotations

import json
import platform
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import peft
import peft.utils.save_and_load as peft_files
import torch
import transformers
from peft import PeftModel

from registry.collecting import relax_collection
from registry.domain.steps import LoadAdapter, RenameKeys, plan_from_json
from registry.loading.base import fill_rows
from registry.loading.landing import (
    Landing,
    find_missing,
    name_state,
    observe_loading,
    split_state,
    undeclared_overwrites,
    unexpected_names,
)
from registry.loading.repair import repair_names
from registry.loading.steps import Steps, steps_of
from workers.child import protocol
from workers.child.meta_base import (
    DTYPES,
    CannotBuild,
    build_meta_base,
    list_tree,
    read_config,
    resize_meta_base,
)
from workers.child.no_values import without_initial_values

_ERROR_CHARACTERS = 8_000
_WARNING_CHARACTERS = 260
_MOST_WARNINGS = 20
# These look at values while they attach, which tensors without data do not have.
_NOT_REHEARSABLE = frozenset({"BOFT", "SHIRA"})
_META_WORDS = (
    "meta tensor",
    "on meta",
    "device meta",
    "meta device",
    "'Meta' backend",
    "allocate memory",
)
_FOLDER_WORD = "<adapter>"


class LoadNotSeen(Exception):
    """Another release of PEFT loads in a way that we do not watch: the adapter is not to blame."""


@dataclass
class Run:
    """One load. Names as in `registry.loading.landing.Landing`."""

    outcome: str = "unknown"
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    resize_left: str | None = None


@dataclass(frozen=True)
class Question:
    config: Mapping[str, Any]
    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    base: Mapping[str, Any]
    auto_class: str
    dtype: str | None
    num_labels: int | None
    steps: Steps | None


def answer(document: Mapping[str, Any]) -> dict[str, Any]:
    question = _read(document)
    along = None
    with without_initial_values():
        tree, naive = _rehearse(question, None)
        if question.steps is not None:
            plan_tree, along = _rehearse(question, question.steps)
            tree = plan_tree or tree
    return {
        "naive": asdict(naive),
        "along_plan": asdict(along) if along else None,
        "tree": tree,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    return {
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "python": platform.python_version(),
    }


def _read(document: Mapping[str, Any]) -> Question:
    plan = document.get("plan")
    return Question(
        config=document["config"],
        tensors=tuple((name, dtype, tuple(shape)) for name, dtype, shape in document["tensors"]),
        base=document["base"],
        auto_class=document["auto_class"],
        dtype=document.get("dtype"),
        num_labels=document.get("num_labels"),
        steps=steps_of(plan_from_json(plan)) if plan is not None else None,
    )


def _rehearse(question: Question, steps: Steps | None) -> tuple[list[list[Any]] | None, Run]:
    """One load: what anyone would do without `steps`, the plan with them."""
    run, tree = Run(), None
    try:
        # A plain load knows nothing of the labels that the file was trained with.
        config = read_config(question.base, question.num_labels if steps else None)
        base = build_meta_base(config, question.auto_class, question.dtype)
    except CannotBuild as error:
        run.error = _cut(str(error))
        return None, run
    tree = list_tree(base)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if steps is not None and steps.resize is not None:
                run.resize_left = resize_meta_base(base, steps.resize.rows)
                for step in steps.fills:
                    fill_rows(base, step)
            landing = _load(base, question, steps)
        except MemoryError:
            raise
        except Exception as error:
            is_unknown = _is_beyond_meta(error, question.config)
            run.outcome = "unknown" if is_unknown else "raises"
            run.error = _cut(f"{type(error).__name__}: {error}")
        else:
            run.missing, run.unexpected = landing.missing, landing.unexpected
            run.overwritten = landing.overwritten
            run.outcome = (
                "faults"
                if _has_faults(landing, question, plainly=steps is None) or run.resize_left
                else "landed"
            )
    run.warnings = _first_lines(caught)
    return tree, run


def _load(base: Any, question: Question, steps: Steps | None) -> Landing:
    """`PeftModel.from_pretrained` itself; its own answer leaves out what we ask about."""
    tensors = {
        name: torch.empty(shape, dtype=DTYPES[dtype], device="meta")
        for name, dtype, shape in question.tensors
    }
    tensors = repair_names(tensors, steps.rename if steps else None)
    before = name_state(base)
    landings: list[Landing] = []
    with (
        _adapter_folder(question.config) as folder,
        _meta_files(tensors),
        _observed_loads(before, landings),
        torch.device("meta"),
    ):
        PeftModel.from_pretrained(base, folder, torch_device="meta")
    if len(landings) != 1:
        raise LoadNotSeen("PEFT did not load the weights through load_state_dict.")
    return landings[0]


@contextmanager
def _adapter_folder(config: Mapping[str, Any]) -> Iterator[str]:
    """The config as it is, and a file of weights that is there but never read."""
    with tempfile.TemporaryDirectory(prefix="adapter-") as folder:
        Path(folder, "adapter_config.json").write_text(json.dumps(config))
        Path(folder, "adapter_model.safetensors").touch()
        try:
            yield folder
        except Exception as error:
            # The place of the copy is nobody's business, and differs from one load to the next.
            error.args = tuple(
                part.replace(folder, _FOLDER_WORD) if isinstance(part, str) else part
                for part in error.args
            )
            raise


@contextmanager
def _meta_files(tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    original = peft_files.safe_load_file

    def read(_filename: str, device: object = None) -> dict[str, torch.Tensor]:
        return dict(tensors)

    peft_files.safe_load_file = read
    try:
        yield
    finally:
        peft_files.safe_load_file = original


@contextmanager
def _observed_loads(before: Mapping[str, torch.Tensor], landings: list[Landing]) -> Iterator[None]:
    """Take the three sets from the raw result, before PEFT filters it."""
    original = torch.nn.Module.load_state_dict

    def load(model: Any, state: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        owned, found, base_names = split_state(model, before)
        observed = observe_loading(model)
        result = original(model, state, *args, **kwargs)
        landings.append(
            Landing(
                missing=find_missing(owned, observed.missing, observed.loaded),
                unexpected=unexpected_names(observed.unexpected),
                overwritten=tuple(sorted(base_names[n] for n in observed.loaded if n in found)),
            )
        )
        return result

    PeftModel.load_state_dict = load
    try:
        yield
    finally:
        del PeftModel.load_state_dict


def _has_faults(landing: Landing, question: Question, *, plainly: bool) -> bool:
    """Whether more is amiss than what the plan declares.

    A plain load knows no declarations: only the biases that the config trains may replace the
    base's, and of what finds no place only the copies that the plan drops are harmless.
    """
    adapter: LoadAdapter | None = question.steps.adapter if question.steps else None
    rename: RenameKeys | None = question.steps.rename if question.steps else None
    copies = set(rename.dropped) if rename else set()
    undeclared = undeclared_overwrites(
        landing.overwritten, question.config, None if plainly else adapter
    )
    return bool(landing.missing or set(landing.unexpected) - copies or undeclared)


def _is_beyond_meta(error: Exception, config: Mapping[str, Any]) -> bool:
    """Whether the error says something about tensors without data rather than about the adapter."""
    # The first is torch's own word for reading a tensor that has no data.
    if isinstance(error, NotImplementedError | LoadNotSeen):
        return True
    if str(config.get("peft_type")) in _NOT_REHEARSABLE:
        return True
    return any(word in str(error) for word in _META_WORDS)


def _first_lines(caught: Iterable[warnings.WarningMessage]) -> list[str]:
    """What was said about this load; that a library will change one day is no concern of it."""
    lines = dict.fromkeys(
        _scrub(str(item.message).split("\n")[0][:_WARNING_CHARACTERS])
        for item in caught
        if not issubclass(item.category, DeprecationWarning | FutureWarning)
    )
    return list(lines)[:_MOST_WARNINGS]


def _scrub(text: str) -> str:
    start = text.find(tempfile.gettempdir() + "/adapter-")
    if start < 0:
        return text
    end = min((i for i in (text.find(c, start) for c in " '\",") if i > 0), default=len(text))
    return text[:start] + _FOLDER_WORD + text[end:]


def _cut(text: str) -> str:
    return text if len(text) <= _ERROR_CHARACTERS else text[:_ERROR_CHARACTERS] + " …"


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    relax_collection()
    protocol.serve(answer)
