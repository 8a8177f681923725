"""The local Hub as a process of its own."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from tests.hub import LocalHub
from tests.hub.process import HubProcess, Traffic

REQUESTS = 3000


def fill(hub: LocalHub) -> None:
    hub.add_commit(
        "acme/lora", {"adapter_config.json": "{}", "adapter_model.safetensors": b"x" * 64}
    )


async def _ask(url: str, times: int, connections: int = 32) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections)) as session:
        numbers = iter(range(times))

        async def work() -> None:
            for _ in numbers:
                async with session.get(url) as answer:
                    assert answer.status == 200
                    await answer.read()

        await asyncio.gather(*(work() for _ in range(connections)))


def test_a_hub_in_another_process_serves_and_counts() -> None:
    with HubProcess("tests.hub.test_process:fill") as hub:
        asyncio.run(_ask(f"{hub.url}/acme/lora/resolve/main/adapter_model.safetensors", 1))
        traffic = hub.traffic()
        assert (traffic.hub_requests, traffic.cdn_requests, traffic.cdn_bytes) == (1, 1, 64)
        hub.reset()
        assert hub.traffic() == Traffic(0, 0, 0, 0)


def test_a_program_that_cannot_start_says_so() -> None:
    with pytest.raises(RuntimeError, match="ended with 1"), HubProcess("tests.hub.none:fill"):
        pass


def test_it_answers_quickly_enough_for_the_bench() -> None:
    """A lower bound with room for a busy machine; the bench wants about 1500 a second."""
    with HubProcess("tests.hub.test_process:fill") as hub:
        url = f"{hub.url}/api/resolve-cache/models/acme/lora/main/adapter_config.json"
        began = time.perf_counter()
        asyncio.run(_ask(url, REQUESTS))
        rate = REQUESTS / (time.perf_counter() - began)
    print(f"{rate:.0f} requests a second")
    assert rate > 300


def test_one_connection_does_not_wait_for_acknowledgements() -> None:
    """An answer of two writes must not wait 40 ms between them, as sockets do by default."""
    with HubProcess("tests.hub.test_process:fill") as hub:
        url = f"{hub.url}/api/resolve-cache/models/acme/lora/main/adapter_config.json"
        began = time.perf_counter()
        asyncio.run(_ask(url, 50, connections=1))
        assert time.perf_counter() - began < 1.5
