"""`HubReader`: checkpoints of one Hub, read without their weights."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from registry.domain.facts import AdapterFacts, BaseFacts
from registry.domain.refs import Reference, Source
from registry.errors import InvalidRequest
from registry.hub import checkpoints, listing
from registry.hub.client import HubClient, Timeouts, Traffic
from registry.hub.hub_files import HubFiles
from registry.hub.reader import ListedRepository
from registry.hub.slices import read_slice
from registry.hub.snapshots import Snapshot
from registry.hub.throttle import Patience, Quota, Timing
from registry.hub.tokenizers import TokenizerCache, Tokenizers


class HubReader:
    """An async context manager. Any number of reads may run at once on one event loop.

    `endpoint` is HF_ENDPOINT's value, `token` HF_TOKEN's. `concurrency` checkpoints are read at a
    time, over twice as many connections: one to the Hub and one to where it redirects. `quota` is
    given where several readers use up the same one.
    """

    def __init__(
        self,
        endpoint: str,
        token: str | None = None,
        *,
        tokenizers: TokenizerCache | None = None,
        concurrency: int = 64,
        timeouts: Timeouts | None = None,
        patience: Patience | None = None,
        timing: Timing | None = None,
        quota: Quota | None = None,
    ) -> None:
        self._client = HubClient(
            endpoint,
            token,
            connections=2 * concurrency,
            timeouts=timeouts or Timeouts(),
            patience=patience or Patience(),
            timing=timing or Timing(),
            quota=quota,
        )
        self._files = HubFiles(self._client)
        self._tokenizers = Tokenizers(tokenizers)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    @property
    def traffic(self) -> Traffic:
        """Answers and bytes so far, by host."""
        return self._client.traffic

    async def resolve(self, reference: Reference) -> Snapshot:
        return await self._files.resolve(_on_hub(reference))

    async def find_adapters(self, reference: Reference) -> tuple[str | None, ...]:
        return await checkpoints.find_adapters(self._files, _on_hub(reference))

    async def read_adapter(self, reference: Reference) -> AdapterFacts:
        return await checkpoints.read_adapter(self._files, self._tokenizers, _on_hub(reference))

    async def read_base(self, reference: Reference) -> BaseFacts:
        return await checkpoints.read_base(self._files, self._tokenizers, _on_hub(reference))

    async def read_file(
        self, snapshot: Snapshot, path: str, start: int = 0, end: int | None = None
    ) -> bytes:
        return await read_slice(self._files, snapshot, path, start, end)

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
        return listing.list_repositories(
            self._client, author=author, base=base, tag=tag, limit=limit, since=since, page=page
        )


def _on_hub(reference: Reference) -> Reference:
    if reference.source is not Source.HUB:
        raise InvalidRequest(f"{reference} is not a repository of the Hub.")
    return reference
