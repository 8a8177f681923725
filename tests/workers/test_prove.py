"""Proofs through the sandbox: fetched files, one base for many, limits, and whose failure it is."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from registry.domain.record import Proof
from registry.domain.steps import Plan
from registry.errors import SandboxMissing
from registry.loading.steps import steps_of
from registry.sandbox import Isolation, find_isolation
from tests.data.kinds import Made, copy_adapter, weights_path
from tests.hub import LocalHub
from workers.child.memory import Need, estimate_need
from workers.child.prove import Bench, spreads
from workers.prove import Prover

MadeKind = Callable[[str], Made]
GATES = ("landed", "nothing_else", "finite", "effect", "forward")


def on_disk(made: Made, *, base: Path | None = None, adapter: Path | None = None) -> Plan:
    """The kind's plan with folders in the place of repositories."""
    steps = list(made.plan.steps)
    sound = steps_of(made.plan)
    steps[0] = replace(sound.base, repo_id=str(base or made.base_folder))
    steps[-1] = replace(sound.adapter, repo_id=str(adapter or made.adapter_folder))
    return replace(made.plan, steps=tuple(steps))


def question(made: Made, **more: object) -> dict[str, object]:
    return {
        "base_folder": str(made.base_folder),
        "adapter_folder": str(made.adapter_folder),
        "plan": made.plan.to_json(),
        "device": "cpu",
        "device_map": None,
    } | more


def isolation() -> Isolation:
    try:
        return find_isolation("auto")
    except SandboxMissing:
        return Isolation.PROCESS


def prover(tmp_path: Path, **more: object) -> Prover:
    ticks = itertools.count()
    numbers = itertools.count(1)
    start = datetime(2026, 1, 2, tzinfo=UTC)
    return Prover(
        isolation(),
        tmp_path / "cache",
        now=lambda: start + timedelta(seconds=next(ticks)),
        new_id=lambda: f"proof-{next(numbers)}",
        **more,  # type: ignore[arg-type]
    )


def error_of(proof: Proof) -> dict[str, object]:
    error = proof.checks["error"]
    assert isinstance(error, dict)
    return error


def test_proofs_of_one_base_pass_in_the_sandbox_in_their_order(
    made: MadeKind, tmp_path: Path
) -> None:
    lora, grown = made("llama-lora"), made("llama-grown")
    spoiled = copy_adapter(lora.adapter_folder, tmp_path / "spoiled")
    some = dict(list(lora.tensors.items())[:-1])
    save_file(some, weights_path(spoiled))
    plans = [on_disk(lora), on_disk(lora, adapter=spoiled), on_disk(grown)]
    first, second, third = prover(tmp_path).prove(plans)
    assert [first.outcome, second.outcome, third.outcome] == ["passed", "failed", "passed"]
    assert {first.checks[gate]["outcome"] for gate in GATES} == {"passed"}  # type: ignore[index]
    assert second.checks["landed"]["outcome"] == "failed"  # type: ignore[index]
    assert first.device == "cpu"
    assert set(first.environment) == {"torch", "transformers", "peft", "cuda", "driver", "python"}
    assert first.sandbox == isolation().value
    assert (first.id, third.id) == ("proof-1", "proof-3")
    assert first.started_at < first.finished_at
    assert first.started_at.endswith("Z")
    # What was proven alone is what was proven beside others.
    alone = Bench().answer(question(lora))
    assert alone["checks"]["reference_output"] == first.checks["reference_output"]
    json.dumps(first.checks)


def test_exactly_the_plans_files_come_from_the_hub_at_its_commits(
    made: MadeKind, tmp_path: Path, hub: LocalHub
) -> None:
    kind = made("llama-lora")
    base = hub.add_commit(
        "acme/base", _read(kind.base_folder) | {"run.py": b"1", "model.bin": b"1"}
    )
    adapter = hub.add_commit(
        "acme/adapter",
        {f"deep/{name}": data for name, data in _read(kind.adapter_folder).items()}
        | {"deep/adapter_model.bin": b"1", "deep/evil.py": b"1"},
    )
    hub.add_commit("acme/adapter", {"deep/adapter_config.json": b"{}"})
    steps = list(kind.plan.steps)
    steps[0] = replace(steps_of(kind.plan).base, repo_id="acme/base", revision=base)
    steps[-1] = replace(
        steps_of(kind.plan).adapter, repo_id="acme/adapter", revision=adapter, subfolder="deep"
    )
    plan = replace(kind.plan, steps=tuple(steps))
    [proof] = prover(tmp_path, endpoint=hub.url).prove([plan])
    assert proof.outcome == "passed", proof.checks
    fetched = {path.name for path in (tmp_path / "cache").rglob("snapshots/*/**/*")}
    assert fetched >= {"config.json", "model.safetensors", "adapter_model.safetensors"}
    assert not fetched & {"run.py", "model.bin", "adapter_model.bin", "evil.py"}


