"""Facts of 200 adapters, committed, beside the plain way that only reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure
from tests.bench.repositories import COUNT, LAYOUTS, TOKENIZERS, WITH_TOKENIZER
from tests.hub.process import ROOT, HubProcess, Traffic

LATENCY = 0.030
KIB64 = 64 << 10
OURS = (sys.executable, "-m", "tests.bench.reading", "ours")


def run() -> list[Figure]:
    with (
        HubProcess("tests.bench.repositories:populate", latency=LATENCY) as hub,
        tempfile.TemporaryDirectory() as folder,
    ):
        plain = _read_plainly(hub, Path(folder))
        ours, without, wordy = _scan_ours(hub, Path(folder))
    if plain["digest"] != ours["digest"] or ours["count"] != COUNT:
        raise SystemExit("The two ways of reading do not give the same results.")
    ratio = plain["seconds"] / ours["seconds"]
    hops, ranges = without.hub_requests / COUNT, without.cdn_requests / COUNT
    words = wordy.hub_requests / WITH_TOKENIZER
    return [
        Figure("plain way, 200 adapters read", f"{plain['seconds']:.1f} s"),
        Figure(
            f"ours, read, planned and committed ({LAYOUTS} layouts)", f"{ours['seconds']:.2f} s"
        ),
        Figure("ratio, equal results", f"{ratio:.1f}x", "at least 25, aim 40", ratio >= 25),
        Figure("answers of the Hub's host per adapter", f"{hops:.2f}", "at most 4", hops <= 4),
        Figure("ranges per adapter", f"{ranges:.2f}", "1", ranges <= 1),
        Figure(
            "largest range",
            f"{without.largest_from_cdn:,} bytes",
            "at most 64 KiB",
            without.largest_from_cdn <= KIB64,
        ),
        Figure("bytes per adapter", f"{(without.hub_bytes + without.cdn_bytes) // COUNT:,}"),
        Figure(
            f"with tokenizer ({TOKENIZERS} contents), answers per adapter",
            f"{words:.2f}",
            "at most 7",
            words <= 7,
        ),
        Figure(
            "peak memory", f"{ours['peak'] / 2**20:.0f} MiB", "under 300", ours["peak"] < 300 << 20
        ),
    ]


def _read_plainly(hub: HubProcess, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.reading", "plain", hub.url],
        cwd=ROOT,
        env=_environment(hub, folder),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _scan_ours(hub: HubProcess, folder: Path) -> tuple[dict[str, Any], Traffic, Traffic]:
    process = subprocess.Popen(
        [*OURS, hub.url, f"sqlite:///{folder / 'bench.db'}"],
        cwd=ROOT,
        env=_environment(hub, folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def go_on() -> None:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

    process.stdout.readline()
    hub.reset()
    go_on()
    process.stdout.readline()
    without = hub.traffic()
    hub.reset()
    go_on()
    answer = json.loads(process.stdout.readline())
    wordy = hub.traffic()
    process.wait(30)
    return dict(answer), without, wordy


def _environment(hub: HubProcess, folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
