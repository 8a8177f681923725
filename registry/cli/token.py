"""`loadplan token`: who may ask this service for work. Run it on the database's machine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from registry.cli.answering import answering, finish
from registry.cli.exits import Exit
from registry.cli.opening import JSON_HELP, load_settings, opened_database
from registry.cli.terminal import clean, output, print_json, print_message
from registry.domain.bearer import (
    checked_name,
    checked_patterns,
    checked_scopes,
    hash_token,
    make_token,
)

if TYPE_CHECKING:
    from registry.db.tokens import StoredToken

_DAYS = 90
app = typer.Typer(
    help="Create, list and revoke the service's access tokens.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command("create")
def create(
    name: Annotated[str, typer.Option(metavar="N", help="What the token is called; used once.")],
    scope: Annotated[
        list[str], typer.Option(metavar="S", help="scan, prove or admin; may be repeated.")
    ],
    days: Annotated[int, typer.Option(min=1, metavar="D", help="How long it is valid.")] = _DAYS,
    sees: Annotated[
        list[str] | None,
        typer.Option(metavar="REPO", help="A private repository, or NAMESPACE/*, that it may see."),
    ] = None,
) -> None:
    """Make a token. It alone is printed on stdout, now and never again."""
    with answering():
        settings = load_settings()
        import secrets

        from registry.db.tokens import create_token

        granted, patterns = checked_scopes(scope), checked_patterns(sees or ())
        token, now = make_token(secrets.choice), datetime.now(UTC)
        with opened_database(settings) as database, database.transaction() as session:
            create_token(
                session,
                name=checked_name(name),
                token_hash=hash_token(token),
                scopes=granted,
                created_at=now,
                expires_at=now + timedelta(days=days),
                visible=patterns,
            )
        typer.echo(token)
        print_message("note", f"Token {name!r} is valid for {days} days; it is not shown again.")


@app.command("list")
def list_tokens(
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """List the tokens by name; what they are is not kept."""
    with answering(as_json=as_json):
        settings = load_settings()
        from registry.db import tokens

        with opened_database(settings) as database, database.reading() as connection:
            found = tokens.list_tokens(connection)
        if as_json:
            print_json([_document(token) for token in found])
        else:
            _show(found)


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The token's name.")],
) -> None:
    """Revoke a token at once. Exit code 3 when there is none of this name."""
    with answering():
        settings = load_settings()
        from registry.db.tokens import revoke_token

        with opened_database(settings) as database, database.transaction() as session:
            revoked = revoke_token(session, name, revoked_at=datetime.now(UTC))
        state = "is revoked" if revoked else "does not exist, or was revoked before"
        print_message("note" if revoked else "error", f"Token {name!r} {state}.")
    finish(Exit.MEETS if revoked else Exit.UNKNOWN)


def _document(token: StoredToken) -> dict[str, object]:
    return {
        "name": token.name,
        "scopes": sorted(token.scopes),
        "sees": sorted(token.visible),
        "created_at": _moment(token.created_at),
        "expires_at": _moment(token.expires_at),
        "last_used_at": _moment(token.last_used_at),
        "revoked_at": _moment(token.revoked_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _show(tokens: Sequence[StoredToken]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("name", "scopes", "expires", "last used", "state"):
        table.add_column(title, overflow="fold")
    for token in tokens:
        state = "revoked" if token.revoked_at is not None else _state(token)
        table.add_row(
            clean(token.name),
            ", ".join(sorted(token.scopes)),
            _day(token.expires_at),
            _day(token.last_used_at),
            state,
        )
    if tokens:
        output().print(table)
    else:
        print_message("note", "There is no token.", "loadplan token create --name N --scope scan")


def _state(token: StoredToken) -> str:
    expired = token.expires_at is not None and token.expires_at <= datetime.now(UTC)
    return "expired" if expired else "valid"


def _day(moment: datetime | None) -> str:
    return "-" if moment is None else moment.date().isoformat()
