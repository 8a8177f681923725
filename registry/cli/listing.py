"""`loadplan list`: what is recorded, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from registry.cli.answering import answering
from registry.cli.answers import STATUS_WORDS
from registry.cli.asking import SERVER_HELP, open_client, server_of
from registry.cli.opening import JSON_HELP, load_settings, opened_database
from registry.cli.terminal import clean, output, print_json, print_message
from registry.domain.issues import CATALOGUE, Severity
from registry.domain.record import Record, Status

if TYPE_CHECKING:
    from registry.db.session import Database

_PAGE = 100


def list_records(
    base: Annotated[str | None, typer.Option(metavar="REPO", help="Only of this base.")] = None,
    status: Annotated[
        Status | None,
        typer.Option(metavar="STATUS", help="Only of this status: " + ", ".join(Status) + "."),
    ] = None,
    issue: Annotated[str | None, typer.Option(metavar="CODE", help="Only with this code.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    server: Annotated[str | None, typer.Option(metavar="URL", help=SERVER_HELP)] = None,
) -> None:
    """List the recorded adapters, newest first."""
    with answering(as_json=as_json):
        settings = load_settings()
        asked_server = server_of(settings, server)
        if asked_server is not None:
            with open_client(settings, asked_server) as client:
                listed = client.adapters(base=base, status=status, issue=issue)
                found = list(islice(listed, limit))
        else:
            with opened_database(settings) as database:
                found = _load(database, base, status, issue, limit)
        if as_json:
            print_json(found)
        elif found:
            show_table(found)
        else:
            print_message("note", "Nothing is recorded that fits.", "loadplan scan REF records.")


def _load(
    database: Database,
    base: str | None,
    status: Status | None,
    issue: str | None,
    limit: int | None,
) -> list[dict[str, Any]]:
    from registry.db.records import RecordFilter, list_records

    # Whoever can open the database sees everything that is in it.
    everything = frozenset({"*"})
    wanted = RecordFilter(base=base, status=status, issue=issue, visible=everything)
    found: list[dict[str, Any]] = []
    cursor = None
    with database.reading() as connection:
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = list_records(connection, wanted, limit=size, cursor=cursor)
            found.extend(
                {**summary_of(stored.record), "scanned_at": stored.scanned_at.isoformat()}
                for stored in page.records
            )
            cursor = page.next_cursor
            if cursor is None:
                break
    return found


def summary_of(record: Record) -> dict[str, Any]:
    """A record in short, as the API's list prints it."""
    document: dict[str, Any] = dict(record.to_json())
    summary = {name: document[name] for name in ("adapter", "base", "status", "evidence", "facts")}
    return {**summary, "issues": [issue.code for issue in record.issues]}


def show_table(summaries: Sequence[Mapping[str, Any]]) -> None:
    """One line each, folded where the terminal is narrow; nothing is cut off."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("status", no_wrap=True)
    table.add_column("adapter", overflow="fold", ratio=1)
    table.add_column("base", overflow="fold", ratio=1)
    table.add_column("issues", no_wrap=True)
    for summary in summaries:
        icon, style, _ = STATUS_WORDS[Status(summary["status"])]
        adapter, base = summary["adapter"], summary["base"]
        folder = f":{adapter['subfolder']}" if adapter["subfolder"] else ""
        table.add_row(
            Text(f"{icon} {summary['status']}", style=style),
            clean(adapter["repo_id"] + folder),
            clean(base["repo_id"]) if base else "-",
            "\n".join(_news(summary["issues"])) or "-",
        )
    output().print(table)


# True of nearly every adapter, and so no news in a list.
_USUAL = frozenset({"base-unpinned"})


def _news(codes: Sequence[str]) -> list[str]:
    """The codes worth a line in a table; advice is for who trained the adapter."""
    return [
        code
        for code in codes
        if code not in _USUAL
        and (code not in CATALOGUE or CATALOGUE[code].severity is not Severity.ADVICE)
    ]
