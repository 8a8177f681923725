"""`loadplan tensors`: the adapter's tensors beside what the base has room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli.answering import answering, finish
from registry.cli.answers import shape_words
from registry.cli.asking import DEFAULT_WAIT, SERVER_HELP, WAIT_HELP, ask_tensors, server_of
from registry.cli.exits import Exit, exit_of_record
from registry.cli.opening import (
    BASE_HELP,
    JSON_HELP,
    REFERENCE_HELP,
    load_settings,
    opened_database,
    parse_base,
)
from registry.cli.scanning import scan_one
from registry.cli.terminal import clean, output, print_json, print_message
from registry.domain.refs import Reference, parse_reference

if TYPE_CHECKING:
    from registry.config import Settings
    from registry.db.session import Database
    from registry.scanning import Scanned

_SIGNS = {True: ("✕", "red"), None: ("?", "yellow"), False: ("✓", "green")}


def tensors(
    reference: Annotated[str, typer.Argument(metavar="REF", help=REFERENCE_HELP)],
    base: Annotated[str | None, typer.Option(metavar="REF", help=BASE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    server: Annotated[str | None, typer.Option(metavar="URL", help=SERVER_HELP)] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="S", help=WAIT_HELP)] = DEFAULT_WAIT,
) -> None:
    """List an adapter's tensors beside the base's shapes."""
    with answering(as_json=as_json):
        asked, asked_base = parse_reference(reference, allow_local=True), parse_base(base)
        settings = load_settings()
        asked_server = server_of(settings, server)
        if asked_server is not None:
            rows, code = ask_tensors(settings, asked_server, asked, asked_base, wait), Exit.MEETS
        else:
            with opened_database(settings) as database:
                rows, code = _alone(settings, database, asked, asked_base)
        if as_json:
            print_json(rows)
        else:
            _show(rows)
    finish(code)


def _alone(
    settings: Settings, database: Database, reference: Reference, base: Reference | None
) -> tuple[list[dict[str, Any]], Exit]:
    """The rows; the exit code is that of the record only when no header could be read."""
    from registry.planning import compare_tensors

    scanned = _with_recorded_facts(database, scan_one(settings, database, reference, base))
    if scanned.adapter is None or scanned.adapter.weights is None:
        for issue in scanned.record.issues:
            print_message(f"{issue.severity} {issue.code}", issue.message, issue.fix)
        return [], exit_of_record(scanned.record)
    pairs = compare_tensors(scanned.adapter, scanned.base)
    return [pair.to_json() for pair in pairs], Exit.MEETS


def _with_recorded_facts(database: Database, scanned: Scanned) -> Scanned:
    """Where the Hub could not be read now, what was read of the same content before."""
    from dataclasses import replace

    from registry.db.checkpoints import load_adapter, load_base

    adapter_ref, base_ref = scanned.record.adapter, scanned.record.base
    with database.reading() as connection:
        if scanned.adapter is None and adapter_ref.digest is not None:
            facts = load_adapter(connection, adapter_ref.digest, adapter_ref.subfolder)
            scanned = replace(scanned, adapter=facts)
        if scanned.base is None and base_ref is not None and base_ref.digest is not None:
            scanned = replace(scanned, base=load_base(connection, base_ref.digest))
    return scanned


def _show(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("tensor", overflow="fold", ratio=1)
    table.add_column("dtype", no_wrap=True)
    table.add_column("file", justify="right", no_wrap=True)
    table.add_column("base", justify="right", no_wrap=True)
    for row in rows:
        sign, style = _SIGNS[row["differs"]]
        base_shape = row["base_shape"]
        table.add_row(
            Text(sign, style=style),
            clean(row["name"]),
            row["dtype"],
            Text(shape_words(tuple(row["shape"])), style=style if row["differs"] else ""),
            shape_words(None if base_shape is None else tuple(base_shape)),
        )
    if not rows:
        # Unknown is not none: what could not be read may hold many.
        print_message("note", "No tensors were read.")
        return
    output().print(table)
    differing = sum(1 for row in rows if row["differs"])
    unknown = sum(1 for row in rows if row["differs"] is None)
    print_message("note", f"{len(rows):,} tensors, {differing:,} differ, {unknown:,} unknown.")
