"""What the fixtures hold, with torch, transformers and PEFT as the judges."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoTokenizer

from tests.data import shapes
from tests.data.adapters import DEFAULTS, Lora, lora_config, lora_tensors
from tests.data.bases import Base
from tests.data.pickles import hostile_pickles, legacy_pickle, zip_pickle, zip_pickle_hole
from tests.data.tiny import ROWS, WIDTH, build_tiny, tiny_adapter
from tests.data.tokenizers import slow_tokenizer_files, tokenizer_files
from tests.data.weights import safetensors_header, write_files

TENSORS = {"a.lora_A.weight": ("F32", (4, 8)), "b": ("BF16", (3,)), "c": ("F16", (2, 1, 5))}
LLAMA = Base(
    "acme/tiny",
    {"model_type": "llama"},
    shapes.llama(layers=2, hidden=WIDTH, intermediate=64, vocabulary=ROWS, keys=16),
)
QWEN = Base(
    "acme/tiny-qwen",
    {"model_type": "qwen2"},
    shapes.llama(
        layers=2, hidden=WIDTH, intermediate=64, vocabulary=ROWS, keys=16, attention_bias=True
    ),
)
GPT2 = Base(
    "acme/tiny-gpt2",
    {"model_type": "gpt2"},
    shapes.gpt2(layers=2, hidden=WIDTH, vocabulary=ROWS, positions=64),
)


@pytest.mark.parametrize("base", [LLAMA, QWEN, GPT2], ids=["llama", "qwen2", "gpt2"])
def test_the_shapes_of_a_base_are_those_of_the_built_model(base: Base) -> None:
    model = build_tiny(str(base.config["model_type"]))
    assert base.shapes == {name: tuple(p.shape) for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("base", "lora", "arguments"),
    [
        (LLAMA, Lora(rank=4), {}),
        (
            GPT2,
            Lora(rank=4, targets=("c_attn", "c_proj")),
            {"target_modules": ["c_attn", "c_proj"]},
        ),
        (LLAMA, Lora(rank=4, dora=True), {"use_dora": True}),
        (QWEN, Lora(rank=4, lora_bias=True), {"lora_bias": True}),
        (LLAMA, Lora(rank=4, tokens=(1, 300)), {"trainable_token_indices": [1, 300]}),
        (
            LLAMA,
            Lora(rank=4, input_rows=330, output_rows=330),
            {"modules_to_save": ["embed_tokens", "lm_head"]},
        ),
        (
            LLAMA,
            Lora(rank=4, targets=("q_proj", "embed_tokens", "lm_head"), base_rows=330),
            {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
        ),
        (GPT2, Lora(rank=4, targets=("c_attn",), bias="all"), {"bias": "all"}),
        (QWEN, Lora(rank=4, bias="lora_only"), {"bias": "lora_only"}),
    ],
    ids=["plain", "conv1d", "dora", "b-bias", "tokens", "saved", "adapted", "all", "lora_only"],
)
def test_keys_and_shapes_are_those_that_peft_saves(
    base: Base, lora: Lora, arguments: dict, tmp_path: Path
) -> None:
    rows = lora.input_rows or lora.base_rows
    saved = tiny_adapter(base.repo_id, str(base.config["model_type"]), rows=rows, lora=arguments)
    write_files(saved, tmp_path)
    with safe_open(tmp_path / "adapter_model.safetensors", framework="pt") as reader:
        names = reader.keys()
        real = {name: tuple(reader.get_slice(name).get_shape()) for name in names}
    assert {name: shape for name, (_, shape) in lora_tensors(base, lora).items()} == real
    header = safetensors_header(lora_tensors(base, lora))
    assert saved["adapter_model.safetensors"].startswith(header)
    config = json.loads(saved["adapter_config.json"])
    assert set(config) == set(DEFAULTS)
    ours = lora_config(base, lora)
    differing = {key for key in config if _sorted(config[key]) != _sorted(ours[key])}
    assert differing <= {"base_model_name_or_path", "lora_alpha", "task_type"}


def _sorted(value: object) -> object:
    return sorted(value, key=str) if isinstance(value, list) else value


@pytest.mark.parametrize("write", [zip_pickle, legacy_pickle], ids=["zip", "legacy"])
def test_torch_loads_a_pickle_written_without_it(write) -> None:
    loaded = torch.load(io.BytesIO(write(TENSORS)), weights_only=True)
    assert {name: tuple(t.shape) for name, t in loaded.items()} == {
        name: shape for name, (_, shape) in TENSORS.items()
    }
    assert [str(t.dtype) for t in loaded.values()] == [
        "torch.float32",
        "torch.bfloat16",
        "torch.float16",
    ]
    assert not any(t.any() for t in loaded.values())


def test_the_head_of_a_pickle_of_gigabytes_is_a_whole_program() -> None:
    tensors = {f"t{i}": ("F16", (4096, 4096)) for i in range(100)}
    hole = zip_pickle_hole(tensors)
    assert hole.size > 3_000_000_000
    program = hole.head[30 + len(b"archive/data.pkl") :]
    names = [arg for op, arg, _ in pickletools.genops(program) if op.name == "BINUNICODE"]
    assert set(tensors) <= set(names)


def test_the_hostile_pickles_would_run_their_code(tmp_path: Path) -> None:
    """Otherwise a reader that refuses them would prove nothing."""
    marker = tmp_path / "marker"
    ran = set()
    for name, body in hostile_pickles(marker).items():
        if not name.startswith(("runs a", "evaluates", "names a")):
            continue
        program = body
        if zipfile.is_zipfile(io.BytesIO(body)):
            program = zipfile.ZipFile(io.BytesIO(body)).read("archive/data.pkl")
        stream = io.BytesIO(program)
        marker.unlink(missing_ok=True)
        while not marker.exists() and stream.tell() < len(program):
            pickle.load(stream)
        ran |= {name} if marker.exists() else set()
    assert len(ran) == 6


def test_torch_itself_refuses_the_hostile_pickles_that_run_code(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for name, body in hostile_pickles(marker).items():
        if name.startswith(("runs a", "evaluates", "names a", "reaches", "loads", "sets", "takes")):
            with pytest.raises((pickle.UnpicklingError, RuntimeError, EOFError)):
                torch.load(io.BytesIO(body), weights_only=True)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("files", "length"),
    [
        (tokenizer_files(320), 320),
        (tokenizer_files(320, style="transformers-4"), 320),
        (tokenizer_files(33004, added=("term", "<pad>"), pad="<pad>"), 33004),
        (tokenizer_files(330, added=("<pad>",), pad="<pad>", style="transformers-4"), 330),
        # The padding token stands in tokenizer_config.json alone: loading adds it.
        (tokenizer_files(320, pad="[PAD]"), 321),
        (tokenizer_files(320, pad="[PAD]", style="transformers-4"), 321),
        (slow_tokenizer_files(400, ("<|endoftext|>", "<|im_start|>")), 402),
    ],
    ids=["5", "4", "5-added", "4-added", "5-pad", "4-pad", "slow"],
)
def test_transformers_counts_the_tokens_alike(files, length: int, tmp_path: Path) -> None:
    write_files(files, tmp_path)
    if "tokenizer.json" not in files:
        (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == length
