"""`loadplan`: the command line put together, and what ends it when something unforeseen happens."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from registry.cli import (
    check,
    crawl,
    doctor,
    listing,
    migrate,
    plan,
    prove,
    scan,
    serve,
    tensors,
    token,
    work,
)
from registry.cli.exits import Exit
from registry.cli.terminal import clean

app = typer.Typer(
    name="loadplan",
    help="The verified way to load a LoRA adapter on its base model.\n\n"
    "REF is namespace/name[@revision][:subfolder], or a folder beginning with ./, ../ or /.",
    epilog="Exit codes: 0 meets --require · 1 incompatible · 2 usage · 3 not known yet, "
    "unsupported or blocked · 4 access refused · 5 Hub or service failure · 130 interrupted.",
    # Plain help: the rich one costs an import that --help should not wait for.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)
app.command("check")(check.check)
app.command("plan")(plan.plan)
app.command("tensors")(tensors.tensors)
app.command("list")(listing.list_records)
app.command("scan")(scan.scan)
app.command("prove")(prove.prove)
app.command("crawl")(crawl.crawl)
app.command("serve")(serve.serve)
app.command("work")(work.work)
app.command("migrate")(migrate.migrate)
app.add_typer(token.app, name="token")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """The console script. A fault of ours exits 5: exit code 1 is a word about an adapter."""
    if not sys.stderr.isatty():
        # Progress bars are for people; the Hub's client draws its own unless told.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app(prog_name="loadplan")
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except Exception:
        for line in traceback.format_exc().splitlines():
            sys.stderr.write(clean(line) + "\n")
        sys.stderr.write("error: internal-error: a fault of loadplan, not of the adapter.\n")
        sys.exit(Exit.FAILURE)
