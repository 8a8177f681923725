"""`loadplan token`: create, list and revoke access tokens on the database's machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from registry.cli.answering import answering
from registry.cli.opening import JSON_HELP, load_settings, opened_database
from registry.cli.terminal import clean, output, print_json, print_message

app = typer.Typer(
    help="Create, list and revoke access tokens.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("create")
def create(
    name: Annotated[str, typer.Option(help="To tell tokens apart; used once.")],
    scope: Annotated[list[str], typer.Option(help="scan, prove or admin; may be repeated.")],
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days until it expires.")] = 90,
    sees: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Private repositories it may see: id, namespace/* or *."
        ),
    ] = None,
) -> None:
    """Print a new token, alone on stdout. It is not kept and cannot be shown again."""
    with answering():
        settings = load_settings()
        with opened_database(settings) as database:
            from registry.db.tokens import create_token

            with database.transaction() as session:
                token = create_token(
                    session,
                    name=name,
                    scopes=scope,
                    days=days,
                    now=datetime.now(UTC),
                    sees=sees or (),
                )
        # The one place where the output is a secret: no styling, nothing else beside it.
        typer.echo(token)
        print_message("note", f"Token {name} expires in {days} days and is not shown again.")


@app.command("list")
def list_all(as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """List tokens by name, scopes and dates; never the tokens themselves."""
    with answering(as_json=as_json):
        settings = load_settings()
        with opened_database(settings) as database:
            from registry.db.tokens import list_tokens

            with database.reading() as connection:
                tokens = list_tokens(connection)
        rows = [
            {
                "name": token.name,
                "scopes": sorted(token.scopes),
                "sees": sorted(token.sees),
                "created_at": token.created_at.isoformat(),
                "expires_at": token.expires_at and token.expires_at.isoformat(),
                "last_used_at": token.last_used_at and token.last_used_at.isoformat(),
                "revoked_at": token.revoked_at and token.revoked_at.isoformat(),
            }
            for token in tokens
        ]
        if as_json:
            print_json(rows)
            return
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for column in ("name", "scopes", "sees", "expires", "last used", "state"):
            table.add_column(column, overflow="fold")
        for token in tokens:
            table.add_row(
                clean(token.name),
                ", ".join(sorted(token.scopes)),
                ", ".join(sorted(token.sees)) or "public only",
                f"{token.expires_at:%Y-%m-%d}" if token.expires_at else "never",
                f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never",
                "revoked" if token.revoked_at else "valid",
            )
        output().print(table)


@app.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="The name it was created with.")]) -> None:
    """Revoke a token by its name; it is refused from then on."""
    with answering():
        settings = load_settings()
        with opened_database(settings) as database:
            from registry.db.tokens import revoke_token
            from registry.errors import InvalidRequest

            with database.transaction() as session:
                revoked = revoke_token(session, name, datetime.now(UTC))
        if not revoked:
            raise InvalidRequest(f"No valid token is named {name!r}.")
        print_message("note", f"Token {name} is revoked.")
