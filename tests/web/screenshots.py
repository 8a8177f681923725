"""`python -m tests.web.screenshots`: pictures of every page, at two widths and in both schemes.

They go to `screenshots/`, which is not kept; `--docs` also writes the two of the README.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, BrowserContext

from registry import logs
from tests.web.addresses import own_pages, pages
from tests.web.populated import Registry
from tests.web.serving import SCHEMES, WIDTHS, browser, populated_registry

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "screenshots"
PICTURES = ROOT / "docs" / "pictures"
_HEIGHTS = {360: 740, 1280: 860}
_COLOURS = 96


def take(only: str | None, *, docs: bool) -> None:
    FOLDER.mkdir(exist_ok=True)
    with populated_registry() as (registry, address), browser() as launched:
        # A line for each request is nothing to look at.
        logs.configure(logging.WARNING)
        for width in WIDTHS:
            for scheme in SCHEMES:
                _take_all(launched, registry, address, width, scheme, only)
        if docs:
            _take_for_docs(launched, address)


def _take_all(
    launched: Browser,
    registry: Registry,
    address: str,
    width: int,
    scheme: str,
    only: str | None,
) -> None:
    context = _context(launched, width, scheme)
    page = context.new_page()
    for signed_in, shown in ((False, pages(registry)), (True, own_pages())):
        if signed_in:
            page.goto(f"{address}/sign-in")
            page.get_by_label("Token").fill(registry.token)
            page.get_by_role("button", name="Sign in").click()
        for name, path in shown.items():
            if only is None or only in name:
                page.goto(f"{address}{path}")
                page.screenshot(path=FOLDER / f"{name}-{width}-{scheme}.png", full_page=True)
    context.close()


def _take_for_docs(launched: Browser, address: str) -> None:
    """Small enough for a repository: one screen, few colours."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    context = _context(launched, 1280, "light")
    page = context.new_page()
    for name, path in (("browse", "/"), ("adapter", "/adapters/acme/chat-lora")):
        page.goto(f"{address}{path}")
        taken = page.screenshot(path=FOLDER / f"{name}.png")
        assert taken
        with Image.open(FOLDER / f"{name}.png") as picture:
            few = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
            few.save(PICTURES / f"{name}.png", optimize=True)
    context.close()


def _context(launched: Browser, width: int, scheme: str) -> BrowserContext:
    size = {"width": width, "height": _HEIGHTS[width]}
    return launched.new_context(viewport=size, color_scheme=scheme)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.web.screenshots", description=__doc__)
    parser.add_argument("--only", help="pages whose name holds this")
    parser.add_argument("--docs", action="store_true", help="also the pictures of the README")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        # The Hub's client writes into its home; a person's own is left alone.
        os.environ.setdefault("HF_HOME", home)
        take(given.only, docs=given.docs)