def test_what_the_hub_refuses_is_an_error_of_ours(
    made: MadeKind, tmp_path: Path, hub: LocalHub
) -> None:
    [proof] = prover(tmp_path, endpoint=hub.url).prove([made("llama-lora").plan])
    assert proof.outcome == "error"
    assert error_of(proof)["code"] == "repository-not-found"


def _read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_proof_past_its_deadline_is_a_timeout_of_ours(made: MadeKind, tmp_path: Path) -> None:
    [proof] = prover(tmp_path, seconds=0.01).prove([on_disk(made("llama-lora"))])
    assert proof.outcome == "error"
    assert error_of(proof)["code"] == "proof-timeout"


def test_a_proof_that_cannot_fit_is_refused_with_both_numbers(
    made: MadeKind, tmp_path: Path
) -> None:
    """A base of holes that claims half a terabyte; nothing of it is read."""
    kind = made("llama-lora")
    base = tmp_path / "base"
    shutil.copytree(kind.base_folder, base)
    header = json.dumps(
        {"x": {"dtype": "F32", "shape": [1 << 37], "data_offsets": [0, 1 << 39]}}
    ).encode()
    with (base / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + (1 << 39))
    document = Bench().answer(question(kind, base_folder=str(base)))
    assert document["outcome"] == "error"
    assert document["error"]["code"] == "proof-out-of-memory"
    assert document["error"]["needed_bytes"] > 1 << 39 > document["error"]["available_bytes"] > 0
    assert document["checks"] == {}


def test_the_estimate_counts_the_base_the_adapter_and_the_resize(made: MadeKind) -> None:
    lora, grown = made("llama-lora"), made("llama-grown")
    small = estimate_need(steps_of(lora.plan), lora.base_folder, lora.adapter_folder)
    large = estimate_need(steps_of(grown.plan), grown.base_folder, grown.adapter_folder)
    weights = (lora.base_folder / "model.safetensors").stat().st_size
    assert weights * 0.9 < small.base <= weights
    assert large.base == small.base
    assert large.proof > small.proof


def test_a_missing_file_and_a_pickle_are_said_and_cost_one_proof(
    made: MadeKind, tmp_path: Path
) -> None:
    kind = made("llama-lora")
    pickled = copy_adapter(kind.adapter_folder, tmp_path / "pickled")
    weights_path(pickled).unlink()
    torch.save(dict(kind.tensors), pickled / "adapter_model.bin")
    base = tmp_path / "base"
    shutil.copytree(kind.base_folder, base)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    proofs = prover(tmp_path).prove(
        [
            on_disk(kind, adapter=pickled),
            on_disk(kind, base=base),
            on_disk(kind, adapter=tmp_path / "nowhere"),
            on_disk(kind),
        ]
    )
    assert [proof.outcome for proof in proofs] == ["error", "error", "error", "passed"]
    codes = [error_of(proof)["code"] for proof in proofs[:3]]
    assert codes == ["weights-pickle", "base-weights-pickle", "file-not-found"]


def test_a_device_that_is_not_there_is_an_error_of_ours(made: MadeKind) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    document = Bench().answer(question(made("llama-lora"), device="cuda"))
    assert document["outcome"] == "error"
    assert "CUDA" in document["error"]["message"]


def test_another_base_takes_the_place_of_the_loaded_one(made: MadeKind) -> None:
    bench = Bench()
    assert bench.answer(question(made("llama-lora")))["outcome"] == "passed"
    first = bench.base
    assert bench.answer(question(made("llama-grown")))["outcome"] == "passed"
    assert bench.base is first
    assert bench.answer(question(made("gpt2-lora")))["outcome"] == "passed"
    assert bench.base is not first


def test_a_link_out_of_the_folder_leads_nowhere(made: MadeKind, tmp_path: Path) -> None:
    if isolation() is not Isolation.BUBBLEWRAP:
        pytest.skip("bubblewrap is not at hand")
    kind = made("llama-lora")
    linked = copy_adapter(kind.adapter_folder, tmp_path / "linked")
    secret = tmp_path / "secret.safetensors"
    weights_path(linked).rename(secret)
    weights_path(linked).symlink_to(secret)
    [proof] = prover(tmp_path).prove([on_disk(kind, adapter=linked)])
    assert proof.outcome == "error"
    assert "secret" not in json.dumps(proof.checks)


@pytest.mark.parametrize(
    ("devices", "total", "spread"), [(1, 10, False), (2, 10, True), (2, 1000, False)]
)
def test_a_base_larger_than_one_device_goes_over_all(
    devices: int, total: int, spread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (total, total))
    assert spreads(Need(base=90, proof=10), torch.device("cuda")) is spread
    assert not spreads(Need(base=90, proof=10), torch.device("cpu"))
