"""What a person waits for at the terminal, and what a plan costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from registry.domain.plan import compute_plan
from registry.domain.refs import Reference, Source
from registry.hub import LocalReader
from tests.bench.figures import Figure
from tests.bench.repositories import BASE, TARGETS
from tests.data.adapters import Lora, lora_adapter
from tests.data.bases import load_base
from tests.data.corpus import base_files
from tests.data.weights import write_files

LOADPLAN = Path(sys.executable).parent / "loadplan"


def run() -> list[Figure]:
    return [_help(), _plan()]


def _help() -> Figure:
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([LOADPLAN, "--help"], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    return Figure("loadplan --help, median of 7", f"{median:.2f} s", "at most 0.3 s", median <= 0.3)


def _plan() -> Figure:
    import asyncio

    base = load_base(BASE, None)
    lora = Lora(rank=8, targets=TARGETS, input_rows=33004, output_rows=33004, dtype="BF16")
    with tempfile.TemporaryDirectory() as folder:
        adapter_folder, base_folder = Path(folder, "adapter"), Path(folder, "base")
        write_files(lora_adapter(base, lora), adapter_folder)
        write_files(base_files(BASE, None), base_folder)
        reader = LocalReader()
        adapter = asyncio.run(
            reader.read_adapter(Reference(str(adapter_folder), source=Source.LOCAL))
        )
        facts = asyncio.run(reader.read_base(Reference(str(base_folder), source=Source.LOCAL)))
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
