"""Tiny bases and adapters, made once for all tests of a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.kinds import Made, make
from tests.data.sound import BY_NAME


@pytest.fixture(scope="session")
def kinds_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


@pytest.fixture(scope="session")
def made(kinds_folder: Path) -> Callable[[str], Made]:
    """A sound kind by its name, trained and saved at the first use."""
    return lambda name: make(BY_NAME[name], kinds_folder)
