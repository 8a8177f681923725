"""Rehearsals in a warm child: the canonical 7B case and an 80-layer shape, and its memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.plan import compute_plan
from registry.domain.steps import Plan
from registry.sandbox import choose_isolation
from tests.bench.figures import Figure
from tests.bench.pairs import read_pair
from tests.data.adapters import Lora, lora_adapter
from tests.data.bases import Base, base_repository, llama_2_7b, llama_70b
from tests.data.build import canonical_adapter
from tests.data.weights import Files
from tests.hub.process import ROOT
from workers.rehearse import Rehearser

SEVEN = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RUNS = 5


def run() -> list[Figure]:
    """In a process of its own: what the bench has imported is no part of it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.rehearsing"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    measured = json.loads(done.stdout.splitlines()[-1])
    peak = measured["peak"]
    return [
        *_figures("7B, canonical, rank 1024", measured["seven"], 0.8),
        *_figures("70B, 80 layers, rank 16", measured["seventy"], 1.5),
        Figure("peak memory of the child", f"{peak / 1e6:.0f} MB", "at most 450", peak <= 450e6),
    ]


def main() -> None:
    with Rehearser(choose_isolation()) as rehearser:
        canonical = _facts(llama_2_7b(), canonical_adapter(None))
        base = llama_70b()
        lora = Lora(rank=16, targets=SEVEN, input_rows=33004, output_rows=33004, dtype="BF16")
        large = _facts(base, lora_adapter(base, lora))
        seven = _measure(rehearser, *canonical)
        seventy = _measure(rehearser, *large)
        usage = rehearser.usage()
    assert usage is not None
    print(json.dumps({"seven": seven, "seventy": seventy, "peak": usage.peak_bytes}))


def _facts(base: Base, files: Files) -> tuple[AdapterFacts, BaseFacts, Plan]:
    adapter, base_facts = read_pair(files, base_repository(base))
    plan = compute_plan(adapter, base_facts).plan
    assert plan is not None
    return adapter, base_facts, plan


def _measure(
    rehearser: Rehearser, adapter: AdapterFacts, base: BaseFacts, plan: Plan
) -> dict[str, float]:
    """Medians of five. The naive load is asked for alone; along the plan is what both take more."""
    rehearser.rehearse(adapter, base, plan)
    naive, both = [], []
    for _ in range(RUNS):
        started = time.perf_counter()
        rehearser.rehearse(adapter, base, None)
        naive.append(time.perf_counter() - started)
        started = time.perf_counter()
        rehearsal = rehearser.rehearse(adapter, base, plan)
        both.append(time.perf_counter() - started)
        assert rehearsal.naive.outcome == "raises", rehearsal.naive
        assert rehearsal.along_plan is not None
        assert rehearsal.along_plan.outcome == "landed", rehearsal.along_plan
    first = statistics.median(naive)
    return {"naive": first, "along the plan": statistics.median(both) - first}


def _figures(name: str, measured: dict[str, float], limit: float) -> list[Figure]:
    return [
        Figure(
            f"{name}: {load}, median of {RUNS}",
            f"{seconds:.2f} s",
            f"at most {limit} s",
            seconds <= limit,
        )
        for load, seconds in measured.items()
    ]


if __name__ == "__main__":
    main()
