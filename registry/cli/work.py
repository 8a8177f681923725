"""`loadplan work`: do the jobs of one or more queues until told to stop."""

from __future__ import annotations

import signal
import threading
from enum import StrEnum
from typing import Annotated

import typer

from registry.cli.answering import answering
from registry.cli.opening import load_settings, opened_database
from registry.cli.rehearsing import missing_packages
from registry.cli.terminal import print_message
from registry.errors import RunnerMissing


class QueueName(StrEnum):
    SCAN = "scan"
    REHEARSE = "rehearse"
    PROVE = "prove"


class DeviceName(StrEnum):
    CPU = "cpu"
    CUDA = "cuda"


def work(
    queue: Annotated[list[QueueName], typer.Option(help="May be given more than once.")],
    device: Annotated[DeviceName, typer.Option(help="What proofs run on.")] = DeviceName.CPU,
) -> None:
    """Do jobs of these queues until interrupted; what runs then is given twenty seconds to end."""
    with answering():
        settings = load_settings()
        if set(queue) != {QueueName.SCAN} and missing_packages():
            missing = ", ".join(missing_packages())
            raise RunnerMissing(f"Only scans can be done here: {missing} not installed.")
        from registry import logs
        from registry.jobs import Queue, prepare
        from workers.engine import Engine

        logs.configure()
        with opened_database(settings) as database:
            if database.dialect == "sqlite":
                prepare(settings.database_url)
            engine = Engine(
                settings, database, [Queue(name.value) for name in queue], device=device.value
            )
            engine.start()
            print_message("note", f"Working on {', '.join(queue)} as {engine.executor_id}.")
            try:
                wait_for_signal()
            finally:
                engine.stop()


def wait_for_signal() -> None:
    """Until the process is asked to end."""
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    asked.wait()
