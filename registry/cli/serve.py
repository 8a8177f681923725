"""`loadplan serve`: the HTTP service of this database."""

from __future__ import annotations

from typing import Annotated

import typer

from registry.cli.answering import answering
from registry.cli.opening import load_settings
from registry.cli.terminal import print_message


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

        application = create_app(settings)
        print_message("note", f"Serving on http://{settings.host}:{settings.port}")
        uvicorn.run(
            application,
            host=settings.host,
            port=settings.port,
            log_level="warning",
            server_header=False,
        )
