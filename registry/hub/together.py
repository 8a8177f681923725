"""Several reads at once, of which one failure ends all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

# Bytes from which parsing moves to a thread: below it the hand-over costs more than it frees.
LARGE = 256 * 1024


async def run_together(*reads: Coroutine[Any, Any, T]) -> list[T]:
    """The results in order. The first failure cancels the others and is raised as it is."""
    if len(reads) < 2:
        return [await read for read in reads]
    tasks = [asyncio.ensure_future(read) for read in reads]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
