"""What each gate and each measurement says, one defect at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, LlavaConfig

from registry.domain.refs import Digest
from registry.domain.steps import FillRows, LoadAdapter, LoadBase, Plan
from registry.loading import load_adapter
from registry.loading.base import load_base
from registry.loading.steps import Steps, steps_of
from tests.data.families import VOCABULARY
from tests.data.kinds import GROWN, Kind, Made, copy_adapter, make, weights_path
from tests.data.sound import lora
from workers.child import measure
from workers.child.fingerprint import fingerprint, fingerprints
from workers.child.gates import NOT_APPLICABLE
from workers.child.proof import GATES, ProofBase, make_proof_base, prove_adapter

MadeKind = Callable[[str], Made]
Document = dict[str, Any]


def base_for(made: Made, steps: Steps | None = None) -> ProofBase:
    steps = steps or steps_of(made.plan)
    model, unset = load_base(steps.base, made.base_folder)
    return make_proof_base(model, steps.base.auto_class, unset)


def prove(made: Made, *, folder: Path | None = None, steps: Steps | None = None) -> Document:
    steps = steps or steps_of(made.plan)
    return prove_adapter(base_for(made, steps), steps, folder or made.adapter_folder)


def edited(made: Made, tmp_path: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    folder = copy_adapter(made.adapter_folder, tmp_path / "edited")
    tensors = {name: tensor.clone() for name, tensor in made.tensors.items()}
    edit(tensors)
    save_file(tensors, weights_path(folder), metadata={"format": "pt"})
    return folder


def codes(document: Document) -> set[str]:
    return {note["code"] for note in document["notes"]}


# --- landed --------------------------------------------------------------------------------------


def test_a_narrowing_cast_lands_and_its_loss_is_reported(made: MadeKind) -> None:
    document = prove(made("llama-saved-fp32-on-bf16"))
    assert document["outcome"] == "passed"
    assert document["checks"]["cast_loss"]["tensors"] == 2
    assert 0 < document["checks"]["cast_loss"]["max_abs_error"] < 0.01
    assert "lossy-cast" in codes(document)


def test_a_widening_cast_loses_nothing(made: MadeKind) -> None:
    document = prove(made("llama-lora-bf16-file"))
    assert document["checks"]["cast_loss"]["tensors"] == 0
    assert "lossy-cast" not in codes(document)


def test_a_refused_load_quotes_the_error_and_reaches_no_other_gate(
    made: MadeKind, tmp_path: Path
) -> None:
    kind = made("llama-grown")
    document = prove(kind, steps=replace(steps_of(kind.plan), resize=None, rename=None))
    assert document["outcome"] == "failed"
    assert set(document["checks"]) == {"landed"}
    assert "size mismatch" in document["checks"]["landed"]["reason"]


def test_the_three_sets_of_a_mismatch_are_its_figure(made: MadeKind, tmp_path: Path) -> None:
    kind = made("llama-lora")
    gone = sorted(kind.tensors)[0]
    document = prove(kind, folder=edited(kind, tmp_path, lambda tensors: tensors.pop(gone)))
    figure = document["checks"]["landed"]["figure"]
    assert figure["missing"] == [gone.replace(".weight", ".default.weight")]
    assert figure["unexpected"] == figure["overwritten"] == []


def test_a_bias_that_the_config_trains_and_the_file_lacks_is_named(
    made: MadeKind, tmp_path: Path
) -> None:
    kind = made("qwen2-bias-all")
    gone = next(name for name in kind.tensors if name.endswith("bias"))
    document = prove(kind, folder=edited(kind, tmp_path, lambda tensors: tensors.pop(gone)))
    assert document["outcome"] == "failed"
    assert "the config trains these biases" in document["checks"]["landed"]["reason"]


def test_converted_experts_are_compared_after_the_conversion(made: MadeKind) -> None:
    document = prove(made("mixtral-per-expert"))
    assert document["outcome"] == "passed"
    assert document["checks"]["round_trip"]["outcome"] == "n/a"


# --- nothing_else --------------------------------------------------------------------------------


def test_grown_rows_that_nothing_fills_are_found(made: MadeKind) -> None:
    kind = made("llama-grown-input-only")
    document = prove(kind, steps=replace(steps_of(kind.plan), fills=()))
    gate = document["checks"]["nothing_else"]
    assert gate["outcome"] == document["outcome"] == "failed"
    assert "lm_head" in gate["reason"]


def test_rows_that_are_filled_only_in_part_are_found(made: MadeKind) -> None:
    kind = made("llama-grown-input-only")
    steps = replace(steps_of(kind.plan), fills=(FillRows("output", VOCABULARY, GROWN - 1),))
    assert prove(kind, steps=steps)["checks"]["nothing_else"]["outcome"] == "failed"


def test_a_base_parameter_that_changed_is_named(made: MadeKind) -> None:
    kind = made("llama-lora")
    base = base_for(kind)
    known = {**base.known, "model.norm.weight": base.known["model.norm.weight"] + 1}
    document = prove_adapter(replace(base, known=known), steps_of(kind.plan), kind.adapter_folder)
    gate = document["checks"]["nothing_else"]
    assert gate["outcome"] == "failed"
    assert gate["reason"] == "changed in the base: model.norm.weight"


def test_declared_replacements_are_counted(made: MadeKind) -> None:
    gate = prove(made("qwen2-bias-all"))["checks"]["nothing_else"]
    assert (gate["outcome"], gate["figure"]) == ("passed", 6)
    gate = prove(made("llama-pissa"))["checks"]["nothing_else"]
    assert "rewrites" in gate["reason"]


# --- finite --------------------------------------------------------------------------------------


def test_one_nan_in_the_file_is_found(made: MadeKind, tmp_path: Path) -> None:
    kind = made("llama-lora")

    def poison(tensors: dict[str, torch.Tensor]) -> None:
        next(iter(tensors.values()))[0, 0] = torch.nan

    document = prove(kind, folder=edited(kind, tmp_path, poison))
    assert document["checks"]["finite"]["outcome"] == "failed"
    assert document["checks"]["nothing_else"]["outcome"] == "passed"


def test_a_value_that_overflows_in_the_cast_is_found(kinds_folder: Path, tmp_path: Path) -> None:
    kind = make(
        Kind(
            "fp16-saved",
            "llama",
            lora(modules_to_save=["lm_head"]),
            dtype=torch.float16,
            file_dtype=torch.float32,
        ),
        kinds_folder,
    )

    def enlarge(tensors: dict[str, torch.Tensor]) -> None:
        tensors["base_model.model.lm_head.weight"][0, 0] = 1e6

    document = prove(kind, folder=edited(kind, tmp_path, enlarge))
    assert document["checks"]["finite"]["outcome"] == "failed"


# --- effect and forward --------------------------------------------------------------------------


def test_an_inert_adapter_has_no_effect_even_where_rows_are_random(
    made: MadeKind, tmp_path: Path
) -> None:
    kind = made("llama-grown-plain")
    base = base_for(kind).model.state_dict()

    def unlearn(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if "lora_B" in name:
                tensor.zero_()
            elif "lora" not in name:
                tensor[:VOCABULARY] = base[name.removeprefix("base_model.model.")]

    document = prove(kind, folder=edited(kind, tmp_path, unlearn))
    assert document["checks"]["effect"]["outcome"] == "failed"
    assert document["checks"]["forward"]["outcome"] == "passed"


def test_modules_with_a_zero_update_are_counted_and_do_not_fail(
    made: MadeKind, tmp_path: Path
) -> None:
    kind = made("llama-lora")

    def unlearn(tensors: dict[str, torch.Tensor]) -> None:
        tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"].zero_()

    document = prove(kind, folder=edited(kind, tmp_path, unlearn))
    assert document["outcome"] == "passed"
    assert document["checks"]["effect"]["reason"] == "1 modules have a zero update"


def test_invocation_tokens_are_in_the_probe(made: MadeKind) -> None:
    document = prove(made("llama-alora"))
    assert document["checks"]["effect"]["figure"] > 0
    ids = document["checks"]["reference_output"]["ids"]
    assert [7, 8, 9] in [ids[i : i + 3] for i in range(len(ids))]


def test_a_gate_is_left_out_only_where_this_table_says_so() -> None:
    assert set(NOT_APPLICABLE) == {("effect", "TRAINABLE_TOKENS")}
    assert {gate for gate, _ in NOT_APPLICABLE} <= set(GATES)


def test_new_tokens_alone_have_nothing_to_be_compared_with(kinds_folder: Path) -> None:
    kind = make(
        Kind(
            "new-tokens",
            "llama",
            lambda _family: peft.TrainableTokensConfig(token_indices=[VOCABULARY, VOCABULARY + 1]),
            rows=VOCABULARY + 2,
            fill="output",
            edit=lambda tensors: {n: t for n, t in tensors.items() if "delta" in n},
        ),
        kinds_folder,
    )
    fills = (FillRows("input", VOCABULARY, VOCABULARY + 2), *steps_of(kind.plan).fills)
    document = prove(kind, steps=replace(steps_of(kind.plan), fills=fills))
    assert document["checks"]["effect"] == {
        "outcome": "not-applicable",
        "figure": None,
        "reason": NOT_APPLICABLE["effect", "TRAINABLE_TOKENS"],
    }
    assert document["outcome"] == "passed"


def test_a_head_that_no_file_holds_is_found(made: MadeKind, tmp_path: Path) -> None:
    kind = made("bert-embedding")
    step = LoadBase(
        "AutoModelForSequenceClassification",
        "acme/bert",
        "0" * 40,
        {"dtype": "float32", "num_labels": 3},
    )
    steps = replace(steps_of(kind.plan), base=step)
    folder = copy_adapter(kind.adapter_folder, tmp_path / "adapter")
    config = (folder / "adapter_config.json").read_text()
    (folder / "adapter_config.json").write_text(config.replace('"FEATURE_EXTRACTION"', "null"))
    renamed = {
        name.replace("base_model.model.", "base_model.model.bert."): tensor
        for name, tensor in kind.tensors.items()
    }
    save_file(renamed, weights_path(folder))
    gate = prove(kind, folder=folder, steps=steps)["checks"]["forward"]
    assert gate["outcome"] == "failed"
    assert "classifier.weight" in gate["reason"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("llama-grown", [1, None, GROWN]),
        ("llama-classifier", [1, 3]),
        ("bert-tokens", [1, None, 3]),
        ("bert-questions", [1, None, 2]),
        ("bert-embedding", [1, None, 32]),
        ("t5-lora", [1, None, VOCABULARY]),
    ],
)
def test_the_output_has_the_shape_of_the_task(
    name: str, shape: list[int | None], made: MadeKind
) -> None:
    figure = prove(made(name))["checks"]["forward"]["figure"]
    assert len(figure) == len(shape)
    assert all(size in (None, given) for size, given in zip(shape, figure, strict=True))


# --- images --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = LlavaConfig(
        vision_config={
            "model_type": "clip_vision_model",
            **small,
            "num_attention_heads": 4,
            "image_size": 16,
            "patch_size": 8,
        },
        text_config={
            "model_type": "llama",
            **small,
            "vocab_size": VOCABULARY,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
        image_token_index=VOCABULARY - 2,
        vision_feature_layer=-1,
    )
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("llava")
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    return folder


def prove_llava(base: Path, folder: Path, targets: str) -> Document:
    model = AutoModelForImageTextToText.from_pretrained(base)
    torch.manual_seed(4)
    trained = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=targets))
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    trained.save_pretrained(folder)
    step = LoadBase("AutoModelForImageTextToText", "acme/llava", "0" * 40, {"dtype": "float32"})
    plan = Plan(Digest("sha256:" + "0" * 64), (step, LoadAdapter("acme/x", "1" * 40, None)))
    loaded, unset = load_base(step, base)
    return prove_adapter(make_proof_base(loaded, step.auto_class, unset), steps_of(plan), folder)


def test_an_adapter_of_the_language_path_is_proven_by_text(llava: Path, tmp_path: Path) -> None:
    document = prove_llava(llava, tmp_path / "adapter", r".*language_model.*\.(q|v)_proj")
    assert document["outcome"] == "passed"
    assert "tower-not-exercised" not in codes(document)


def test_an_adapter_of_the_tower_alone_is_seen_in_an_image(llava: Path, tmp_path: Path) -> None:
    document = prove_llava(llava, tmp_path / "adapter", r".*vision_tower.*\.(q|v)_proj")
    assert document["outcome"] == "passed", document
    assert "dummy image" in document["checks"]["effect"]["reason"]


def test_a_tower_that_nothing_reaches_is_said(
    llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.child.gates_output.show_image", lambda _model, _site: None)
    document = prove_llava(llava, tmp_path / "adapter", r".*\.(q|v)_proj")
    assert document["outcome"] == "passed"
    assert "tower-not-exercised" in codes(document)
    assert all("vision_tower" in name for name in document["checks"]["not_exercised"])


# --- beside the gates ----------------------------------------------------------------------------


def test_merging_a_table_of_a_tied_base_is_unsafe(kinds_folder: Path) -> None:
    kind = make(Kind("tied-head-lora", "llama-tied", lora("attention+output")), kinds_folder)
    steps = steps_of(kind.plan)
    adapter = replace(steps.adapter, overwrites=("lm_head.weight", "model.embed_tokens.weight"))
    document = prove(kind, steps=replace(steps, adapter=adapter))
    assert document["outcome"] == "passed"
    assert document["checks"]["merge"]["outcome"] == "unsafe"
    assert "untie the head" in document["checks"]["merge"]["reason"]
    assert "merge-unsafe" in codes(document)


def test_a_merge_that_loses_the_update_in_bfloat16_is_unsafe(
    made: MadeKind, tmp_path: Path
) -> None:
    kind = made("llama-lora-bf16-file")

    def shrink(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if "lora_B" in name:
                tensor.mul_(1e-2)

    document = prove(kind, folder=edited(kind, tmp_path, shrink))
    merge = document["checks"]["merge"]
    assert document["outcome"] == "passed"
    assert merge["outcome"] == "unsafe"
    assert merge["worst"] > 0.1
    assert "float32" in merge["reason"]


def test_what_cannot_be_merged_says_so(made: MadeKind) -> None:
    for name in ("prompt-tuning", "llama-alora"):
        assert prove(made(name))["checks"]["merge"]["outcome"] == "n/a"


def test_measuring_a_merge_leaves_the_model_as_it_was(made: MadeKind) -> None:
    kind = made("llama-lora")
    model, _ = load_adapter(
        kind.plan, base_folder=kind.base_folder, adapter_folder=kind.adapter_folder
    )
    before = fingerprints(model.state_dict())
    assert measure.measure_merge(model, is_tied=False)["modules"] == 8
    assert fingerprints(model.state_dict()) == before


def test_the_reference_output_is_what_the_loaded_model_says(made: MadeKind) -> None:
    kind = made("llama-grown")
    reference = prove(kind)["checks"]["reference_output"]
    model, _ = load_adapter(
        kind.plan, base_folder=kind.base_folder, adapter_folder=kind.adapter_folder
    )
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([reference["ids"]])).logits[0]
    assert max(reference["ids"]) == GROWN - 1
    for at, tops in reference["top"].items():
        likelihoods = logits[int(at)].log_softmax(-1)
        assert len(tops) == 20
        assert all(abs(float(likelihoods[token]) - value) < 1e-4 for token, value in tops)
        assert tops[0][0] == int(likelihoods.argmax())


def test_a_failure_of_the_machine_is_no_verdict(
    made: MadeKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("workers.child.proof.check_effect", refuse)
    document = prove(made("llama-lora"))
    assert document["outcome"] == "error"
    assert document["error"]["code"] == "proof-out-of-memory"
    assert document["error"]["needed_bytes"] > 0


def test_a_fingerprint_sees_one_element_and_its_place() -> None:
    tensor = torch.arange(3_000, dtype=torch.bfloat16)
    assert fingerprint(tensor) == fingerprint(tensor.clone())
    for index in (0, 1_500, 2_999):
        other = tensor.clone()
        other[index] += 8
        assert fingerprint(other) != fingerprint(tensor)
    swapped = tensor.clone()
    swapped[[3, 9]] = tensor[[9, 3]]
    assert fingerprint(swapped) != fingerprint(tensor)
    assert fingerprint(tensor[1:]) == fingerprint(tensor[1:].clone())
    assert fingerprint(torch.zeros(2)) != fingerprint(torch.zeros(3))
