"""One populated registry and one browser for all tests of pages."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.web.populated import Registry
from tests.web.serving import browser, chromium, populated_registry


@pytest.fixture(scope="session")
def looked_at() -> Iterator[tuple[Registry, str]]:
    """The registry and its address."""
    with populated_registry() as made:
        yield made


@pytest.fixture(scope="session")
def registry(looked_at: tuple[Registry, str]) -> Registry:
    return looked_at[0]


@pytest.fixture(scope="session")
def address(looked_at: tuple[Registry, str]) -> str:
    return looked_at[1]


@pytest.fixture(scope="module")
def launched(looked_at: tuple[Registry, str]) -> Iterator[Browser]:
    """Chromium, for one file: while it runs, its event loop is this thread's, and whatever else
    runs a loop (filling the registry does) has to be done before. None skips the test, or fails
    it where LOADPLAN_TEST_REQUIRE names browser."""
    if chromium() is None:
        reason = "no Chromium is installed (package chromium, or CHROMIUM=path)"
        if "browser" in os.environ.get("LOADPLAN_TEST_REQUIRE", ""):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with browser() as running:
        yield running
