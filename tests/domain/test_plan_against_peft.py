"""The real PEFT as the judge: what it does with each adapter is what the plan said without it."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from registry.domain.issues import Severity
from registry.domain.library_tables import CONV1D_MODEL_TYPES, CONVERTED_MODEL_TYPES
from registry.domain.plan import Planned, compute_plan
from registry.domain.summary import compute_facts
from registry.domain.targets import DEFAULT_TARGETS
from registry.domain.tensors import Layout, TensorSpec
from registry.loading import load_adapter
from tests.data.families import build_base
from tests.data.kinds import Made, make, weights_path
from tests.data.sound import BY_NAME
from tests.domain.recorded import read_adapter, read_base
from tests.domain.spoiled import SPOILED, Spoiled

MadeKind = Callable[[str], Made]
# Types whose parameters the file does not hold one to one, or holds beside shared ones.
COUNTED = ("LORA", "IA3", "LOHA", "LOKR", "HRA", "LN_TUNING", "TRAINABLE_TOKENS", "PROMPT_TUNING")
NOTES = {Severity.ERROR, Severity.WARNING}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeKind:
    root = tmp_path_factory.mktemp("kinds")
    return lambda name: make(BY_NAME[name], root)


@dataclass(frozen=True)
class Outcome:
    """What a plain load came to: raised with a text, or loaded with these three sets."""

    error: str | None
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    overwritten: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        if self.error is not None:
            return "raises"
        wrong = self.missing or self.unexpected or self.overwritten
        return "loads-wrong" if wrong else "loads"


def load_plainly(made: Made, folder: Path, auto_class: str | None = None) -> Outcome:
    """`PeftModel.from_pretrained` alone, on the base as anyone would load it."""
    declared_bias = read_adapter(folder).config.bias != "none"
    base = build_base(made.base_folder, auto_class or made.kind.load_class, made.kind.dtype)
    seen: list[tuple[set[str], Any, set[str]]] = []
    real = torch.nn.Module.load_state_dict

    def observed(model: torch.nn.Module, state: Any, *args: Any, **kwargs: Any) -> Any:
        result = real(model, state, *args, **kwargs)
        if isinstance(model, PeftModel):
            seen.append((set(state), result, set(model.state_dict())))
        return result

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(torch.nn.Module, "load_state_dict", observed)
        try:
            PeftModel.from_pretrained(base, folder)
        except Exception as error:
            return Outcome(f"{type(error).__name__}: {error}")
    state, result, names = seen[-1]
    loaded = names & state
    base_names = [name for name in loaded if not _is_adapter_owned(name)]
    overwritten = [n for n in base_names if not (declared_bias and n.endswith(".bias"))]
    missing = [n for n in names - state if _is_adapter_owned(n) and not _is_shared(n)]
    return Outcome(
        None, tuple(sorted(missing)), tuple(result.unexpected_keys), tuple(sorted(overwritten))
    )


def _is_adapter_owned(name: str) -> bool:
    owned = (".lora_", ".modules_to_save.", ".trainable_tokens_delta.", ".token_adapter.")
    return any(part in name for part in owned) and ".base_layer." not in name


def _is_shared(name: str) -> bool:
    """A tied head shows the input's delta under a second name; wrappers keep their original."""
    return "lm_head.token_adapter" in name or ".original_module." in name


def spoil(case: Spoiled, made: Made, folder: Path) -> Path:
    shutil.copytree(made.adapter_folder, folder)
    save_file(case.edit(load_file(weights_path(folder))), weights_path(folder))
    path = folder / "adapter_config.json"
    config = {**json.loads(path.read_text()), **case.config}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return folder


def plan_of(made: Made, folder: Path) -> Planned:
    return compute_plan(read_adapter(folder), read_base(made.base_folder))


