"""Twenty adapters of one base: the base loaded once, beside a child and a load for each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from registry.domain.record import Proof
from registry.domain.refs import Digest
from registry.domain.steps import LoadAdapter, LoadBase, Plan
from registry.sandbox import Isolation, choose_isolation
from tests.bench.figures import Figure
from tests.data.tiny import tiny_adapter, tiny_base
from tests.data.weights import write_files
from workers.prove import Prover

COUNT = 20


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = write_files(tiny_base(), folder / "base")
        plans = [_plan(base, folder / f"adapter-{number}") for number in range(COUNT)]
        isolation = choose_isolation()
        started = time.perf_counter()
        alone = [proof for plan in plans for proof in _prove(isolation, folder, [plan])]
        apart = time.perf_counter() - started
        started = time.perf_counter()
        shared = _prove(isolation, folder, plans)
        together = time.perf_counter() - started
    outcomes = [[proof.outcome for proof in proofs] for proofs in (alone, shared)]
    if outcomes[0] != outcomes[1] or set(outcomes[0]) != {"passed"}:
        raise SystemExit(f"The two ways do not agree: {outcomes}")
    ratio = apart / together
    return [
        Figure(f"{COUNT} proofs, a load of the base for each", f"{apart:.1f} s"),
        Figure(f"{COUNT} proofs, the base loaded once", f"{together:.1f} s"),
        Figure("ratio, equal outcomes", f"{ratio:.1f}x", "at least 1.8", ratio >= 1.8),
    ]


def _plan(base: Path, folder: Path) -> Plan:
    number = int(folder.name.rpartition("-")[2])
    write_files(tiny_adapter("bench/base", lora={"r": 2 + number % 7}), folder)
    steps = (
        LoadBase("AutoModelForCausalLM", str(base), "", {"dtype": "float32"}),
        LoadAdapter(str(folder), "", None),
    )
    return Plan(Digest("sha256:" + f"{number:064x}"), steps)


def _prove(isolation: Isolation, folder: Path, plans: Sequence[Plan]) -> list[Proof]:
    return Prover(isolation, folder / "cache").prove(plans)
