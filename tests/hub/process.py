"""A local Hub in a process of its own, so that a measured client does not share its interpreter.

    with HubProcess("tests.data.build:populate", latency=0.03) as hub:
        ... hub.url ...
        print(hub.traffic())

`python -m tests.hub` is the program behind it: it prints its address as one line of JSON and
serves until its standard input is closed. Each line it reads is a question about the log.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.hub.quotas import Quotas
from tests.hub.server import LocalHub

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Traffic:
    """What was answered since the last reset: hops to the Hub, to the CDN, bytes of bodies, and
    the largest body from the CDN, where the weights and other large files are."""

    hub_requests: int
    cdn_requests: int
    hub_bytes: int
    cdn_bytes: int
    largest_from_cdn: int = 0


def measure_traffic(hub: LocalHub) -> Traffic:
    return Traffic(
        hub.log.count(host="hub"),
        hub.log.count(host="cdn"),
        hub.log.bytes_sent(host="hub"),
        hub.log.bytes_sent(host="cdn"),
        max((entry.bytes_sent for entry in hub.log.select(host="cdn")), default=0),
    )


class HubProcess:
    """Starts the program, asks it for its traffic, ends it."""

    def __init__(
        self,
        populate: str,
        *,
        latency: float = 0.0,
        api: int = 1_000_000,
        resolvers: int = 1_000_000,
    ) -> None:
        """`populate` names a function of one LocalHub, as `package.module:function`."""
        self._command = [sys.executable, "-m", "tests.hub", populate]
        self._command += ["--latency", str(latency), "--api", str(api)]
        self._command += ["--resolvers", str(resolvers)]
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> HubProcess:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            self.url = str(self._read()["url"])
        except RuntimeError:
            self._close()
            raise
        return self

    def traffic(self) -> Traffic:
        return Traffic(**self._ask("traffic"))

    def reset(self) -> None:
        """Forget what was asked so far."""
        self._ask("reset")

    def _ask(self, question: str) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the local Hub ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._process is not None:
            # Closing its standard input asks it to end.
            self._process.communicate(timeout=15)
            self._process = None


def serve(arguments: list[str] | None = None) -> None:
    """The program: fill a Hub, serve it, answer questions until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=__doc__)
    parser.add_argument("populate", nargs="?", default="tests.data.build:populate")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--api", type=int, default=1_000_000, help="API requests per window")
    parser.add_argument("--resolvers", type=int, default=1_000_000, help="file requests per window")
    given = parser.parse_args(arguments)
    quotas = Quotas(api=given.api, resolvers=given.resolvers)
    with LocalHub(latency=given.latency, quotas=quotas, port=given.port) as hub:
        _find(given.populate)(hub)
        print(json.dumps({"url": hub.url}), flush=True)
        for line in sys.stdin:
            if line.strip() == "reset":
                hub.log.reset()
            print(json.dumps(asdict(measure_traffic(hub))), flush=True)


def _find(name: str) -> Callable[[LocalHub], object]:
    module, _, function = name.partition(":")
    found: Callable[[LocalHub], object] = getattr(importlib.import_module(module), function)
    return found
