"""The proof suite's core on a device: what passes on the CPU passes, what is spoiled fails."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file, save_file

from registry.proving import record_proof
from tests.data.kinds import copy_adapter, weights_path
from tests.db.examples import record
from tests.workers.test_prove import GATES, on_disk, prover

pytestmark = pytest.mark.gpu
KINDS = ("llama-lora", "llama-grown", "llama-lora-dora", "gpt2-lora")


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_adapter_passes_every_gate_on_the_device(kind, made, tmp_path):
    (proof,) = prover(tmp_path, device="cuda").prove([on_disk(made(kind))])
    assert proof.outcome == "passed", proof.checks
    assert proof.device == "cuda"
    assert {proof.checks[gate]["outcome"] for gate in GATES} <= {"passed", "not-applicable"}
    assert proof.environment["cuda"]
    assert proof.checks["peak_memory_bytes"] > 0
    assert record_proof(record(), proof, accepted=("cuda",)).proofs == (proof,)


def test_values_that_are_not_finite_fail_on_the_device(made, tmp_path):
    sound = made("llama-lora")
    folder = copy_adapter(sound.adapter_folder, tmp_path / "spoiled")
    tensors = load_file(weights_path(folder))
    tensors[sorted(tensors)[0]].fill_(float("nan"))
    save_file(tensors, weights_path(folder))
    (proof,) = prover(tmp_path, device="cuda").prove([on_disk(sound, adapter=folder)])
    assert proof.outcome == "failed"
    assert proof.checks["finite"]["outcome"] == "failed"