@pytest.mark.parametrize("case", SPOILED, ids=[case.name for case in SPOILED])
def test_the_static_verdict_is_what_peft_does(
    case: Spoiled, made: MadeKind, tmp_path: Path
) -> None:
    kind = made(case.kind)
    folder = spoil(case, kind, tmp_path / "adapter")
    planned = plan_of(kind, folder)
    real = load_plainly(kind, folder, case.auto_class)
    found = {issue.code for issue in planned.issues if issue.severity in NOTES}
    assert found | {i.code for i in planned.issues} >= set(case.codes)
    assert found <= {*case.codes, *case.beside}
    assert real.word == case.naive
    assert planned.naive_load.outcome == (case.forecast or case.naive)
    if planned.naive_load.outcome == "raises" and case.exact_text:
        assert _comparable(planned.naive_load.error or "") == _comparable(real.error or "")
    assert (planned.plan is not None) == case.plan, planned.issues
    if planned.plan is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Raises unless every tensor lands and nothing else is touched.
            load_adapter(planned.plan, base_folder=kind.base_folder, adapter_folder=folder)


@pytest.mark.parametrize("case", SPOILED, ids=[case.name for case in SPOILED])
def test_the_built_models_tree_leads_to_the_same_verdict(
    case: Spoiled, made: MadeKind, tmp_path: Path
) -> None:
    kind = made(case.kind)
    folder = spoil(case, kind, tmp_path / "adapter")
    from_files = plan_of(kind, folder)
    auto_class = case.auto_class or kind.kind.load_class
    base = replace(read_base(kind.base_folder), tree=built_tree(kind, auto_class))
    from_tree = compute_plan(read_adapter(folder), base)
    assert (from_tree.plan is None) == (from_files.plan is None)
    if from_tree.plan is not None:
        assert from_tree.plan.digest == from_files.plan.digest
    errors = {i.code for i in from_files.issues if i.severity in NOTES}
    assert errors <= {issue.code for issue in from_tree.issues}
    assert from_tree.naive_load.outcome == case.naive


def built_tree(made: Made, auto_class: str) -> Layout:
    """What a rehearsal records: each parameter once, so a tied head is not among them."""
    base = build_base(made.base_folder, auto_class, made.kind.dtype)
    return tuple(
        sorted(
            TensorSpec(name, "F32", tuple(parameter.shape))
            for name, parameter in base.named_parameters()
        )
    )


def _comparable(text: str) -> list[str]:
    """Lines in any order: PEFT prints them in the order in which the model registers modules."""
    return sorted(line.strip() for line in text.splitlines())


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_sound_adapter_is_planned_and_its_plan_loads_it(name: str, made: MadeKind) -> None:
    kind = made(name)
    planned = plan_of(kind, kind.adapter_folder)
    assert not [i for i in planned.issues if i.severity is Severity.ERROR]
    assert planned.plan is not None
    if kind.kind.rehearsable:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_adapter(
                planned.plan, base_folder=kind.base_folder, adapter_folder=kind.adapter_folder
            )


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_parameters_are_counted_as_peft_counts_them(name: str, made: MadeKind) -> None:
    kind = made(name)
    facts = compute_facts(read_adapter(kind.adapter_folder), read_base(kind.base_folder))
    if facts.trainable_parameters is None:
        # PEFT fuses the adapters of single experts into larger ones, which no file shows.
        assert facts.peft_type not in COUNTED or name == "mixtral-per-expert"
        return
    labels = {} if kind.kind.labels is None else {"num_labels": kind.kind.labels}
    base = build_base(kind.base_folder, kind.kind.load_class, kind.kind.dtype, **labels)
    if kind.kind.rows is not None:
        base.resize_token_embeddings(kind.kind.rows, mean_resizing=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # As saved the config is one for inference, where nothing counts as trainable.
        config = PeftConfig.from_pretrained(kind.adapter_folder, inference_mode=False)
        config.inference_mode = False
        model = get_peft_model(base, config)
    trainable, everything = model.get_nb_trainable_parameters()
    assert facts.trainable_parameters == trainable
    assert facts.trainable_fraction == round(trainable / everything, 6)


def test_the_tables_are_those_of_the_installed_libraries() -> None:
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as TARGETS
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    converted = {name for name in CONFIG_MAPPING_NAMES if get_checkpoint_conversion_mapping(name)}
    assert converted == CONVERTED_MODEL_TYPES
    known = {name: tuple(TARGETS[name]) for name in DEFAULT_TARGETS}
    assert known == DEFAULT_TARGETS
    assert set(CONFIG_MAPPING_NAMES) | {"clvp_decoder"} >= CONV1D_MODEL_TYPES
