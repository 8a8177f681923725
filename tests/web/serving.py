"""The application on a loopback port, and Chromium to look at it."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, sync_playwright

from api.app import create_app
from migrations.upgrade import upgrade
from registry.config import Settings
from tests.hub import LocalHub
from tests.web.populated import Registry, fill

WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")
# Nothing but what the test asks for goes over the network.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def serving(database_url: str) -> Iterator[str]:
    """The address of the service on this database."""
    with serving_app(create_app(Settings(database_url=database_url))) as address:
        yield address


@contextmanager
def serving_app(app: FastAPI) -> Iterator[str]:
    """The address of the application, in a thread of this process."""
    # Said to be TCP, or the event loop leaves Nagle's algorithm on, and each answer waits 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield address
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()


@contextmanager
def populated_registry() -> Iterator[tuple[Registry, str]]:
    """A registry with something on every page, and where it is served."""
    with tempfile.TemporaryDirectory(prefix="loadplan-web-") as folder:
        url = f"sqlite:///{Path(folder) / 'loadplan.db'}"
        upgrade(url)
        with LocalHub() as hub:
            registry = fill(url, hub)
        with serving(url) as address:
            yield registry, address


def chromium() -> str | None:
    """The browser of the machine, None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window. Raises RuntimeError where there is none."""
    path = chromium()
    if path is None:
        raise RuntimeError("No Chromium is installed (package chromium, or CHROMIUM=path).")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield launched
        finally:
            launched.close()
