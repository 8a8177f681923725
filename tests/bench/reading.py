"""One way of reading the bench's adapters, as a program: prints seconds, peak memory, results.

python -m tests.bench.reading ours|plain URL [database]
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from registry.domain.facts import AdapterFacts
from tests.bench.repositories import FIRST, PLAIN, WORDY

Result = list[Any]


def digest_of(results: Iterable[Result]) -> str:
    """Id, commit, rank and every shape of each adapter, in order of the ids."""
    return hashlib.sha256(json.dumps(sorted(results)).encode()).hexdigest()


def read_plainly(url: str) -> tuple[float, list[Result]]:
    """As one would with huggingface_hub: one adapter after another, nothing stored."""
    from huggingface_hub import HfApi, hf_hub_download, parse_safetensors_file_metadata

    api, results = HfApi(endpoint=url), []
    started = time.perf_counter()
    for repo_id in PLAIN:
        sha = api.model_info(repo_id).sha
        path = hf_hub_download(repo_id, "adapter_config.json", revision=sha, endpoint=url)
        with open(path) as file:
            rank = json.load(file)["r"]
        header = parse_safetensors_file_metadata(repo_id, "adapter_model.safetensors", revision=sha)
        shapes = sorted((name, list(info.shape)) for name, info in header.tensors.items())
        results.append([repo_id, sha, rank, shapes])
    return time.perf_counter() - started, results


def scan_ours(url: str, database_url: str) -> tuple[float, list[Result]]:
    """Read, planned and committed to the database. The base is read with the first adapter."""
    from migrations.upgrade import upgrade
    from registry.collecting import relax_collection
    from registry.db.session import open_database
    from registry.db.tokenizers import StoredTokenizers
    from registry.domain.refs import Reference
    from registry.hub import open_reader
    from registry.scanning import Scanner

    upgrade(database_url)
    database = open_database(database_url)

    async def scan_all() -> tuple[float, list[Result]]:
        found = []
        async with open_reader(url, None, tokenizers=StoredTokenizers(database)) as reader:
            scanner = Scanner(reader, database)
            await scanner.scan(Reference(FIRST))
            # As a crawl does it.
            relax_collection()
            print(json.dumps("ready"), flush=True)
            sys.stdin.readline()
            started = time.perf_counter()
            async for scanned in scanner.scan_many([Reference(repo_id) for repo_id in PLAIN]):
                found.append(scanned.adapter)
            seconds = time.perf_counter() - started
            print(json.dumps("scanned"), flush=True)
            sys.stdin.readline()
            async for _ in scanner.scan_many([Reference(repo_id) for repo_id in WORDY]):
                pass
        return seconds, [_result_of(adapter) for adapter in found]

    answer = asyncio.run(scan_all())
    database.close()
    return answer


def _result_of(adapter: AdapterFacts | None) -> Result:
    assert adapter is not None
    assert adapter.config is not None
    assert adapter.weights is not None
    assert adapter.weights.layout is not None
    shapes = sorted((spec.name, list(spec.shape)) for spec in adapter.weights.layout)
    return [adapter.ref.repo_id, adapter.ref.commit_sha, adapter.config.r, shapes]


def main() -> None:
    way, url = sys.argv[1:3]
    os.environ["HF_ENDPOINT"] = url
    run: Callable[[], tuple[float, list[Result]]] = (
        (lambda: read_plainly(url)) if way == "plain" else (lambda: scan_ours(url, sys.argv[3]))
    )
    seconds, results = run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    document = {"seconds": seconds, "peak": peak, "count": len(results)}
    print(json.dumps(document | {"digest": digest_of(results)}), flush=True)


if __name__ == "__main__":
    main()
