"""Skips everything here on a machine without a CUDA device."""

from __future__ import annotations

import pytest
import torch

from tests.workers.conftest import kinds_folder, made  # noqa: F401


@pytest.fixture(autouse=True)
def cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
