"""A progress bar, on a terminal and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from registry.cli.terminal import is_terminal, messages


@contextmanager
def counted(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """Gives a function to call for each piece done. `total` None: the end is not known."""
    if not is_terminal():
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=messages(), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A turning sign while one answer is awaited."""
    if not is_terminal():
        yield
        return
    with messages().status(what):
        yield
