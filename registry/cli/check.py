"""`loadplan check`: the whole answer for one adapter, rehearsed where this machine can."""

from __future__ import annotations

from typing import Annotated

import typer

from registry.cli.answering import answering, finish
from registry.cli.asking import DEFAULT_WAIT, SERVER_HELP, WAIT_HELP, ask_record, server_of
from registry.cli.exits import Requirement, exit_of_record
from registry.cli.opening import (
    BASE_HELP,
    JSON_HELP,
    REFERENCE_HELP,
    load_settings,
    opened_database,
    parse_base,
)
from registry.cli.rehearsing import rehearse
from registry.cli.scanning import scan_one
from registry.cli.terminal import output, print_json
from registry.cli.work import DeviceName
from registry.domain.record import Record, Status
from registry.domain.refs import parse_reference


def check(
    reference: Annotated[str, typer.Argument(metavar="REF", help=REFERENCE_HELP)],
    base: Annotated[str | None, typer.Option(metavar="REF", help=BASE_HELP)] = None,
    require: Annotated[
        Requirement | None,
        typer.Option(help="What exit code 0 takes. Default: rehearsed; compatible with --server."),
    ] = None,
    proven: Annotated[
        bool, typer.Option("--prove", help="Also load it with real weights, and require that.")
    ] = False,
    device: Annotated[
        DeviceName, typer.Option(help="Where --prove runs, when it runs here.")
    ] = DeviceName.CPU,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    server: Annotated[str | None, typer.Option(metavar="URL", help=SERVER_HELP)] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="S", help=WAIT_HELP)] = DEFAULT_WAIT,
) -> None:
    """Record, plan and rehearse an adapter; say what stands against it."""
    from registry.cli.prove import prove_here, prove_there

    with answering(as_json=as_json):
        settings = load_settings()
        asked_server = server_of(settings, server)
        asked, asked_base = parse_reference(reference, allow_local=True), parse_base(base)
        if asked_server is not None:
            needed = require or Requirement.COMPATIBLE
            ask = prove_there if proven else ask_record
            record = ask(settings, asked_server, asked, asked_base, wait)
        elif proven:
            needed = require or Requirement.COMPATIBLE
            with opened_database(settings) as database:
                record = prove_here(settings, database, asked, asked_base, device.value)
        else:
            needed = require or Requirement.REHEARSED
            with opened_database(settings) as database:
                scanned = scan_one(settings, database, asked, asked_base)
                record = scanned.record
                # Who asks for a plan alone does not wait for the libraries that would run it.
                if record.status is Status.PLANNED and needed is not Requirement.PLANNED:
                    record = rehearse(settings, database, scanned)
        show(record, as_json=as_json)
        code = exit_of_record(record, needed)
    finish(code)


def show(record: Record, *, as_json: bool) -> None:
    if as_json:
        print_json(record.to_json())
        return
    from registry.cli.answers import render_record

    console = output()
    for part in render_record(record):
        console.print(part)
