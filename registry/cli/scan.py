"""`loadplan scan`: record many adapters at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.answering import answering, finish
from registry.cli.asking import (
    DEFAULT_WAIT,
    SERVER_HELP,
    WAIT_HELP,
    await_scan,
    open_client,
    server_of,
)
from registry.cli.enqueuing import enqueue_scans, is_shared
from registry.cli.exits import exit_of_records
from registry.cli.opening import (
    BASE_HELP,
    JSON_HELP,
    REFERENCE_HELP,
    load_settings,
    opened_database,
    parse_base,
)
from registry.cli.progress import counted
from registry.cli.scanning import scan_all
from registry.cli.terminal import print_json
from registry.domain.record import Record, record_from_json
from registry.domain.refs import Reference, parse_reference

if TYPE_CHECKING:
    from registry.config import Settings


def scan(
    references: Annotated[list[str], typer.Argument(metavar="REF…", help=REFERENCE_HELP)],
    base: Annotated[str | None, typer.Option(metavar="REF", help=BASE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    server: Annotated[str | None, typer.Option(metavar="URL", help=SERVER_HELP)] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="S", help=WAIT_HELP)] = DEFAULT_WAIT,
) -> None:
    """Record adapters and their plans.

    Sub-folders that hold adapters are recorded each. The worst record decides the exit code, in
    the order 5, 4, 1, 3, 0.
    """
    with answering(as_json=as_json):
        asked = list(dict.fromkeys(parse_reference(text, allow_local=True) for text in references))
        settings = load_settings()
        asked_server = server_of(settings, server)
        if asked_server is not None:
            records = _ask(settings, asked_server, asked, parse_base(base), wait)
        else:
            records = _scan(settings, asked, parse_base(base), wait)
        _show(records, as_json=as_json)
        code = exit_of_records(records)
    finish(code)


def _scan(
    settings: Settings, references: Sequence[Reference], base: Reference | None, wait: float
) -> list[Record]:
    """In this process on SQLite; on PostgreSQL workers do it."""
    with opened_database(settings) as database:
        if is_shared(database, (*references, base)):
            return enqueue_scans(database, references, base, wait)
        found = scan_all(settings, database, references, base)
    return [each.record for each in found]


def _ask(
    settings: Settings,
    server: str,
    references: Sequence[Reference],
    base: Reference | None,
    wait: float,
) -> list[Record]:
    records = []
    with (
        open_client(settings, server) as client,
        counted("scanning", len(references)) as count,
    ):
        for reference in references:
            await_scan(client, reference, base, wait)
            document = client.record(str(reference), base=None if base is None else str(base))
            records.append(record_from_json(document))
            count()
    return records


def _show(records: Sequence[Record], *, as_json: bool) -> None:
    if as_json:
        print_json([record.to_json() for record in records])
        return
    from registry.cli.listing import show_table, summary_of

    show_table([summary_of(record) for record in records])
