"""The local Hub's own manners: log, quotas, latency, faults, profiles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import aiohttp
import pytest

from tests.hub import (
    BARE,
    RESOLVE_ONLY,
    Answer,
    Delay,
    Drop,
    Endless,
    Hole,
    LocalHub,
    Quotas,
    Truncate,
    WholeFile,
    WrongRange,
    rate_limited,
)

WEIGHTS = "acme/lora/resolve/main/adapter_model.safetensors"
CONFIG = "acme/lora/resolve/main/adapter_config.json"
BODY = bytes(range(256)) * 4


@pytest.fixture
def lora(hub: LocalHub) -> LocalHub:
    hub.add_commit(
        "acme/lora", {"adapter_config.json": '{"r": 8}', "adapter_model.safetensors": BODY}
    )
    return hub


async def _ask(
    hub: LocalHub, path: str, *, method: str = "GET", follow: bool = True, **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, f"{hub.url}/{path}", allow_redirects=follow, headers=headers
        ) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


def ask(
    hub: LocalHub, path: str, *, method: str = "GET", follow: bool = True, **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    return asyncio.run(_ask(hub, path, method=method, follow=follow, **headers))


def test_an_lfs_file_is_at_another_host_name_and_answers_ranges_there(lora: LocalHub) -> None:
    status, headers, _ = ask(lora, WEIGHTS, follow=False)
    assert status == 302
    assert headers["Location"].startswith(lora.cdn_url)
    assert headers["X-Linked-Size"] == "1024"
    assert len(headers["X-Repo-Commit"]) == 40
    status, headers, body = ask(lora, WEIGHTS, Range="bytes=10-19")
    assert (status, body, headers["Content-Range"]) == (206, BODY[10:20], "bytes 10-19/1024")
    assert [entry.host for entry in lora.log.entries] == ["hub", "hub", "cdn"]
    assert lora.log.bytes_sent(host="cdn") == 10


def test_a_cdn_address_without_its_query_is_refused(lora: LocalHub) -> None:
    _, headers, _ = ask(lora, WEIGHTS, follow=False)
    path = headers["Location"].removeprefix(lora.cdn_url + "/").split("?")[0]
    assert ask(lora, path)[0] == 403


def test_a_small_file_is_redirected_to_the_cache_of_the_same_host(lora: LocalHub) -> None:
    status, headers, _ = ask(lora, CONFIG, follow=False)
    assert status == 307
    assert headers["Location"].startswith("/api/resolve-cache/models/acme/lora/")
    status, headers, body = ask(lora, CONFIG)
    assert (status, body) == (200, b'{"r": 8}')
    # The id that `git hash-object` prints for the same eight bytes.
    assert headers["ETag"] == '"c9f6dd3bbf764cb8853c748081e24619bf916921"'


@pytest.mark.parametrize(
    ("asked", "sent"),
    [("bytes=0-", BODY), ("bytes=-24", BODY[-24:]), ("bytes=1000-9999", BODY[1000:])],
)
def test_open_and_suffix_ranges_are_served(lora: LocalHub, asked: str, sent: bytes) -> None:
    status, _, body = ask(lora, WEIGHTS, Range=asked)
    assert (status, body) == (206, sent)


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=9-3", "bytes=x-y", "bytes=-0"])
def test_a_range_outside_the_file_is_416(lora: LocalHub, asked: str) -> None:
    status, headers, _ = ask(lora, WEIGHTS, Range=asked)
    assert (status, headers["Content-Range"]) == (416, "bytes */1024")


def test_a_hole_and_a_sparse_file_are_served_without_being_read(
    hub: LocalHub, tmp_path: Path
) -> None:
    size = 13 * 1024**3
    Hole(b"head", size).write(tmp_path / "sparse")
    hub.add_commit("acme/hole", {"a.safetensors": Hole(b"head", size)})
    hub.add_commit("acme/disk", {"a.safetensors": tmp_path / "sparse"})
    answers = [
        ask(hub, f"acme/{name}/resolve/main/a.safetensors", Range="bytes=0-9")
        for name in ("hole", "disk")
    ]
    for status, headers, body in answers:
        assert (status, body) == (206, b"head" + bytes(6))
        assert headers["Content-Range"] == f"bytes 0-9/{size}"
    assert answers[0][1]["ETag"] == answers[1][1]["ETag"]


def test_a_client_that_hangs_up_ends_the_sending(hub: LocalHub) -> None:
    hub.add_commit("acme/hole", {"a.safetensors": Hole(b"head", 13 * 1024**3)})

    async def read_a_little() -> None:
        url = f"{hub.url}/acme/hole/resolve/main/a.safetensors"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            await answer.content.read(100)

    asyncio.run(read_a_little())
    deadline = time.monotonic() + 5
    while not hub.log.count(host="cdn") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 0 < hub.log.bytes_sent(host="cdn") < 64 * 1024**2


def test_every_answer_of_the_hub_tells_the_quota_and_the_cdn_does_not(lora: LocalHub) -> None:
    _, headers, _ = ask(lora, "api/models/acme/lora")
    assert headers["RateLimit"].startswith('"api";r=')
    assert headers["RateLimit-Policy"] == '"fixed window";"api";q=1000000;w=300'
    _, headers, _ = ask(lora, CONFIG)
    assert headers["RateLimit"].startswith('"resolvers";r=')
    _, headers, _ = ask(lora, WEIGHTS)
    assert "RateLimit" not in headers


def test_a_spent_quota_answers_429_until_its_window_ends(lora: LocalHub) -> None:
    lora.quotas = Quotas(api=2, window=1)
    statuses = [ask(lora, "api/models/acme/lora")[0] for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert ask(lora, CONFIG)[0] == 200
    time.sleep(1.05)
    assert ask(lora, "api/models/acme/lora")[0] == 200


def test_latency_is_slept_on_every_hop(lora: LocalHub) -> None:
    lora.latency = 0.1
    began = time.monotonic()
    ask(lora, CONFIG)
    assert time.monotonic() - began >= 0.2


def test_an_injected_answer_wears_off_after_its_times(lora: LocalHub) -> None:
    lora.inject(Answer(503), path="adapter_config", times=2)
    assert [ask(lora, CONFIG)[0] for _ in range(3)] == [503, 503, 200]


def test_429_carries_retry_after_as_seconds_as_a_date_or_not_at_all(lora: LocalHub) -> None:
    when = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    for fault in (rate_limited(7, bucket="api"), rate_limited(when), rate_limited()):
        lora.inject(fault, times=1)
    status, headers, _ = ask(lora, CONFIG)
    assert (status, headers["Retry-After"], headers["RateLimit"]) == (429, "7", '"api";r=0;t=7')
    _, headers, _ = ask(lora, CONFIG)
    assert parsedate_to_datetime(headers["Retry-After"]) - when == timedelta(0)
    status, headers, _ = ask(lora, CONFIG)
    assert status == 429
    assert "Retry-After" not in headers


def test_a_delay_holds_one_answer_back(lora: LocalHub) -> None:
    lora.inject(Delay(0.2), path="api/models", times=1)
    began = time.monotonic()
    assert ask(lora, "api/models/acme/lora")[0] == 200
    assert time.monotonic() - began >= 0.2


def test_a_dropped_connection_sends_nothing(lora: LocalHub) -> None:
    lora.inject(Drop(), times=1)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        ask(lora, CONFIG, method="POST")
    assert ask(lora, CONFIG)[0] == 200


def test_a_truncated_body_is_shorter_than_promised(lora: LocalHub) -> None:
    lora.inject(Truncate(100), host="cdn")
    with pytest.raises(aiohttp.ClientPayloadError):
        ask(lora, WEIGHTS)
    assert lora.log.bytes_sent(host="cdn") == 100


def test_a_range_can_be_answered_with_the_whole_file_or_a_wrong_one(lora: LocalHub) -> None:
    lora.inject(WholeFile(), host="cdn", times=1)
    lora.inject(WrongRange(5), host="cdn", times=1)
    assert ask(lora, WEIGHTS, Range="bytes=0-9")[::2] == (200, BODY)
    status, headers, body = ask(lora, WEIGHTS, Range="bytes=0-9")
    assert (status, headers["Content-Range"], body) == (206, "bytes 5-14/1024", BODY[5:15])


def test_an_endless_body_never_ends(lora: LocalHub) -> None:
    lora.inject(Endless(pause=0.01), path="adapter_config")

    async def wait() -> None:
        async with asyncio.timeout(0.5):
            await _ask(lora, CONFIG)

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_a_resolve_only_mirror_has_no_api_and_still_names_the_commit(lora: LocalHub) -> None:
    lora.profile = RESOLVE_ONLY
    assert ask(lora, "api/models/acme/lora")[0] == 404
    status, headers, body = ask(lora, CONFIG, follow=False)
    assert (status, body) == (200, b'{"r": 8}')
    assert len(headers["X-Repo-Commit"]) == 40
    assert ask(lora, WEIGHTS, Range="bytes=0-9")[0] == 206


def test_a_bare_mirror_names_no_commit_and_ignores_ranges(lora: LocalHub) -> None:
    lora.profile = BARE
    status, headers, body = ask(lora, WEIGHTS, follow=False, Range="bytes=0-9")
    assert (status, body) == (200, BODY)
    assert "X-Repo-Commit" not in headers
    assert "Accept-Ranges" not in headers


def test_commit_shas_depend_on_content_alone() -> None:
    shas = []
    for _ in range(2):
        hub = LocalHub()
        shas.append(hub.add_commit("acme/lora", {"a": "1"}))
        hub.add_commit("acme/other", {"a": "1"})
        shas.append(hub.add_commit("acme/lora", {"a": "2"}))
    assert shas[:2] == shas[2:]
    assert shas[0] != shas[1]


def test_a_removed_file_is_gone_from_the_new_commit_and_kept_in_the_old(lora: LocalHub) -> None:
    old = lora.repository("acme/lora").head
    lora.add_commit("acme/lora", {"adapter_config.json": None})
    assert old is not None
    assert ask(lora, CONFIG)[0] == 404
    assert ask(lora, CONFIG.replace("main", old.sha))[0] == 200
