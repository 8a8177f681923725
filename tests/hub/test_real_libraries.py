"""The real transformers and PEFT, in a process of their own, load from the local Hub."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.data.tiny import build_tiny, tiny_adapter, tiny_base
from tests.hub import LocalHub

ROOT = Path(__file__).resolve().parents[2]
BASE, SAFE, PICKLED = "acme/tiny", "acme/tiny-lora", "acme/tiny-lora-bin"


@pytest.fixture(scope="module")
def tiny_hub(shared_hub: LocalHub) -> LocalHub:
    shared_hub.add_commit(BASE, tiny_base())
    shared_hub.add_commit(SAFE, tiny_adapter(BASE))
    shared_hub.add_commit(PICKLED, tiny_adapter(BASE, safe=False))
    return shared_hub


@pytest.fixture(scope="module")
def found(tiny_hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What the libraries read, in one process for all the tests."""
    tiny_hub.log.reset()
    environment = {
        **os.environ,
        "HF_ENDPOINT": tiny_hub.url,
        "HF_HOME": str(tmp_path_factory.mktemp("hf")),
    }
    command = [sys.executable, "-m", "tests.hub.probe_real_libraries", BASE, SAFE, PICKLED]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_auto_tokenizer_loads_from_it(found: dict[str, dict]) -> None:
    assert found["length"] == 320
    assert found["text"]


@pytest.mark.parametrize("adapter", [SAFE, PICKLED])
def test_a_model_and_its_adapter_load_from_it(found: dict[str, dict], adapter: str) -> None:
    with torch.no_grad():
        expected = build_tiny()(torch.tensor([[1, 5, 7]])).logits.sum()
    assert found[adapter]["base"] == pytest.approx(float(expected), abs=1e-4)
    assert abs(found[adapter]["adapted"] - found[adapter]["base"]) > 1e-3
    assert found[adapter]["rank"] == 4


def test_both_formats_of_one_adapter_are_the_same_model(found: dict[str, dict]) -> None:
    assert found[SAFE]["adapted"] == found[PICKLED]["adapted"]


def test_the_weights_came_from_the_cdn(found: dict[str, dict], tiny_hub: LocalHub) -> None:
    assert found
    assert tiny_hub.log.count(host="cdn", status=200) >= 3


def test_the_tiny_model_is_left_as_it_was() -> None:
    """Adapters are trained on a copy, so that every test meets the same base."""
    before = copy.deepcopy(build_tiny().state_dict())
    tiny_adapter(BASE, rows=330)
    after = build_tiny().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
