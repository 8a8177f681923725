"""The plan executed: what lands, what is refused, and that it is what PEFT itself would load."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from registry.domain.steps import (
    FillRows,
    LoadAdapter,
    LoadTokenizer,
    Plan,
    RenameKeys,
    ResizeEmbeddings,
)
from registry.errors import FileInvalid, InvalidRequest, PlanMismatch
from registry.loading import load_adapter
from registry.loading.base import clone_shared, fill_rows, load_base
from registry.loading.execute import carry_out
from registry.loading.files import (
    ADAPTER_FILES,
    BASE_FILES,
    inside,
    is_allowed,
    is_safe_name,
)
from registry.loading.repair import repair_names
from registry.loading.steps import steps_of
from tests.data.families import VOCABULARY, build_base
from tests.data.kinds import GROWN, Made, copy_adapter, weights_path
from tests.data.sound import SOUND

MadeKind = Callable[[str], Made]
IDS = torch.tensor([[1, 2, 3, 4, 5, 7, 8, 9, 20, 2]])


def load(made: Made, plan: Plan | None = None, folder: Path | None = None) -> PeftModel:
    model, _ = load_adapter(
        plan or made.plan,
        base_folder=made.base_folder,
        adapter_folder=folder or made.adapter_folder,
    )
    return model


def with_steps(plan: Plan, *steps: object) -> Plan:
    """The plan with other steps in the place of those of the same type, or in its order."""
    kept = [step for step in plan.steps if type(step) not in {type(new) for new in steps}]
    order = [type(step) for step in (plan.steps[0],)]
    order += [LoadTokenizer, ResizeEmbeddings, FillRows, RenameKeys, LoadAdapter]
    return replace(plan, steps=tuple(sorted([*kept, *steps], key=lambda s: order.index(type(s)))))


def outputs(model: torch.nn.Module, made: Made) -> torch.Tensor:
    inputs = {"input_ids": IDS}
    if made.kind.name == "poly":
        inputs["task_ids"] = torch.tensor([0])
    if made.kind.family == "t5":
        inputs["decoder_input_ids"] = IDS
    with torch.no_grad():
        return model(**inputs)[0]


@pytest.mark.parametrize("name", [kind.name for kind in SOUND])
def test_a_sound_adapter_loads_as_peft_itself_loads_it(name: str, made: MadeKind) -> None:
    kind = made(name)
    ours = load(kind)
    labels = {} if kind.kind.labels is None else {"num_labels": kind.kind.labels}
    base = build_base(kind.base_folder, kind.kind.load_class, kind.kind.dtype, **labels)
    steps = steps_of(kind.plan)
    if steps.resize:
        base.resize_token_embeddings(steps.resize.rows, mean_resizing=False)
    for step in steps.fills:
        fill_rows(base, step)
    theirs = PeftModel.from_pretrained(base, kind.adapter_folder).eval()
    assert type(ours) is type(theirs)
    assert torch.equal(outputs(ours, kind), outputs(theirs, kind))


def test_a_file_without_a_layer_is_refused_with_the_missing_names(
    made: MadeKind, tmp_path: Path
) -> None:
    kind = made("llama-lora")
    folder = copy_adapter(kind.adapter_folder, tmp_path / "adapter")
    kept = {name: t for name, t in kind.tensors.items() if ".layers.1." not in name}
    save_file(kept, weights_path(folder))
    with pytest.raises(PlanMismatch) as refused:
        load(kind, folder=folder)
    assert len(refused.value.fields["missing"]) == 8
    assert refused.value.fields["unexpected"] == []


def test_a_tensor_that_finds_no_place_is_refused(made: MadeKind, tmp_path: Path) -> None:
    kind = made("llama-lora")
    folder = copy_adapter(kind.adapter_folder, tmp_path / "adapter")
    extra = "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"
    save_file({**kind.tensors, extra: torch.zeros(4, 32)}, weights_path(folder))
    with pytest.raises(PlanMismatch) as refused:
        load(kind, folder=folder)
    assert refused.value.fields["unexpected"] == [extra]


def test_an_overwritten_base_parameter_is_refused_unless_the_plan_declares_it(
    made: MadeKind, tmp_path: Path
) -> None:
    kind = made("llama-lora")
    folder = copy_adapter(kind.adapter_folder, tmp_path / "adapter")
    norm = "base_model.model.model.norm.weight"
    save_file({**kind.tensors, norm: torch.full((32,), 3.0)}, weights_path(folder))
    with pytest.raises(PlanMismatch) as refused:
        load(kind, folder=folder)
    assert refused.value.fields["overwritten"] == ["model.norm.weight"]
    adapter = replace(steps_of(kind.plan).adapter, overwrites=("model.norm.weight",))
    model = load(kind, with_steps(kind.plan, adapter), folder)
    assert model.base_model.model.model.norm.weight[0] == 3.0


def test_a_wrong_prefix_loads_nothing_and_is_refused_but_a_rename_step_mends_it(
    made: MadeKind, tmp_path: Path
) -> None:
    kind = made("llama-lora")
    folder = copy_adapter(kind.adapter_folder, tmp_path / "adapter")
    wrong = {name.replace("base_model.model.", "module."): t for name, t in kind.tensors.items()}
    save_file(wrong, weights_path(folder))
    with pytest.raises(PlanMismatch) as refused:
        load(kind, folder=folder)
    assert len(refused.value.fields["missing"]) == len(kind.tensors)
    renames = dict(zip(wrong, kind.tensors, strict=True))
    mended = load(kind, with_steps(kind.plan, RenameKeys(renames, ())), folder)
    assert torch.equal(outputs(mended, kind), outputs(load(kind), kind))


def test_a_duplicate_that_differs_from_the_tensor_kept_is_refused(made: MadeKind) -> None:
    kind = made("llama-grown")
    tensors = dict(kind.tensors)
    copy = "base_model.model.lm_head.modules_to_save.weight"
    step = steps_of(kind.plan).rename
    assert step is not None
    assert copy not in repair_names(tensors, step)
    tensors[copy] = tensors[copy] + 1
    with pytest.raises(PlanMismatch, match="lm_head"):
        repair_names(tensors, step)


def test_two_tensors_are_never_given_one_name() -> None:
    one = {"a": torch.zeros(1), "b": torch.ones(1)}
    with pytest.raises(PlanMismatch, match="become b"):
        repair_names(one, RenameKeys({"a": "b"}, ()))


def test_a_plan_that_names_tensors_the_file_lacks_is_refused() -> None:
    with pytest.raises(PlanMismatch) as refused:
        repair_names({"a": torch.zeros(1)}, RenameKeys({"x": "y"}, ("z",)))
    assert refused.value.fields["missing"] == ["x", "z"]


def test_filled_rows_are_the_mean_of_the_base_rows_every_time(made: MadeKind) -> None:
    kind = made("llama-grown-input-only")
    heads = [load(kind).base_model.model.lm_head.weight for _ in range(2)]
    assert torch.equal(heads[0], heads[1])
    mean = load_file(kind.base_folder / "model.safetensors")["lm_head.weight"].mean(dim=0)
    assert torch.equal(heads[0][VOCABULARY:], mean.expand(GROWN - VOCABULARY, -1))


def test_rows_that_a_side_does_not_have_cannot_be_filled(made: MadeKind) -> None:
    base = build_base(made("llama-lora").base_folder, "AutoModelForCausalLM")
    with pytest.raises(PlanMismatch, match="output rows 96 to 101"):
        fill_rows(base, FillRows("output", VOCABULARY, GROWN))


def test_a_saved_plan_and_local_folders_are_enough(made: MadeKind, tmp_path: Path) -> None:
    kind = made("llama-grown")
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"plan": kind.plan.to_json()}))
    model, tokenizer = load_adapter(
        str(path), base_folder=kind.base_folder, adapter_folder=kind.adapter_folder
    )
    assert tokenizer is None
    assert torch.equal(outputs(model, kind), outputs(load(kind), kind))


def test_local_folders_in_the_plan_itself_are_read(made: MadeKind) -> None:
    kind = made("llama-lora")
    base = replace(steps_of(kind.plan).base, repo_id=str(kind.base_folder))
    adapter = replace(steps_of(kind.plan).adapter, repo_id=str(kind.adapter_folder))
    model, _ = load_adapter(with_steps(kind.plan, base, adapter))
    assert torch.equal(outputs(model, kind), outputs(load(kind), kind))


def test_a_reference_is_answered_by_the_given_source(made: MadeKind) -> None:
    kind = made("llama-lora")
    asked: list[str] = []

    def source(reference: str) -> Plan:
        asked.append(reference)
        return kind.plan

    load_adapter(
        "acme/chat-lora",
        plan_source=source,
        base_folder=kind.base_folder,
        adapter_folder=kind.adapter_folder,
    )
    assert asked == ["acme/chat-lora"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"plan": null}', "{"])
def test_a_file_without_a_plan_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(InvalidRequest):
        load_adapter(path)


def test_a_plan_out_of_order_or_with_unknown_classes_is_refused(made: MadeKind) -> None:
    plan = made("llama-lora").plan
    with pytest.raises(InvalidRequest, match="out of order"):
        steps_of(replace(plan, steps=tuple(reversed(plan.steps))))
    with pytest.raises(InvalidRequest, match="no load_base"):
        steps_of(replace(plan, steps=plan.steps[1:]))
    odd = with_steps(plan, replace(steps_of(plan).base, auto_class="logging"))
    with pytest.raises(InvalidRequest, match="auto class"):
        load(made("llama-lora"), odd)
    odd = with_steps(plan, replace(steps_of(plan).base, kwargs={"dtype": "load"}))
    with pytest.raises(InvalidRequest, match="floating-point"):
        load(made("llama-lora"), odd)
    odd = with_steps(plan, replace(steps_of(plan).adapter, kwargs={"key_mapping": "x"}))
    with pytest.raises(InvalidRequest, match="unknown keywords"):
        load(made("llama-lora"), odd)


def test_a_pickled_base_or_adapter_is_never_opened(made: MadeKind, tmp_path: Path) -> None:
    kind = made("llama-lora")
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    copy_adapter(kind.base_folder, base)
    copy_adapter(kind.adapter_folder, adapter)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_adapter(kind.plan, base_folder=base, adapter_folder=kind.adapter_folder)
    weights_path(adapter).unlink()
    torch.save(dict(kind.tensors), adapter / "adapter_model.bin")
    with pytest.raises(FileInvalid, match="safetensors"):
        load_adapter(kind.plan, base_folder=kind.base_folder, adapter_folder=adapter)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("llama-lora", ()),
        ("llama-saved-both", ()),
        ("llama-grown", ()),
        ("tied-grown", ()),
        ("llama-lora-and-tokens", ()),
        ("llama-pissa", "all"),
        ("llama-layer-replication", ()),
        ("qwen2-bias-all", "file"),
        ("llama-lora-on-tables-saved", "file"),
        ("osf", "all"),
    ],
)
def test_a_base_shared_by_clones_stays_as_it_was(
    name: str, own: str | tuple[str, ...], made: MadeKind
) -> None:
    kind = made(name)
    steps = steps_of(kind.plan)
    base, _ = load_base(steps.base, kind.base_folder)
    before = {key: tensor.clone() for key, tensor in base.state_dict().items()}
    config = base.config.to_json_string()
    if own == "file":
        own = tuple(
            key.removeprefix("base_model.model.").replace(".base_layer.", ".")
            for key in kind.tensors
        )
    model, _ = carry_out(clone_shared(base, own), steps, kind.adapter_folder)
    assert torch.equal(outputs(model, kind), outputs(load(kind), kind))
    after = base.state_dict()
    assert base.config.to_json_string() == config
    assert list(after) == list(before)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_failed_load_leaves_the_shared_base_usable(made: MadeKind) -> None:
    kind = made("llama-grown")
    plain = made("llama-lora")
    steps = steps_of(plain.plan)
    base, _ = load_base(steps.base, kind.base_folder)
    with pytest.raises(RuntimeError, match="size mismatch"):
        carry_out(clone_shared(base), steps, kind.adapter_folder)
    model, _ = carry_out(clone_shared(base), steps, plain.adapter_folder)
    assert torch.equal(outputs(model, plain), outputs(load(plain), plain))


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../b", "a\\b", "", "a//b", "./a", "a\nb"]
)
def test_a_name_that_leaves_its_folder_is_never_fetched(name: str) -> None:
    assert not is_safe_name(name)
    assert not is_allowed(name, ("*",))
    if name:
        with pytest.raises(FileInvalid):
            inside(Path("/tmp"), name)


def test_only_safetensors_configs_and_tokenizers_are_fetched() -> None:
    for name in ("model-00001-of-00002.safetensors", "config.json", "tokenizer.json"):
        assert is_allowed(name, BASE_FILES)
    for name in ("pytorch_model.bin", "modeling_x.py", "model.safetensors/x", "run.sh", "a/b.py"):
        assert not is_allowed(name, BASE_FILES)
    assert is_allowed("adapter_model.safetensors", ADAPTER_FILES)
    assert not is_allowed("adapter_model.bin", ADAPTER_FILES)


def test_importing_the_function_imports_nothing_heavy() -> None:
    code = (
        "import sys, registry.loading; "
        "print([m for m in ('torch', 'transformers', 'peft', 'sqlalchemy', 'pydantic', 'fastapi')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
