"""What a person waits for at the terminal, and what a plan costs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from registry.domain.plan import compute_plan
from registry.domain.tensors import LENGTH_BYTES, parse_safetensors_header
from tests.bench.figures import Figure
from tests.bench.pairs import read_pair
from tests.bench.repositories import BASE, TARGETS
from tests.data.adapters import Lora, lora_adapter
from tests.data.bases import load_base
from tests.data.corpus import base_files
from tests.data.weights import safetensors_file

LOADPLAN = Path(sys.executable).parent / "loadplan"
DONT_WRITE = "PYTHONDONTWRITEBYTECODE"


def run() -> list[Figure]:
    return [_help(), *_header(), _plan()]


def _milliseconds(work: Callable[[], object], times: int) -> list[float]:
    """Of each of so many runs, after one that warms up."""
    measured = []
    for _ in range(times + 1):
        started = time.perf_counter()
        work()
        measured.append((time.perf_counter() - started) * 1000)
    return measured[1:]


def _help() -> Figure:
    # An installed package has its bytecode beside it; the first run writes what is missing.
    kept = {name: value for name, value in os.environ.items() if name != DONT_WRITE}
    command = [LOADPLAN, "--help"]
    measured = _milliseconds(
        lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=kept), 7
    )
    median = statistics.median(measured) / 1000
    return Figure("loadplan --help, median of 7", f"{median:.2f} s", "at most 0.3 s", median <= 0.3)


def _header() -> list[Figure]:
    """A header of 450 tensors parsed and checked, beside its JSON alone."""
    names = (f"layers.{number // 14}.self_attn.q_proj.lora_{number}" for number in range(450))
    tensors = {f"base_model.model.model.{name}.weight": ("BF16", (8, 4096)) for name in names}
    file = safetensors_file(tensors)
    text = file.head[LENGTH_BYTES:]
    ours = min(_milliseconds(lambda: parse_safetensors_header(file.head, file.size), 20))
    plain = min(_milliseconds(lambda: json.loads(text), 20))
    return [
        Figure("a header of 450 tensors, best of 20", f"{ours:.2f} ms", "under 6 ms", ours < 6),
        Figure("… against its JSON alone", f"{ours / plain:.1f} times"),
    ]


def _plan() -> Figure:
    base = load_base(BASE, None)
    lora = Lora(rank=8, targets=TARGETS, input_rows=33004, output_rows=33004, dtype="BF16")
    adapter, facts = read_pair(lora_adapter(base, lora), base_files(BASE, None))
    assert adapter.weights is not None
    assert adapter.weights.layout is not None
    count = len(adapter.weights.layout)
    median = statistics.median(_milliseconds(lambda: compute_plan(adapter, facts), 51))
    return Figure(
        f"compute_plan, {count} tensors, median of 51",
        f"{median:.2f} ms",
        "at most 2 ms",
        median <= 2.0,
    )
