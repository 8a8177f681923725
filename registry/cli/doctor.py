"""`loadplan doctor`: what this installation has, lacks and reaches."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from registry.cli.answering import answering, finish
from registry.cli.exits import Exit
from registry.cli.opening import JSON_HELP, load_settings
from registry.cli.terminal import clean, output, print_json
from registry.domain.refs import Reference
from registry.errors import LoadplanError, RepositoryNotFound

if TYPE_CHECKING:
    from registry.config import Settings

_MARKS = {"ok": ("✓", "green"), "missing": ("○", "yellow"), "failed": ("✕", "red")}
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors")
# A name that the Hub's own rules reserve for nobody: any Hub answers that it does not know it.
_NOBODYS = Reference("loadplan/does-not-exist")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `missing` limits what can be done; `failed` means it does not work."""

    name: str
    state: Literal["ok", "missing", "failed"]
    detail: str


def doctor(
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Rehearse all records; list disagreements.")
    ] = False,
    environments: Annotated[
        bool, typer.Option("--environments", help="List the versions that proofs were run with.")
    ] = False,
    retire_environment: Annotated[
        str | None, typer.Option(metavar="ID", help="Let proofs with these versions count no more.")
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for whoever reads the record.")
    ] = "retired by the operator",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Look at settings, database, Hub, sandbox and packages, or see to environments of proofs."""
    with answering(as_json=as_json):
        settings = load_settings()
        if retire_environment is not None:
            from registry.cli.environments import retire

            code = retire(settings, retire_environment, reason, as_json=as_json)
        elif environments:
            from registry.cli.environments import list_environments

            code = list_environments(settings, as_json=as_json)
        elif agreement:
            from registry.cli.agreement import compare_all

            code = compare_all(settings, as_json=as_json)
        else:
            code = _look(settings, as_json=as_json)
    finish(code)


def _look(settings: Settings, *, as_json: bool) -> Exit:
    findings = list(_findings(settings))
    if as_json:
        print_json([{"name": f.name, "state": f.state, "detail": f.detail} for f in findings])
    else:
        _show(findings)
    failed = any(finding.state == "failed" for finding in findings)
    return Exit.FAILURE if failed else Exit.MEETS


def _findings(settings: Settings) -> Iterator[Finding]:
    import asyncio
    from importlib.metadata import PackageNotFoundError, version

    yield Finding("python", "ok", f"{platform.python_version()} on {sys.platform}")
    yield _database(settings)
    yield asyncio.run(_hub(settings))
    yield _sandbox(settings)
    for package in _PACKAGES:
        try:
            yield Finding(package, "ok", version(package))
        except PackageNotFoundError:
            yield Finding(package, "missing", "pip install 'loadplan[runner]' to rehearse")


def _database(settings: Settings) -> Finding:
    from registry.cli.opening import opened_database
    from registry.db.base import SCHEMA_HEAD

    try:
        with opened_database(settings) as database:
            return Finding("database", "ok", f"{database.dialect}, migration {SCHEMA_HEAD}")
    except LoadplanError as error:
        return Finding("database", "failed", f"{error.message} {error.fix}")


async def _hub(settings: Settings) -> Finding:
    from registry.hub import Patience, open_reader

    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    where = f"{settings.hf_endpoint}, {'with' if token else 'without'} a token"
    try:
        async with open_reader(
            settings.hf_endpoint, token, patience=Patience(total=10, attempts=1)
        ) as reader:
            await reader.resolve(_NOBODYS)
    except RepositoryNotFound:
        return Finding("hub", "ok", where)
    except LoadplanError as error:
        return Finding("hub", "failed", f"{where}: {error.message}")
    return Finding("hub", "ok", where)


def _sandbox(settings: Settings) -> Finding:
    from registry.sandbox import find_isolation

    try:
        return Finding("sandbox", "ok", str(find_isolation(settings.sandbox)))
    except LoadplanError as error:
        return Finding("sandbox", "missing", f"{error.message} {error.fix}")


def _show(findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        icon, style = _MARKS[finding.state]
        table.add_row(
            Text(f"{icon} {finding.state}", style=style), finding.name, clean(finding.detail)
        )
    output().print(table)
