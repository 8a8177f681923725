"""`loadplan token` through the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from registry.domain import bearer

LOADPLAN = Path(sys.executable).parent / "loadplan"


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LOADPLAN_DATABASE_URL": f"sqlite:///{tmp_path / 'loadplan.db'}",
    }
    return subprocess.run(
        [LOADPLAN, "token", *arguments], env=environment, capture_output=True, text=True
    )


def test_a_token_is_printed_alone_listed_without_itself_and_revoked(tmp_path):
    made = run(tmp_path, "create", "--name", "ci", "--scope", "scan", "--scope", "prove")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert bearer.is_well_formed(token)
    assert made.stdout == token + "\n"
    assert token not in made.stderr
    listed = run(tmp_path, "list", "--json")
    (row,) = json.loads(listed.stdout)
    assert (row["name"], row["scopes"], row["revoked_at"]) == ("ci", ["prove", "scan"], None)
    assert token not in listed.stdout
    assert "ci" in run(tmp_path, "list").stdout
    assert run(tmp_path, "revoke", "ci").returncode == 0
    assert "revoked" in run(tmp_path, "list").stdout
    again = run(tmp_path, "revoke", "ci")
    assert again.returncode == 2
    assert "invalid-request" in again.stderr


def test_a_token_that_makes_no_sense_is_a_usage_error(tmp_path):
    for arguments in (
        ["--name", "ci", "--scope", "root"],
        ["--name", "", "--scope", "scan"],
        ["--name", "ci"],
        ["--name", "ci", "--scope", "scan", "--sees", "../x"],
        ["--name", "ci", "--scope", "scan", "--days", "0"],
    ):
        refused = run(tmp_path, "create", *arguments)
        assert refused.returncode == 2, refused.stderr
        assert refused.stdout == ""
