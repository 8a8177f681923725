"""`loadplan serve` in a process of its own, with the webhook's secret set."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2

from registry.db.session import Database, open_database
from tests.chaos.harness import free_port
from tests.hub import LocalHub

_SECRET = "told-to-the-hub"
_PATIENCE = 120.0


@contextlib.contextmanager
def served(url: str, hub: LocalHub, folder: Path, **settings: str) -> Iterator[str]:
    """`loadplan serve` with the webhook's secret set; the address it answers at."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LOADPLAN_")},
        "LOADPLAN_DATABASE_URL": url,
        "LOADPLAN_HUB_WEBHOOK_SECRET": _SECRET,
        "HF_ENDPOINT": hub.url,
        **settings,
    }
    command = [sys.executable, "-c", "from registry.cli.main import main; main()"]
    with (folder / "serve.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "serve", "--port", str(port)], env=environment, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _await_answer(address)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=60)


@contextlib.contextmanager
def opened(url: str) -> Iterator[Database]:
    database = open_database(url)
    yield database
    database.close()


def send(address: str, body: object) -> httpx2.Response:
    """An event, as the Hub sends it."""
    return httpx2.post(
        f"{address}/v1/webhooks/hub", json=body, headers={"X-Webhook-Secret": _SECRET}, timeout=30
    )


def _await_answer(address: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{address}/readyz", timeout=5).status_code == 200:
                return
        if time.monotonic() > deadline:
            raise SystemExit("The service did not answer.")
        time.sleep(0.1)
