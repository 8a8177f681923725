"""One reader for every source: the reference says which."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.refs import Reference, Source
from registry.hub.client import Traffic
from registry.hub.hub_reader import HubReader
from registry.hub.local import LocalReader
from registry.hub.reader import ListedRepository, Reader
from registry.hub.snapshots import Snapshot
from registry.hub.throttle import Patience, Quota
from registry.hub.tokenizers import TokenizerCache


class AnyReader:
    """A `Reader` that hands each reference to the reader of its source."""

    def __init__(self, hub: HubReader, local: LocalReader) -> None:
        self._hub = hub
        self._local = local

    @property
    def traffic(self) -> Traffic:
        """Answers and bytes of the Hub so far, by host."""
        return self._hub.traffic

    async def resolve(self, reference: Reference) -> Snapshot:
        return await self._of(reference.source).resolve(reference)

    async def find_adapters(self, reference: Reference) -> tuple[str | None, ...]:
        return await self._of(reference.source).find_adapters(reference)

    async def read_adapter(self, reference: Reference) -> AdapterFacts:
        return await self._of(reference.source).read_adapter(reference)

    async def read_base(self, reference: Reference) -> BaseFacts:
        return await self._of(reference.source).read_base(reference)

    async def read_file(
        self, snapshot: Snapshot, path: str, start: int = 0, end: int | None = None
    ) -> bytes:
        return await self._of(snapshot.source).read_file(snapshot, path, start, end)

    def list_repositories(
        self,
        *,
        author: str | None = None,
        base: str | None = None,
        tag: str | None = "peft",
        limit: int | None = None,
        since: str | None = None,
        page: str | None = None,
    ) -> AsyncIterator[ListedRepository]:
        return self._hub.list_repositories(
            author=author, base=base, tag=tag, limit=limit, since=since, page=page
        )

    def _of(self, source: Source) -> Reader:
        return self._local if source is Source.LOCAL else self._hub


@asynccontextmanager
async def open_reader(
    endpoint: str,
    token: str | None = None,
    *,
    tokenizers: TokenizerCache | None = None,
    concurrency: int = 64,
    patience: Patience | None = None,
    quota: Quota | None = None,
) -> AsyncIterator[AnyReader]:
    """A reader of Hub repositories and local folders. Nothing is connected before it is needed."""
    async with HubReader(
        endpoint,
        token,
        tokenizers=tokenizers,
        concurrency=concurrency,
        patience=patience,
        quota=quota,
    ) as hub:
        yield AnyReader(hub, LocalReader(tokenizers=tokenizers))
