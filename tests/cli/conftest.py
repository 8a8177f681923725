"""The real command in a process of its own, against the local Hub, with a database of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from registry.cli.main import main
from tests.hub import LocalHub

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "registry/domain/record.schema.json").read_text("utf-8")
)


@dataclass(frozen=True)
class Done:
    """What a run of the command left behind."""

    exit_code: int
    out: str
    err: str

    @property
    def document(self):
        """The one document on stdout; anything else there is a failure."""
        return json.loads(self.out)

    @property
    def record(self):
        document = self.document
        jsonschema.validate(document, SCHEMA)
        return document

    @property
    def codes(self):
        return [issue["code"] for issue in self.record["issues"]]

    def codes_of(self, severity):
        return [issue["code"] for issue in self.record["issues"] if issue["severity"] == severity]


@dataclass(frozen=True)
class Command:
    """`loadplan` with an environment that holds nothing of the machine's own settings.

    Called, it runs in this process: the same `main`, without the seconds that imports take.
    `start` runs it in a process of its own.
    """

    environment: dict[str, str]
    folder: Path
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    def __call__(self, *arguments, **environment):
        self.capture.readouterr()
        with self.patch.context() as patch:
            for name in set(os.environ) - set(self.environment):
                patch.delenv(name)
            for name, value in {**self.environment, **environment}.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["loadplan", *arguments])
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code or 0
        captured = self.capture.readouterr()
        return Done(int(code), captured.out, captured.err)

    def start(self, *arguments, **environment):
        done = subprocess.run(
            [sys.executable, "-c", "from registry.cli.main import main; main()", *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def clean_environment():
    named = ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in named if name in os.environ}
    return {**environment, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "80"}


@pytest.fixture(scope="module")
def hub():
    with LocalHub() as local_hub:
        yield local_hub


@pytest.fixture(autouse=True)
def sound_hub(request):
    """Faults that a test injects end with it."""
    yield
    if "hub" in request.fixturenames:
        request.getfixturevalue("hub").faults.clear()


@pytest.fixture
def loadplan(hub, tmp_path, capsys, monkeypatch):
    """The command with an empty database, asking the local Hub."""
    return Command(
        {
            **clean_environment(),
            "HF_ENDPOINT": hub.url,
            "LOADPLAN_DATABASE_URL": f"sqlite:///{tmp_path}/registry.db",
        },
        tmp_path,
        capsys,
        monkeypatch,
    )
