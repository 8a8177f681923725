"""Files out of npm packages, by version and digest, kept in a folder that git ignores."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

CACHE = Path(__file__).resolve().parents[2] / "var" / "npm"
AXE = (
    "axe-core",
    "4.14.1",
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
)


def package_file(name: str, version: str, integrity: str, path: str) -> bytes:
    """A file of a package as it was published. Without npm the test is skipped, or fails where
    LOADPLAN_TEST_REQUIRE names npm."""
    archive = CACHE / f"{name}-{version}.tgz"
    if not archive.exists():
        _fetch(name, version)
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode("ascii")
    assert f"sha512-{digest}" == integrity, f"{archive.name} is not what was published"
    with tarfile.open(archive) as packed:
        file = packed.extractfile(f"package/{path}")
        assert file is not None
        return file.read()


def _fetch(name: str, version: str) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    failed = "npm is not installed"
    if npm is not None:
        command = [npm, "pack", f"{name}@{version}", "--silent", "--pack-destination", str(CACHE)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode == 0:
            return
        failed = f"npm pack ended with {done.returncode}: {done.stderr[-300:]}"
    if "npm" in os.environ.get("LOADPLAN_TEST_REQUIRE", ""):
        pytest.fail(failed, pytrace=False)
    pytest.skip(failed)
