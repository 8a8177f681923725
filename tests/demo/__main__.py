"""Runs the real command against the demo's Hub and shows what a person would see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.demo.repositories import (
    LOCAL_BASE,
    NAMED_BASE,
    REFERENCES,
    TINY_ROWS,
    TINY_TWIN,
    TOKEN,
)
from tests.hub.process import HubProcess

LOADPLAN = Path(sys.executable).parent / "loadplan"
CANONICAL = REFERENCES[0]
FRACTION = 0.210341
console = Console(width=110, highlight=False)


class Demo:
    """The command with the demo's Hub, database and home, and nothing of the caller's."""

    def __init__(self, hub: HubProcess, home: Path) -> None:
        self.hub = hub
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HF_HOME": str(home / "hub"),
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "LOADPLAN_DATABASE_URL": f"sqlite:///{home / 'loadplan.db'}",
            "COLUMNS": "110",
        }

    def show(self, *arguments: str, **settings: str) -> int:
        """Run it as a person does, and let them see it."""
        given = " ".join(f"{name}={value}" for name, value in settings.items())
        console.rule(f"{given} loadplan {' '.join(arguments)}".strip(), align="left")
        sys.stdout.flush()
        return subprocess.run([LOADPLAN, *arguments], env=self._environment | settings).returncode

    def ask(self, *arguments: str, **settings: str) -> Any:
        """Run it as a program does."""
        done = subprocess.run(
            [LOADPLAN, *arguments, "--json"],
            env=self._environment | settings,
            capture_output=True,
            text=True,
        )
        if not done.stdout:
            raise SystemExit(f"loadplan {' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout)


def show_all(demo: Demo) -> None:
    """Every adapter: its status, its plan in a word, its codes, and what reading it cost."""
    table = Table(title="Recorded from headers alone", title_justify="left", box=None)
    for column in ("adapter", "status", "resize to", "codes", "requests", "bytes"):
        table.add_column(column, overflow="fold")
    for reference in REFERENCES:
        demo.hub.reset()
        named = ["--base", NAMED_BASE] if reference == LOCAL_BASE else []
        record = demo.ask("check", reference, "--require", "planned", *named)
        traffic = demo.hub.traffic()
        steps = record["plan"]["steps"] if record["plan"] else []
        rows = [step["rows"] for step in steps if step["op"] == "resize_embeddings"]
        codes = sorted({issue["code"] for issue in record["issues"]})
        table.add_row(
            reference,
            record["status"],
            str(rows[0]) if rows else "–",
            ", ".join(codes),
            f"{traffic.hub_requests}+{traffic.cdn_requests}",
            f"{traffic.hub_bytes + traffic.cdn_bytes:,}",
        )
        if traffic.largest_from_cdn > 16 << 20:
            raise SystemExit(f"{reference}: more than a header was read.")
        if reference == CANONICAL:
            expect(rows == [33004], f"the canonical plan resizes to {rows}")
            fraction = record["facts"]["trainable_fraction"]
            expect(fraction == FRACTION, f"the trainable fraction is {fraction}")
    console.print(table)
    console.print(
        "requests: answers of the Hub's host + ranges of files; a base, its tokenizer included, "
        "is read with the first adapter that names it. No weights were read.\n"
    )


def prove_the_twin(demo: Demo) -> None:
    """The same shapes in small, with real weights: proven, and what the policy makes of it."""
    demo.show("check", TINY_TWIN, "--prove", "--device", "cpu", "--require", "rehearsed")
    record = demo.ask("check", TINY_TWIN, "--require", "rehearsed")
    expect(record["status"] == "rehearsed", f"under the default policy it is {record['status']}")
    expect(len(record["proofs"]) == 1, f"it has {len(record['proofs'])} proofs")
    console.print(
        "The default policy accepts CUDA alone: the proof is recorded, the status stays "
        "[bold]rehearsed[/bold].\n"
    )
    policy = {"LOADPLAN_PROOF_DEVICES": "cuda,cpu"}
    code = demo.show("check", TINY_TWIN, "--prove", "--device", "cpu", **policy)
    record = demo.ask("check", TINY_TWIN, "--require", "compatible", **policy)
    expect(record["status"] == "compatible" and code == 0, f"it is {record['status']}")
    rows = record["plan"]["steps"][2]["rows"]
    expect(rows == TINY_ROWS, f"it was resized to {rows} rows")
    show_checks(record["proofs"][0]["checks"])


def show_checks(checks: dict[str, Any]) -> None:
    table = Table(title="Gates and measurements", title_justify="left", box=None)
    table.add_column("check")
    table.add_column("outcome")
    table.add_column("figure", overflow="fold")
    for name, check in checks.items():
        outcome = check.get("outcome", "measured") if isinstance(check, dict) else "measured"
        figure = check.get("figure") if isinstance(check, dict) and "figure" in check else check
        table.add_row(name, str(outcome), cut(json.dumps(figure)))
    console.print(table)


def cut(text: str, most: int = 160) -> str:
    return text if len(text) <= most else text[:most] + "…"


def expect(true: bool, otherwise: str) -> None:
    if not true:
        raise SystemExit(f"The demo did not go as it should: {otherwise}.")


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="loadplan-demo-") as folder,
        HubProcess("tests.demo.repositories:populate") as hub,
    ):
        demo = Demo(hub, Path(folder))
        show_all(demo)
        expect(demo.show("check", CANONICAL) == 0, "the canonical adapter was not rehearsed")
        prove_the_twin(demo)
        demo.show("list")


main()
