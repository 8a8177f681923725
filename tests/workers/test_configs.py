"""The base's config: read as transformers reads it, but for what would fetch code."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from registry.errors import ConfigInvalid, FileNotFound, InvalidRequest
from registry.loading import load_adapter
from registry.loading.base import load_base
from registry.loading.configs import make_config, read_config_file
from registry.loading.steps import steps_of
from tests.data.kinds import Made

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 64,
}
KERNEL = "acme/evil-kernel"
WISHES = {
    "attention": {"_attn_implementation": KERNEL},
    "attention, public name": {"attn_implementation": KERNEL},
    "attention by part": {"attn_implementation": {"": KERNEL, "text_config": KERNEL}},
    "attention, one function": {"_attn_implementation": f"{KERNEL}:forward"},
    "attention behind a prefix": {"_attn_implementation": f"paged|{KERNEL}@main"},
    "attention of an absent package": {"_attn_implementation": "flash_attention_2"},
    "attention as stored inside": {"_attn_implementation_internal": KERNEL},
    "experts": {"_experts_implementation": KERNEL},
    "experts, public name": {"experts_implementation": KERNEL},
}


def changed(folder: Path, to: Path, members: dict[str, Any]) -> Path:
    shutil.copytree(folder, to)
    path = to / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | members))
    return to


@pytest.mark.parametrize("name", WISHES)
def test_a_wish_for_code_from_the_hub_is_left_out(name: str) -> None:
    for raw in (LLAMA | WISHES[name], {"model_type": "llava", "text_config": LLAMA | WISHES[name]}):
        config = make_config(raw)
        for part in (config, config.get_text_config()):
            assert part._attn_implementation is None
            assert part._experts_implementation is None


@pytest.mark.parametrize("name", WISHES)
def test_a_load_is_the_same_with_such_a_wish(
    name: str, made: Callable[[str], Made], tmp_path: Path
) -> None:
    kind = made("mixtral-lora")
    folder = changed(kind.base_folder, tmp_path / "base", WISHES[name])
    plain, wished = (
        load_adapter(kind.plan, base_folder=each, adapter_folder=kind.adapter_folder)[0]
        for each in (kind.base_folder, folder)
    )
    assert wished.config._attn_implementation == plain.config._attn_implementation == "sdpa"
    assert wished.config._experts_implementation == plain.config._experts_implementation
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    with torch.no_grad():
        assert torch.equal(wished(ids)[0], plain(ids)[0])


def test_infinities_at_any_depth_are_numbers() -> None:
    tagged = {"__float__": "Infinity"}
    raw = LLAMA | {
        "rms_norm_eps": {"__float__": "-Infinity"},
        "limits": [0.0, tagged],
        "nested": {"limit": {"__float__": "NaN"}, "text": {"__float__": "nan"}},
    }
    config = make_config(raw)
    assert config.rms_norm_eps == -math.inf
    assert config.limits == [0.0, math.inf]
    assert math.isnan(config.nested["limit"])
    assert config.nested["text"] == {"__float__": "nan"}
    assert raw["limits"] == [0.0, tagged]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"rms_norm_eps": math.inf, "nested": {"limit": -math.inf}},
        {"id2label": {"0": "no", "1": "maybe", "2": "yes"}},
        {"model_type": "mistral"},
        {"model_type": "mistral", "layer_types": ["sliding_attention"], "sliding_window": 8},
        {"auto_map": {"AutoConfig": "acme/evil--configuration_evil.EvilConfig"}},
    ],
)
@pytest.mark.parametrize("labels", [None, 3, 5])
def test_otherwise_it_is_what_the_library_reads(
    members: dict[str, Any], labels: int | None, tmp_path: Path
) -> None:
    # The library's own writer tags infinities.
    saved = AutoConfig.for_model(**(LLAMA | members))
    (tmp_path / "config.json").write_text(saved.to_json_string(use_diff=False))
    keywords = {} if labels is None else {"num_labels": labels}
    theirs = AutoConfig.from_pretrained(tmp_path, trust_remote_code=False, **keywords)
    ours = read_config_file(tmp_path, labels)
    assert type(ours) is type(theirs)
    expected = theirs.to_dict()
    assert ours.to_dict() == {k: v for k, v in expected.items() if k != "auto_map"}


def test_a_config_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFound):
        read_config_file(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ConfigInvalid):
        read_config_file(tmp_path)
    for kind in ("../../evil", None, 7):
        with pytest.raises(InvalidRequest):
            make_config(LLAMA | {"model_type": kind})


def test_a_config_that_points_to_another_file_is_read_itself(
    made: Callable[[str], Made], tmp_path: Path
) -> None:
    kind = made("llama-lora")
    folder = changed(
        kind.base_folder, tmp_path / "base", {"configuration_files": ["config.4.0.0.json"]}
    )
    (folder / "config.4.0.0.json").write_text(json.dumps(LLAMA | {"vocab_size": 7}))
    base, _ = load_base(steps_of(kind.plan).base, folder)
    assert base.config.vocab_size != 7
