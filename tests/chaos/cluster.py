"""A PostgreSQL server of the test's own, that can be stopped hard. Never the machine's server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path


def find_binaries() -> Path | None:
    """Where initdb and pg_ctl are, None where this machine has none."""
    found = shutil.which("initdb")
    if found is not None and Path(found).resolve().with_name("pg_ctl").exists():
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


class Cluster:
    """Started in a new folder, on a free port of the loopback."""

    def __init__(self, folder: Path) -> None:
        binaries = find_binaries()
        assert binaries is not None
        self._binaries = binaries
        self._folder = folder
        self._data = folder / "data"
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self._port = listener.getsockname()[1]
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Cluster:
        self._folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            # The server refuses to run as root; its user must reach the folder.
            shutil.chown(self._folder, "postgres")
            for parent in self._folder.parents:
                if parent.owner() == "root" and parent != Path("/") and parent.parts[1] == "tmp":
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._control("stop", "-m", "immediate", check=False)

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        self._control("start", "-w", "-o", options, "-l", str(self._folder / "server.log"))

    def stop_hard(self) -> None:
        """As if the power went: no checkpoint, no goodbye to clients."""
        self._control("stop", "-m", "immediate")

    def _control(self, *arguments: str, check: bool = True) -> None:
        self._run("pg_ctl", "-D", str(self._data), *arguments, check=check)

    def _run(self, program: str, *arguments: str, check: bool = True) -> None:
        command = [str(self._binaries / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        # A server that inherits a pipe would keep it open for its whole life.
        subprocess.run(
            command,
            check=check,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            timeout=60,
        )
