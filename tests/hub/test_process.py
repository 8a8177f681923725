"""The local Hub as a process of its own."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from tests.hub import LocalHub
from tests.hub.process import HubProcess, Traffic


def fill(hub: LocalHub) -> None:
    hub.add_commit(
        "acme/lora", {"adapter_config.json": "{}", "adapter_model.safetensors": b"x" * 64}
    )


async def _time_each(url: str, times: int) -> list[float]:
    """Seconds of each of so many requests on one connection."""
    seconds = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        for _ in range(times):
            began = time.perf_counter()
            async with session.get(url) as answer:
                assert answer.status == 200
                await answer.read()
            seconds.append(time.perf_counter() - began)
    return seconds


def test_a_hub_in_another_process_serves_and_counts() -> None:
    with HubProcess("tests.hub.test_process:fill") as hub:
        asyncio.run(_time_each(f"{hub.url}/acme/lora/resolve/main/adapter_model.safetensors", 1))
        traffic = hub.traffic()
        assert (traffic.hub_requests, traffic.cdn_requests, traffic.cdn_bytes) == (1, 1, 64)
        hub.reset()
        assert hub.traffic() == Traffic(0, 0, 0, 0)


def test_a_program_that_cannot_start_says_so() -> None:
    with pytest.raises(RuntimeError, match="ended with 1"), HubProcess("tests.hub.none:fill"):
        pass


def test_one_connection_does_not_wait_for_acknowledgements() -> None:
    """An answer of two writes must not wait 40 ms between them, as sockets do by default."""
    with HubProcess("tests.hub.test_process:fill") as hub:
        url = f"{hub.url}/api/resolve-cache/models/acme/lora/main/adapter_config.json"
        assert min(asyncio.run(_time_each(url, 50))) < 0.035
