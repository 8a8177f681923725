"""The session: redirects, the token, ranges, retries, quota, bounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from registry.errors import (
    FileInvalid,
    HubError,
    HubMirrorLimited,
    HubRateLimited,
    HubUnreachable,
    RepositoryDisabled,
    RepositoryGated,
    RepositoryNotFound,
    RevisionNotFound,
    SettingInvalid,
    TransientHubError,
)
from registry.hub.answers import Answer as HubAnswer
from registry.hub.bodies import Span
from registry.hub.client import HubClient, Timeouts
from registry.hub.throttle import API, RESOLVERS, Left, Patience, Quota
from tests.hub import (
    Answer,
    Delay,
    Drop,
    Endless,
    LocalHub,
    Quotas,
    Truncate,
    WholeFile,
    WrongRange,
    rate_limited,
)
from tests.hub_reader.asking import Clock

WEIGHTS = bytes(range(256)) * 4096
PATH = "/acme/lora/resolve/main/adapter_model.safetensors"
CONFIG = "/acme/lora/resolve/main/adapter_config.json"
INFO = "/api/models/acme/lora/revision/main"


@pytest.fixture
def hub():
    with LocalHub() as hub:
        hub.add_commit(
            "acme/lora", {"adapter_model.safetensors": WEIGHTS, "adapter_config.json": '{"r": 8}'}
        )
        yield hub


def ask(
    hub: LocalHub,
    use: Callable[[HubClient], Awaitable[HubAnswer]],
    *,
    token: str | None = None,
    clock: Clock | None = None,
    patience: Patience | None = None,
    timeouts: Timeouts | None = None,
    quota: Quota | None = None,
) -> HubAnswer:
    async def run() -> HubAnswer:
        async with HubClient(
            hub.url,
            token,
            timing=(clock or Clock()).timing,
            patience=patience or Patience(),
            timeouts=timeouts or Timeouts(),
            quota=quota,
        ) as client:
            return await use(client)

    return asyncio.run(run())


def get(path: str, *, span: Span | None = None, limit: int = 2_000_000):
    return lambda client: client.get(client.url(path), "a file", limit=limit, span=span)


def test_a_small_file_is_followed_through_the_hubs_own_redirect(hub):
    answer = ask(hub, get(CONFIG))
    assert answer.body == b'{"r": 8}'
    assert [entry.status for entry in hub.log.entries] == [307, 200]


def test_the_token_goes_to_the_hub_and_never_to_another_host(hub):
    hub.add_token("hf_secret")
    answer = ask(hub, get(PATH, span=Span(0, 100)), token="hf_secret")
    assert answer.body == WEIGHTS[:100]
    hosts = {(entry.host, entry.authorized) for entry in hub.log.entries}
    assert hosts == {("hub", True), ("cdn", False)}


def test_an_anonymous_client_takes_no_token_from_the_machine(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    ask(hub, get(CONFIG))
    assert not any(entry.authorized for entry in hub.log.entries)


def test_the_token_is_not_in_the_clients_repr():
    assert "hf_secret" not in repr(HubClient("http://127.0.0.1:1", "hf_secret"))


def test_a_range_reads_these_bytes_and_the_files_size(hub):
    answer = ask(hub, get(PATH, span=Span(70_000, 70_100)))
    assert answer.body == WEIGHTS[70_000:70_100]
    assert answer.total == len(WEIGHTS)
    assert hub.log.select(host="cdn")[0].range == "bytes=70000-70099"


def test_a_range_beyond_the_end_is_no_error(hub):
    answer = ask(hub, get(PATH, span=Span(len(WEIGHTS) + 5, len(WEIGHTS) + 9)))
    assert answer.status == 416
    assert answer.total == len(WEIGHTS)


@pytest.mark.parametrize("start", [0, 70_000])
def test_a_whole_file_in_answer_to_a_range_is_not_swallowed(start):
    whole = bytes(64 * 1024 * 1024)
    with LocalHub() as hub:
        hub.add_commit("acme/lora", {"adapter_model.safetensors": whole})
        hub.inject(WholeFile(), host="cdn")
        answer = ask(hub, get(PATH, span=Span(start, start + 1000)))
        assert answer.body == bytes(1000)
        assert answer.total == len(whole)
    # What was under way in socket buffers, not the 64 MiB.
    assert hub.log.bytes_sent(host="cdn") < 16 * 1024 * 1024


def test_a_whole_file_is_not_read_up_to_a_span_far_inside():
    with LocalHub() as hub:
        hub.add_commit("acme/lora", {"adapter_model.safetensors": bytes(32 * 1024 * 1024)})
        hub.inject(WholeFile(), host="cdn")
        with pytest.raises(HubMirrorLimited):
            ask(hub, get(PATH, span=Span(20_000_000, 20_000_100)))


def test_another_range_than_asked_is_refused(hub):
    hub.inject(WrongRange(7), host="cdn")
    with pytest.raises(HubMirrorLimited):
        ask(hub, get(PATH, span=Span(0, 100)))


def test_a_body_longer_than_its_limit_is_refused_before_it_is_read(hub):
    with pytest.raises(FileInvalid):
        ask(hub, get(PATH, limit=1000))


def test_a_body_without_length_or_end_is_refused_at_its_limit(hub):
    hub.inject(Endless(b"x" * 1000, 0.0), path="adapter_config")
    with pytest.raises(FileInvalid):
        ask(hub, get(CONFIG, limit=50_000))


def test_a_body_that_never_ends_within_its_limit_times_out(hub):
    hub.inject(Endless(b" ", 0.02), path="adapter_config")
    with pytest.raises(HubUnreachable):
        ask(hub, get(CONFIG), timeouts=Timeouts(total=0.3), patience=Patience(attempts=2))


def test_a_stalled_answer_times_out(hub):
    hub.inject(Delay(5), path="api")
    with pytest.raises(HubUnreachable):
        ask(hub, get(INFO), timeouts=Timeouts(read=0.1), patience=Patience(attempts=2))


@pytest.mark.parametrize("fault", [Truncate(3), Answer(503), Answer(500), Answer(408)])
def test_a_passing_failure_is_retried_with_growing_waits(hub, fault):
    clock = Clock()
    hub.inject(fault, path="adapter_config", times=3)
    assert ask(hub, get(CONFIG), clock=clock).body == b'{"r": 8}'
    assert len(clock.slept) == 3
    assert clock.slept == sorted(clock.slept)
    assert clock.slept[0] > 0


def test_a_dropped_connection_is_retried(hub):
    clock = Clock()
    hub.inject(Drop(), path="adapter_config", times=5)
    assert ask(hub, get(CONFIG), clock=clock).body == b'{"r": 8}'
    # aiohttp repeats a request by itself once, before we see the failure.
    assert 1 <= len(clock.slept) <= 5


def test_a_drop_on_the_other_host_is_retried_too(hub):
    hub.inject(Truncate(50), host="cdn", times=1)
    assert ask(hub, get(PATH, span=Span(0, 100))).body == WEIGHTS[:100]
    assert hub.log.count(host="hub") == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Drop(), HubUnreachable), (Answer(503), TransientHubError), (Truncate(3), HubUnreachable)],
)
def test_a_lasting_failure_ends_with_its_own_error(hub, fault, error):
    rule = hub.inject(fault, path="adapter_config")
    with pytest.raises(error):
        ask(hub, get(CONFIG), patience=Patience(attempts=4))
    assert rule.hits >= 4


def test_a_refusal_of_the_other_host_says_nothing_of_the_repository(hub):
    hub.inject(Answer(403), host="cdn")
    with pytest.raises(TransientHubError, match="host of the file"):
        ask(hub, get(PATH, span=Span(0, 10)))


def test_one_attempt_lasts_no_longer_than_patience(hub):
    hub.inject(Delay(5), path="adapter_config")
    started = time.monotonic()
    with pytest.raises(HubUnreachable):
        ask(hub, get(CONFIG), patience=Patience(total=0.2, attempts=1))
    assert time.monotonic() - started < 3


def test_no_server_is_unreachable():
    with pytest.raises(HubUnreachable) as caught:
        ask(LocalHub(port=1), get(CONFIG), patience=Patience(attempts=2))
    assert caught.value.code == "hub-unreachable"


def test_retries_stop_at_the_deadline(hub):
    clock = Clock()
    hub.inject(Answer(503), path="adapter_config")
    with pytest.raises(TransientHubError):
        ask(hub, get(CONFIG), clock=clock, patience=Patience(total=3, attempts=100))
    assert sum(clock.slept) <= 3


def test_retry_after_in_seconds_is_honoured(hub):
    clock = Clock()
    hub.inject(rate_limited(17), path="adapter_config", times=1)
    ask(hub, get(CONFIG), clock=clock)
    assert clock.slept == [17]


def test_retry_after_as_a_date_is_honoured(hub):
    clock = Clock()
    when = datetime.fromtimestamp(clock.time + 23, UTC)
    hub.inject(rate_limited(when), path="adapter_config", times=1)
    ask(hub, get(CONFIG), clock=clock)
    assert clock.slept == [pytest.approx(23, abs=1)]


def test_a_used_up_quota_without_retry_after_waits_for_its_window(hub):
    clock = Clock()
    headers = {"RateLimit": '"resolvers";r=0;t=31'}
    hub.inject(Answer(429, headers), path="adapter_config", times=1)
    ask(hub, get(CONFIG), clock=clock)
    assert clock.slept[0] == pytest.approx(31, abs=0.1)


def test_a_wait_beyond_patience_is_told_instead_of_waited(hub):
    clock = Clock()
    hub.inject(rate_limited(290), path="adapter_config")
    with pytest.raises(HubRateLimited) as caught:
        ask(hub, get(CONFIG), clock=clock)
    assert caught.value.retry_after == 290
    assert clock.slept == []


def test_429_for_long_without_a_hint_gives_up_as_rate_limited(hub):
    hub.inject(rate_limited(), path="adapter_config")
    with pytest.raises(HubRateLimited):
        ask(hub, get(CONFIG))


def test_a_nearly_used_up_quota_is_waited_for_before_asking():
    clock = Clock()
    with LocalHub(quotas=Quotas(resolvers=1000, window=40)) as hub:
        hub.add_commit("acme/lora", {"adapter_config.json": "{}"})
        hub.quotas._used = {"resolvers": 988}
        hub.quotas._began = time.monotonic()

        async def twice(client: HubClient) -> HubAnswer:
            first = await client.get(client.url(CONFIG), "a file", limit=100)
            assert clock.slept == []
            return await client.get(client.url(CONFIG), "a file", limit=100) and first

        ask(hub, twice, clock=clock, patience=Patience(total=200))
        assert hub.log.count(status=429) == 0
    # Ten of a thousand are left to others: the window's end is waited for, before each of the two
    # hops, since the server's own clock has not moved.
    assert clock.slept == [pytest.approx(40, abs=2)] * 2


def test_the_buckets_are_counted_apart():
    clock = Clock()
    with LocalHub(quotas=Quotas(api=1, resolvers=1000)) as hub:
        hub.add_commit("acme/lora", {"adapter_config.json": "{}"})

        async def both(client: HubClient) -> HubAnswer:
            await client.get(client.url(INFO), "info", limit=10_000)
            return await client.get(client.url(CONFIG), "a file", limit=100)

        ask(hub, both, clock=clock)
    assert clock.slept == []


def test_what_is_left_is_what_the_hub_said_last_and_unknown_before_and_after():
    clock = Clock()
    quota = Quota(clock.timing)
    assert quota.left() == {}
    with LocalHub(quotas=Quotas(api=50, resolvers=1000, window=40)) as hub:
        hub.add_commit("acme/lora", {"adapter_config.json": "{}"})

        async def read(client: HubClient) -> HubAnswer:
            await client.get(client.url(INFO), "info", limit=10_000)
            return await client.get(client.url(INFO), "info", limit=10_000)

        ask(hub, read, clock=clock, quota=quota)
    assert quota.left() == {API: Left(48, 50, pytest.approx(40, abs=1))}
    # A request that is on its way counts; what was not told of a bucket cannot be counted from.
    quota.spend(API)
    quota.spend(RESOLVERS)
    assert quota.left()[API].remaining == 47
    quota.note({"RateLimit": '"strange bucket";r=5;t=10'})
    assert quota.left().keys() == {API}
    clock.time += 41
    assert quota.left() == {}


def test_readers_that_share_a_quota_wait_for_each_others_requests():
    clock = Clock()
    quota = Quota(clock.timing)
    policy = '"fixed window";"resolvers";q=100;w=300'
    quota.note({"RateLimit": '"resolvers";r=1;t=30', "RateLimit-Policy": policy})
    with LocalHub() as hub:
        hub.add_commit("acme/lora", {"adapter_config.json": "{}"})
        ask(hub, get(CONFIG), clock=clock, quota=quota)
    assert clock.slept[0] == pytest.approx(30)


@pytest.mark.parametrize(
    ("prepare", "token", "error"),
    [
        (lambda hub: hub.delete("acme/lora"), None, RepositoryNotFound),
        (lambda hub: hub.delete("acme/lora"), "hf_known", RepositoryNotFound),
        (lambda hub: hub.set_private("acme/lora"), None, RepositoryNotFound),
        (lambda hub: hub.set_private("acme/lora"), "hf_known", RepositoryNotFound),
        (lambda hub: hub.set_gated("acme/lora"), None, RepositoryGated),
        (lambda hub: hub.set_gated("acme/lora"), "hf_known", RepositoryGated),
        (lambda hub: hub.set_disabled("acme/lora"), None, RepositoryDisabled),
        (lambda hub: None, "hf_wrong", HubError),
    ],
    ids=[
        "missing",
        "missing-known",
        "private",
        "private-known",
        "gated",
        "gated-known",
        "disabled",
        "bad-token",
    ],
)
def test_a_refusal_has_the_class_that_its_headers_mean(hub, prepare, token, error):
    hub.add_token("hf_known")
    prepare(hub)
    with pytest.raises(error) as caught:
        ask(hub, get(CONFIG), token=token)
    assert type(caught.value) is error or error is HubError
    assert hub.log.count() == 1
    assert "hf_" not in str(caught.value)


def test_a_missing_revision_has_its_own_class(hub):
    with pytest.raises(RevisionNotFound):
        ask(hub, get("/api/models/acme/lora/revision/none"))


def test_a_redirect_that_never_ends_is_an_error(hub):
    hub.inject(Answer(302, {"Location": CONFIG}), path="adapter_config")
    with pytest.raises(HubError):
        ask(hub, get(CONFIG))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://localhost/x", "", "http://["])
def test_a_redirect_to_nowhere_is_an_error(hub, location):
    hub.inject(Answer(302, {"Location": location}), path="adapter_config")
    with pytest.raises(HubError):
        ask(hub, get(CONFIG))


def test_an_encoded_answer_is_refused(hub):
    hub.inject(Answer(200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"), path="adapter_config")
    with pytest.raises(HubError):
        ask(hub, get(CONFIG))


def test_traffic_is_counted_by_host(hub):
    async def use(client: HubClient) -> HubAnswer:
        answer = await client.get(client.url(PATH), "a file", limit=0, span=Span(0, 1000))
        traffic = client.traffic
        assert (traffic.hub_answers, traffic.other_answers) == (1, 1)
        assert (traffic.other_bytes, traffic.largest_range) == (1000, 1000)
        return answer

    ask(hub, use)


@pytest.mark.parametrize(
    "endpoint", ["", "huggingface.co", "ftp://host", "http://user:pw@host", "http://host?x=1"]
)
def test_an_endpoint_that_is_no_address_is_a_setting_error(endpoint):
    with pytest.raises(SettingInvalid):
        HubClient(endpoint)
