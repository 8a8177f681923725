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
from registry.domain.tensors import parse_safetensors_header
from tests.bench.figures import Figure
from tests.bench.pairs import read_pair
from tests.bench.repositories import BASE, TARGETS
from tests.data.adapters import Lora, lora_adapter
from tests.data.bases import load_base
from tests.data.corpus import base_files

LOADPLAN = Path(sys.executable).parent / "loadplan"
DONT_WRITE = "PYTHONDONTWRITEBYTECODE"


def run() -> list[Figure]:
    return [_help(), *_header(), _plan()]


def _help() -> Figure:
    seconds = []
    # An installed package has its bytecode beside it; the first run writes what is missing.
    kept = {name: value for name, value in os.environ.items() if name != DONT_WRITE}
    for _ in range(8):
        started = time.perf_counter()
        subprocess.run([LOADPLAN, "--help"], stdout=subprocess.DEVNULL, check=True, env=kept)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds[1:])
    return Figure("loadplan --help, median of 7", f"{median:.2f} s", "at most 0.3 s", median <= 0.3)


def _header() -> list[Figure]:
    """A header of 450 tensors parsed and checked, beside its JSON alone."""
    size = 8 * 4096 * 2
    entries = {
        f"base_model.model.model.layers.{number // 14}.self_attn.q_proj.lora_{number}.weight": {
            "dtype": "BF16",
            "shape": [8, 4096],
            "data_offsets": [number * size, (number + 1) * size],
        }
        for number in range(450)
    }
    text = json.dumps(entries).encode()
    data = len(text).to_bytes(8, "little") + text
    whole = len(data) + len(entries) * size
    ours = _fastest(lambda: parse_safetensors_header(data, whole))
    plain = _fastest(lambda: json.loads(text))
    met = ours < 6
    return [
        Figure("a header of 450 tensors, best of 20", f"{ours:.2f} ms", "under 6 ms", met),
        Figure("… against its JSON alone", f"{ours / plain:.1f} times"),
    ]


def _fastest(work: Callable[[], object]) -> float:
    """Milliseconds."""
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds) * 1000


def _plan() -> Figure:
    base = load_base(BASE, None)
    lora = Lora(rank=8, targets=TARGETS, input_rows=33004, output_rows=33004, dtype="BF16")
    adapter, facts = read_pair(lora_adapter(base, lora), base_files(BASE, None))
    assert adapter.weights is not None
    assert adapter.weights.layout is not None
    count = len(adapter.weights.layout)
    compute_plan(adapter, facts)
    milliseconds = []
    for _ in range(51):
        started = time.perf_counter()
        compute_plan(adapter, facts)
        milliseconds.append((time.perf_counter() - started) * 1000)
    median = statistics.median(milliseconds)
    return Figure(
        f"compute_plan, {count} tensors, median of 51",
        f"{median:.2f} ms",
        "at most 2 ms",
        median <= 2.0,
    )
