"""One model type: built without weights, given a LoRA adapter by PEFT, rehearsed, compared."""

from __future__ import annotations

import copy
import json
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import peft
import peft.peft_model as peft_model
import torch
from transformers import CONFIG_MAPPING, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.plan import compute_plan
from registry.domain.record import Record
from registry.domain.steps import (
    LoadAdapter,
    LoadBase,
    Plan,
    ResizeEmbeddings,
    Step,
    compute_plan_digest,
)
from registry.domain.tensors import Layout, TensorSpec
from registry.loading.base import SIDES, resize_rows, rows_of, table_of
from registry.planning import find_disagreement, plan_pair
from tests.breadth.model_types import FAMILIES, Family, published_class
from tests.domain.recorded import make_adapter, make_base
from workers.child.meta_base import SPELLINGS, CannotBuild, build_meta_base, read_config
from workers.child.rehearse import answer
from workers.rehearse import Rehearsal, RehearsalRun, make_question, read_answer

LABELS = 3
RANK = 8
MORE_ROWS = 8
_REASON_CHARACTERS = 300
_COPIES = (".modules_to_save.", ".original_module.")


@dataclass(frozen=True)
class Trial:
    """`outcome`: `landed`, `faults`, `raises` or `unknown` as the rehearsal along the plan ended;
    `no-plan` where the static rules refuse, with the end of the load as it was trained in `reason`;
    `not-built` when the library cannot build the default config; `not-adapted` when PEFT makes no
    adapter.

    `spoken_for` is the share of tensors that the rules spoke for from the base's own file;
    `disagreements` says where they and the rehearsal differ, with the file's names alone and with
    the built model's tree.
    """

    family: str
    model_type: str
    outcome: str
    reason: str = ""
    codes: tuple[str, ...] = ()
    naive: str = ""
    auto_class: str = ""
    tensors: int = 0
    spoken_for: float | None = None
    disagreements: tuple[str, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class NotAdapted(Exception):
    """PEFT makes no adapter for this model."""


def try_type(family_name: str, model_type: str) -> Trial:
    """Everything about one model type; a failure of any step is an outcome."""
    began = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial = _try(FAMILIES[family_name], model_type)
    return replace(trial, seconds=round(time.monotonic() - began, 1))


def _try(family: Family, model_type: str) -> Trial:
    unfit = Trial(family.name, model_type, "not-built")
    try:
        raw, published = _publish(family, model_type)
        labels = LABELS if family.task == "SEQ_CLS" else None
        trained = build_meta_base(read_config(raw, labels), family.auto_class, "bfloat16")
    except CannotBuild as error:
        return replace(unfit, reason=_one_line(str(error)))
    except Exception as error:
        return replace(unfit, reason=_one_line(f"{type(error).__name__}: {error}"))
    try:
        heads = _label_heads(raw, family) if labels is not None else []
        heads += _grow(trained) if family.grown else []
        config, layout = _save_adapter(trained, family, heads)
    except Exception as error:
        reason = _one_line(f"{type(error).__name__}: {error}")
        return replace(unfit, outcome="not-adapted", reason=reason)
    adapter, base = make_adapter(layout, config), make_base(published, raw)
    rows = rows_of(trained, "input") if family.grown else None
    trial = _compare(family, model_type, adapter, base)
    if trial.outcome != "no-plan":
        return trial
    return _check_refusal(trial, adapter, base, _trained_plan(family, base, adapter, rows))


def _publish(family: Family, model_type: str) -> tuple[dict[str, Any], Layout]:
    """config.json and the header of the weights as the library itself would publish the base."""
    config = CONFIG_MAPPING[model_type]()
    auto_class = published_class(family, model_type) or family.auto_class
    model = build_meta_base(config, auto_class, "bfloat16")
    published = copy.deepcopy(model.config)
    published.architectures = [type(model).__name__]
    published.dtype = "bfloat16"
    raw = json.loads(published.to_json_string())
    return raw, _header_of(model)


def _header_of(model: PreTrainedModel) -> Layout:
    """Ties left out and names turned back, as `save_pretrained` does before it writes."""
    state = remove_tied_weights_from_state_dict(model.state_dict(), model)
    ignored = set(model._keys_to_ignore_on_save or ())
    state = revert_weight_conversion(model, {n: t for n, t in state.items() if n not in ignored})
    return _layout_of(state)


def _layout_of(state: Mapping[str, torch.Tensor]) -> Layout:
    return tuple(
        sorted(TensorSpec(name, SPELLINGS[t.dtype], tuple(t.shape)) for name, t in state.items())
    )


def _grow(model: PreTrainedModel) -> list[str]:
    """Resize the vocabulary; the names of its tables, which training then saves."""
    tables = [table for side in SIDES if (table := table_of(model, side)) is not None]
    names = [name for name, module in model.named_modules() if module in tables]
    rows = rows_of(model, "input")
    if rows is None:
        raise NotAdapted("The model has no input embedding.")
    with torch.device("meta"):
        resize_rows(model, rows + MORE_ROWS)
    return [name.rpartition(".")[2] for name in names]


def _label_heads(raw: Mapping[str, Any], family: Family) -> list[str]:
    """Modules whose shapes follow the number of labels: who trains them saves them whole."""
    shapes = []
    bare = ""
    for labels in (LABELS, LABELS + 2):
        model = build_meta_base(read_config(raw, labels), family.auto_class, "bfloat16")
        shapes.append({name: tuple(p.shape) for name, p in model.named_parameters()})
        bare = model.base_model_prefix
    changed = [name for name in shapes[0] if shapes[0][name] != shapes[1][name]]
    heads = {
        name.rpartition(".")[0] if name.startswith(f"{bare}.") else name.partition(".")[0]
        for name in changed
    }
    # These PEFT saves without being asked.
    return sorted(heads - {"classifier", "score"})


def _save_adapter(
    model: PreTrainedModel, family: Family, heads: list[str]
) -> tuple[dict[str, Any], Layout]:
    """PEFT's own `save_pretrained`; only the writer of the file is replaced."""
    # Without a name PEFT cannot ask the Hub whether the vocabulary was changed.
    model.name_or_path = ""
    adapted = _adapt(model, family, heads)
    written: list[Mapping[str, torch.Tensor]] = []

    def write(tensors: Mapping[str, torch.Tensor], *_: Any, **__: Any) -> None:
        written.append(dict(tensors))

    original = peft_model.safe_save_file
    peft_model.safe_save_file = write
    try:
        with tempfile.TemporaryDirectory() as folder:
            adapted.save_pretrained(folder)
            saved = json.loads(Path(folder, "adapter_config.json").read_text())
    finally:
        peft_model.safe_save_file = original
    # Beside a saved module of a resized model PEFT writes copies of it, which hubs rarely hold.
    kept = {n: t for n, t in written[0].items() if not any(part in n for part in _COPIES)}
    return saved | {"base_model_name_or_path": "acme/base"}, _layout_of(kept)


def _adapt(model: PreTrainedModel, family: Family, heads: list[str]) -> peft.PeftModel:
    """LoRA on every linear layer; where PEFT refuses that, on those of the bare model but for the
    projections that it refuses in state-space models."""
    plain = copy.deepcopy(model)
    for targets in ("all-linear", _linear_names(plain)):
        config = peft.LoraConfig(
            r=RANK, target_modules=targets, task_type=family.task, modules_to_save=heads or None
        )
        try:
            with torch.device("meta"):
                return peft.get_peft_model(model, config)
        except (TypeError, ValueError):
            if targets != "all-linear":
                raise
            model = plain
    raise NotAdapted("There is no linear layer.")


def _linear_names(model: PreTrainedModel) -> list[str]:
    names = {
        name.rpartition(".")[2]
        for name, module in model.base_model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    return sorted(names - {"out_proj"})


def _compare(family: Family, model_type: str, adapter: AdapterFacts, base: BaseFacts) -> Trial:
    record = plan_pair(adapter, base)
    rehearsal = _rehearse(adapter, base, record)
    run = rehearsal.along_plan or rehearsal.naive
    spoken_for = compute_plan(adapter, base).spoken_for
    found = _disagreement("from the file", record, rehearsal, spoken_for)
    if rehearsal.tree is not None and rehearsal.auto_class == family.auto_class:
        exact = replace(base, tree=rehearsal.tree)
        known = plan_pair(adapter, exact)
        digests = [each.plan.digest if each.plan else None for each in (known, record)]
        again = rehearsal if digests[0] == digests[1] else _rehearse(adapter, exact, known)
        share = compute_plan(adapter, exact).spoken_for
        found += _disagreement("from the built tree", known, again, share)
    landed = run.outcome == "landed" and record.plan is not None
    codes = tuple(sorted({i.code for i in record.issues if i.severity.value == "error"}))
    return Trial(
        family.name,
        model_type,
        outcome=run.outcome if record.plan is not None else "no-plan",
        reason="" if landed else _words(run),
        codes=codes,
        naive=rehearsal.naive.outcome,
        auto_class=rehearsal.auto_class,
        tensors=len(adapter.weights.layout) if adapter.weights and adapter.weights.layout else 0,
        spoken_for=round(spoken_for, 3),
        disagreements=found,
    )


def _trained_plan(family: Family, base: BaseFacts, adapter: AdapterFacts, rows: int | None) -> Plan:
    """The load that gives back the model that was trained, whatever the rules say of it."""
    kwargs: dict[str, str | int] = {"dtype": "bfloat16"}
    if family.task == "SEQ_CLS":
        kwargs["num_labels"] = LABELS
    steps: list[Step] = [LoadBase(family.auto_class, base.ref.repo_id, "", kwargs)]
    if rows is not None:
        steps.append(ResizeEmbeddings(rows))
    steps.append(LoadAdapter(adapter.ref.repo_id, "", None))
    done = tuple(steps)
    return Plan(compute_plan_digest(adapter.ref.digest, base.ref.digest, done), done)


def _check_refusal(trial: Trial, adapter: AdapterFacts, base: BaseFacts, plan: Plan) -> Trial:
    """What the rules refuse must not load as it was trained."""
    question = make_question(adapter, base, plan)
    run = read_answer(json.loads(json.dumps(answer(question))), trial.auto_class).along_plan
    assert run is not None
    found = trial.disagreements
    if run.outcome in ("landed", "unknown"):
        told = f"the rules refuse what PEFT saved ({', '.join(trial.codes)})"
        found += (f"from the file: {told}, and as it was trained it ends {run.outcome}",)
    return replace(trial, reason=_words(run), disagreements=found)


def _words(run: RehearsalRun) -> str:
    """How a load ended that did not land."""
    told = [
        f"{kind}: {', '.join(names[:3])}"
        for kind in ("missing", "unexpected", "overwritten")
        if (names := getattr(run, kind))
    ]
    if run.resize_left is not None:
        told.insert(0, f"the resize leaves behind: {run.resize_left}")
    return _one_line(run.error or "; ".join(told))


def _rehearse(adapter: AdapterFacts, base: BaseFacts, record: Record) -> Rehearsal:
    question = make_question(adapter, base, record.plan)
    document = json.loads(json.dumps(answer(question)))
    return read_answer(document, str(question["auto_class"]))


def _disagreement(
    source: str, record: Record, rehearsal: Rehearsal, spoken_for: float
) -> tuple[str, ...]:
    found = find_disagreement(record, rehearsal, spoken_for=spoken_for)
    if found is None:
        return ()
    codes = ", ".join(sorted({i.code for i in record.issues if i.severity.value == "error"}))
    told = f"{source}: static {found.static} ({codes}), rehearsed {found.rehearsed}"
    return (_one_line(told),)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _REASON_CHARACTERS else line[:_REASON_CHARACTERS] + "…"
