"""`loadplan serve`: the HTTP service of this database."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.answering import answering
from registry.cli.opening import load_settings, opened_database
from registry.cli.rehearsing import missing_packages
from registry.cli.terminal import print_message

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.db.session import Database

_DRAIN_SECONDS = 10


def serve(
    host: Annotated[str | None, typer.Option(help="Default: LOADPLAN_HOST, 127.0.0.1.")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="N", help="Default: LOADPLAN_PORT, 8321."),
    ] = None,
) -> None:
    """Serve records, plans and pages over HTTP until interrupted."""
    with answering():
        settings = load_settings()
        settings = settings.model_copy(
            update={"host": host or settings.host, "port": settings.port if port is None else port}
        )
        import uvicorn

        from api.app import create_app

        with opened_database(settings) as database:
            _say_if_without_tokens(database)
            print_message("note", f"Serving on http://{settings.host}:{settings.port}")
            with _working(settings, database):
                uvicorn.run(
                    create_app(settings, database=database),
                    host=settings.host,
                    port=settings.port,
                    log_config=None,
                    access_log=False,
                    server_header=False,
                    # Streams of events would otherwise be waited for until their readers leave.
                    timeout_graceful_shutdown=_DRAIN_SECONDS,
                )


@contextmanager
def _working(settings: Settings, database: Database) -> Iterator[None]:
    """On the embedded database this process does the jobs too, so that one command is a service.

    On PostgreSQL `loadplan work` does, on as many machines as there are.
    """
    if database.dialect != "sqlite":
        yield
        return
    from registry import logs
    from registry.jobs import Queue, prepare
    from workers.engine import Engine

    logs.configure()
    prepare(settings.database_url)
    queues = [Queue.SCAN]
    if missing_packages():
        print_message("note", "Scans are not rehearsed here: the runner extra is not installed.")
    else:
        queues.append(Queue.REHEARSE)
    # The server stops serving at this signal and sends it again, which would end us at once.
    signal.signal(signal.SIGTERM, lambda *_: None)
    engine = Engine(settings, database, queues)
    engine.start()
    try:
        yield
    finally:
        engine.stop()


def _say_if_without_tokens(database: Database) -> None:
    """Nobody can ask a new service for work: the first token is made beside its database."""
    from registry.db.tokens import list_tokens

    with database.reading() as connection:
        if not list_tokens(connection):
            fix = "loadplan token create --name N --scope scan"
            print_message("note", "There is no token yet, so nobody can ask for work.", fix)
