"""A scan and a proof on a CPU, asked for in a browser and watched to their ends.

The worker is the real one in a process of its own; the Hub, the weights and the browser are real
as well, only small or local.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import expect

from migrations.upgrade import upgrade
from registry.db.session import open_database
from registry.jobs import prepare
from tests.data.bearers import make_bearer
from tests.data.tiny import tiny_adapter, tiny_base
from tests.hub import LocalHub
from tests.web.serving import serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(find_spec("peft") is None, reason="the extra runner is not installed"),
]

LOADPLAN = Path(sys.executable).parent / "loadplan"
ADAPTER, BASE = "acme/tiny-chat-lora", "acme/tiny-llama"
# Imports of torch on a busy machine take a minute.
PATIENCE = 150_000


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """A service with a worker beside it: its address, and a token."""
    folder = tmp_path_factory.mktemp("live")
    url = f"sqlite:///{folder / 'loadplan.db'}"
    upgrade(url)
    prepare(url)
    with LocalHub() as hub:
        hub.add_commit(BASE, tiny_base(), title="Upload model")
        hub.add_commit(ADAPTER, tiny_adapter(BASE), title="Upload adapter")
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("HF_", "LOADPLAN_"))
        }
        environment |= {
            "LOADPLAN_DATABASE_URL": url,
            "LOADPLAN_PROOF_DEVICES": "cuda,cpu",
            # What is proven here is ours.
            "LOADPLAN_SANDBOX": "process",
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(folder / "hub"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        queues = [f"--queue={queue}" for queue in ("scan", "rehearse", "prove")]
        with open(folder / "worker.log", "wb") as log:
            worker = subprocess.Popen(
                [LOADPLAN, "work", *queues, "--device=cpu"],
                env=environment,
                stdout=log,
                stderr=log,
            )
            try:
                with serving(url) as address:
                    yield address, _token(url)
            finally:
                worker.terminate()
                worker.wait(timeout=60)


def _token(url: str) -> str:
    database = open_database(url)
    token = make_bearer(database, "me", ("scan", "prove"))
    database.close()
    return token


@pytest.mark.timeout(600)
def test_a_scan_and_a_proof_are_watched_to_their_ends(service, launched):
    address, token = service
    context = launched.new_context(base_url=address)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto("/sign-in?back=/ask")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()

    page.get_by_label(re.compile("^Adapter")).fill(ADAPTER)
    page.get_by_role("button", name="Ask for a scan").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Scan of {ADAPTER}")
    # Nothing loads this page again: what changes comes over the stream.
    page.evaluate("window.same = true")
    over = page.get_by_role("link", name="See the record")
    expect(over).to_be_visible(timeout=PATIENCE)
    assert page.evaluate("window.same")
    expect(page.locator("#progress")).to_contain_text("Succeeded")
    over.click()
    expect(page.locator(".headline .state")).to_contain_text("Rehearsed")

    page.get_by_role("button", name="Ask for a proof").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Proof of {ADAPTER}")
    page.goto(f"/adapters/{ADAPTER}")
    # The adapter's own page follows the work as well, where it is not over by now.
    page.get_by_text(re.compile("Follow it|Proof on cpu")).first.wait_for()
    page.go_back()
    expect(over).to_be_visible(timeout=PATIENCE)
    over.click()
    expect(page.locator(".headline .state")).to_contain_text("Compatible")
    proof = page.get_by_role("article")
    expect(proof).to_contain_text("Proof on cpu")
    expect(proof).to_contain_text("Every tensor of the file is in the model")
    badge = page.request.get(f"/badges/{ADAPTER}.json").json()
    assert badge["message"] == "compatible"
    page.goto("/status")
    expect(page.get_by_role("region", name="Queue prove")).to_contain_text("1 worker")
    context.close()
    assert said == []
