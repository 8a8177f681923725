"""The facts of an adapter and its base, read from a local Hub.

A local folder would be read to its last byte for its digest; the Hub names files by their hashes,
so a base of 140 GB costs no more than its headers.
"""

from __future__ import annotations

import asyncio

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.refs import Reference
from registry.hub import open_reader
from tests.data.weights import Files
from tests.hub.server import LocalHub


def read_pair(adapter: Files, base: Files) -> tuple[AdapterFacts, BaseFacts]:
    with LocalHub() as hub:
        hub.add_commit("acme/adapter", adapter)
        hub.add_commit("acme/base", base)
        return asyncio.run(_read(hub.url))


async def _read(url: str) -> tuple[AdapterFacts, BaseFacts]:
    async with open_reader(url, None) as reader:
        adapter = await reader.read_adapter(Reference("acme/adapter"))
        return adapter, await reader.read_base(Reference("acme/base"))
