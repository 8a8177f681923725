"""What every command does alike: errors become a message, a document and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from registry.cli.exits import Exit, exit_of_error
from registry.cli.terminal import print_json, print_message
from registry.errors import LoadplanError, ServerRefused


@contextmanager
def answering(*, as_json: bool = False) -> Iterator[None]:
    """Run a command's body. An error of ours goes to stderr; with --json its document is printed,
    so that stdout always holds exactly one."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError as error:
        # The reader of our output went away; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.FAILURE) from error
    except LoadplanError as error:
        document = error_document(error)
        print_message(f"error: {document['code']}", document["detail"], document["fix"])
        if as_json:
            print_json(document)
        raise typer.Exit(exit_of_error(error)) from error


def error_document(error: LoadplanError) -> dict[str, str]:
    """A problem as the API prints it, without the members of a request; a server's own by its
    own code."""
    code = error.problem_code if isinstance(error, ServerRefused) else error.code
    return {
        "type": f"/problems/{code}",
        "code": code,
        "detail": error.message,
        "fix": error.fix.replace("{code}", code),
    }


def warn_of(error: LoadplanError) -> None:
    """The Hub failed and an earlier record answers in its place."""
    print_message("warning", f"{error.message} The answer is the recorded one.", error.fix)


def finish(code: Exit) -> None:
    if code is not Exit.MEETS:
        raise typer.Exit(code)
