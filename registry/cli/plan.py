"""`loadplan plan`: the steps, for people, for programs, or as a script that runs as it stands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from registry.cli.answering import answering, finish
from registry.cli.asking import DEFAULT_WAIT, SERVER_HELP, WAIT_HELP, ask_record, server_of
from registry.cli.exits import exit_of_record
from registry.cli.opening import (
    BASE_HELP,
    REFERENCE_HELP,
    load_settings,
    opened_database,
    parse_base,
)
from registry.cli.scanning import scan_one
from registry.cli.terminal import output, print_json, print_message
from registry.domain.record import Record
from registry.domain.refs import parse_reference


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    PYTHON = "python"


def plan(
    reference: Annotated[str, typer.Argument(metavar="REF", help=REFERENCE_HELP)],
    base: Annotated[str | None, typer.Option(metavar="REF", help=BASE_HELP)] = None,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.TEXT,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    server: Annotated[str | None, typer.Option(metavar="URL", help=SERVER_HELP)] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="S", help=WAIT_HELP)] = DEFAULT_WAIT,
) -> None:
    """Print the load plan of an adapter. Exit code 0 means that there is one."""
    form = Format.JSON if as_json else form
    with answering(as_json=form is Format.JSON):
        asked, asked_base = parse_reference(reference, allow_local=True), parse_base(base)
        settings = load_settings()
        asked_server = server_of(settings, server)
        if asked_server is not None:
            record = ask_record(settings, asked_server, asked, asked_base, wait)
        else:
            with opened_database(settings) as database:
                record = scan_one(settings, database, asked, asked_base).record
        _show(record, form)
        code = exit_of_record(record)
    finish(code)


def _show(record: Record, form: Format) -> None:
    if form is Format.JSON:
        print_json(plan_document(record))
    elif record.plan is None:
        for issue in record.issues:
            print_message(f"{issue.severity} {issue.code}", issue.message, issue.fix)
    elif form is Format.PYTHON:
        from registry.domain.rendering import render_python

        typer.echo(render_python(record.plan), nl=False)
    else:
        from registry.cli.answers import render_plan

        output().print(render_plan(record.plan))


def plan_document(record: Record) -> dict[str, object]:
    """What the API answers at `…/plan`."""
    document = record.to_json()
    return {
        name: document[name] for name in ("adapter", "base", "status", "evidence", "plan", "issues")
    }
