"""Bounded, patient GET and HEAD requests to one Hub.

huggingface_hub supplies the headers, the meaning of error codes and the quota headers; the session
is aiohttp's, because the library's own has no timeouts on its API calls, does not retry most of
them and reads a whole file when a server ignores `Range`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
from huggingface_hub import constants

# Public by the library's documentation, yet not in the module's __all__.
from huggingface_hub.utils import build_hf_headers
from yarl import URL

from registry.domain.refs import shown
from registry.errors import (
    HubError,
    HubRateLimited,
    HubUnreachable,
    SettingInvalid,
    TransientHubError,
)
from registry.hub.answers import REDIRECTS, RETRIED, Answer, error_of
from registry.hub.bodies import AnswerCut, Span, Wanted, read_body
from registry.hub.throttle import API, PAGES, RESOLVERS, Patience, Quota, Timing, parse_retry_after

_MAX_REDIRECTS = 6
_FILE_HEADERS = ("x-repo-commit", "x-linked-etag", "x-linked-size", "etag", "content-length")


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect, between two pieces of a body, for one attempt as a whole."""

    connect: float = 10.0
    read: float = 20.0
    total: float = 60.0


@dataclass(frozen=True)
class Traffic:
    """Answers and body bytes so far, the Hub's own host apart from all others."""

    hub_answers: int = 0
    hub_bytes: int = 0
    other_answers: int = 0
    other_bytes: int = 0
    largest_range: int = 0

    def since(self, earlier: Traffic) -> Traffic:
        """What came after `earlier`; the largest range is kept."""
        return Traffic(
            self.hub_answers - earlier.hub_answers,
            self.hub_bytes - earlier.hub_bytes,
            self.other_answers - earlier.other_answers,
            self.other_bytes - earlier.other_bytes,
            self.largest_range,
        )


@dataclass(frozen=True)
class _Ask:
    """One request as it stays the same over redirects and retries."""

    method: str
    url: URL
    wanted: Wanted
    follow_elsewhere: bool = True

    @property
    def what(self) -> str:
        return self.wanted.what

    @property
    def span(self) -> Span | None:
        return self.wanted.span


@dataclass
class HubClient:
    """One session to one endpoint. An async context manager; not shared between event loops."""

    endpoint: str
    token: str | None = field(default=None, repr=False)
    connections: int = 128
    timeouts: Timeouts = field(default_factory=Timeouts)
    patience: Patience = field(default_factory=Patience)
    timing: Timing = field(default_factory=Timing)
    quota: Quota | None = None
    traffic: Traffic = field(default_factory=Traffic)

    def __post_init__(self) -> None:
        self._root = _checked_endpoint(self.endpoint)
        self._quota = self.quota or Quota(self.timing)
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(self.connections)
        self._proxies: dict[tuple[str, str | None], str | None] = {}
        # Else building headers may itself ask the Hub which agents there are, once a day.
        constants.HF_HUB_DISABLE_TELEMETRY = True
        self._plain = _headers(None)
        self._authorized = _headers(self.token)

    async def __aenter__(self) -> Self:
        # The semaphore is the cap, so that waiting for a connection does not use up the timeouts.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=300)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def url(self, path: str) -> URL:
        """The address of a route; `path` begins with `/` and is already percent-encoded."""
        return URL(f"{self._root}{path}", encoded=True)

    def is_hub(self, url: URL) -> bool:
        """True on the endpoint's own origin, the only place where the token may go."""
        return url.origin() == self._origin

    @property
    def _origin(self) -> URL:
        return self._root.origin()

    async def get(self, url: URL, what: str, *, limit: int, span: Span | None = None) -> Answer:
        """GET, at most `limit` body bytes; with `span` only these bytes are read.

        Raises the class of `registry.errors` that the answer means; FileInvalid for a longer body.
        """
        return await self._insist(_Ask("GET", url, Wanted(what, limit, span)))

    async def head(self, url: URL, what: str) -> Answer:
        """HEAD, followed on the Hub's host only: the redirect elsewhere says it all.

        A server without HEAD is asked for one byte instead.
        """
        ask = _Ask("HEAD", url, Wanted(what, 0, headers_only=True), follow_elsewhere=False)
        answer = await self._retry(ask)
        if answer.status in (405, 501):
            answer = await self._retry(
                replace(ask, method="GET", wanted=Wanted(what, 1, Span(0, 1)))
            )
        if not (answer.ok or answer.status in REDIRECTS or answer.status == 416):
            raise error_of(answer, what)
        return answer

    async def _insist(self, ask: _Ask) -> Answer:
        answer = await self._retry(ask)
        if answer.ok or (ask.span is not None and answer.status == 416):
            return answer
        if not self.is_hub(answer.url):
            # A signed address that has run out, say: nothing that the Hub says of the repository.
            raise TransientHubError(
                f"The host of the file's content answers {answer.status}: {ask.what}."
            )
        raise error_of(answer, ask.what)

    async def _retry(self, ask: _Ask) -> Answer:
        """Ask until the answer is not a passing failure, or patience is at its end."""
        ends_at = self.timing.monotonic() + self.patience.total
        failure: HubError | None = None
        for attempt in range(self.patience.attempts):
            delay = self.patience.backoff(attempt, self.timing)
            try:
                answer = await self._follow(ask, ends_at)
            except aiohttp.ClientConnectorError as error:
                failure = HubUnreachable(f"No connection for {ask.what}: {_reason(error)}.")
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
                failure = HubUnreachable(f"The connection broke for {ask.what}: {_reason(error)}.")
            except TimeoutError:
                failure = HubUnreachable(f"No answer in time for {ask.what}.")
            except aiohttp.ClientError as error:
                raise HubError(
                    f"The answer for {ask.what} is not HTTP: {_reason(error)}."
                ) from None
            except AnswerCut as error:
                failure = TransientHubError(f"{error.message} ({ask.what})")
            else:
                if answer.status not in RETRIED:
                    return answer
                asked = parse_retry_after(answer.headers, self.timing.now())
                failure = error_of(answer, ask.what, retry_after=asked)
                delay = delay if asked is None else asked + delay * self.timing.chance()
            if self.timing.monotonic() + delay > ends_at or attempt + 1 == self.patience.attempts:
                break
            await self.timing.sleep(delay)
        assert failure is not None
        raise failure

    async def _follow(self, ask: _Ask, ends_at: float) -> Answer:
        url = ask.url
        seen: dict[str, str] = {}
        for _ in range(_MAX_REDIRECTS):
            answer = await self._once(ask, url, ends_at)
            if self.is_hub(url):
                for name in _FILE_HEADERS:
                    if name in answer.headers:
                        seen.setdefault(name, answer.headers[name])
            if answer.status not in REDIRECTS:
                return replace(answer, seen=seen)
            target = self._target(url, answer, ask.what)
            if not (ask.follow_elsewhere or self.is_hub(target)):
                return replace(answer, seen=seen)
            # A redirect within the Hub's host describes itself, not the file: only what it says
            # of the linked file stays.
            if self.is_hub(target):
                seen = {name: text for name, text in seen.items() if name.startswith("x-")}
            url = target
        raise HubError(f"More than {_MAX_REDIRECTS} redirects for {ask.what}.")

    def _target(self, url: URL, answer: Answer, what: str) -> URL:
        location = answer.headers.get("Location")
        try:
            target = url.join(URL(location or "", encoded=True))
            usable = bool(location) and target.host is not None
        except ValueError:
            usable = False
        if not usable or target.scheme not in ("http", "https"):
            raise HubError(f"A redirect to {shown(location or '')} for {what}.")
        if url.scheme == "https" and target.scheme != "https":
            raise HubError(f"A redirect away from https for {what}.")
        return target

    async def _once(self, ask: _Ask, url: URL, ends_at: float) -> Answer:
        hub = self.is_hub(url)
        if hub:
            await self._admit(url, ends_at, ask.what)
        headers = self._authorized if hub else self._plain
        if ask.span is not None:
            headers = {
                **headers,
                "Range": f"bytes={ask.span.start}-{ask.span.end - 1}",
            }
        async with self._slots, self._open(ask.method, url, headers, ends_at) as response:
            if hub:
                self._quota.note(response.headers)
            try:
                body, total = await read_body(response, ask.wanted)
            finally:
                self._count(hub, response, ask)
            return Answer(response.status, url, response.headers, body, total=total)

    @asynccontextmanager
    async def _open(
        self, method: str, url: URL, headers: Mapping[str, str], ends_at: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "the client is used inside `async with`"
        left = max(0.001, ends_at - self.timing.monotonic())
        timeout = aiohttp.ClientTimeout(
            total=min(self.timeouts.total, left),
            sock_connect=self.timeouts.connect,
            sock_read=self.timeouts.read,
        )
        async with self._session.request(
            method,
            url,
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy(url),
            timeout=timeout,
        ) as response:
            yield response

    async def _admit(self, url: URL, ends_at: float, what: str) -> None:
        """Wait for quota where the Hub has said that little is left."""
        bucket = _bucket(url.raw_path)
        while (wait := self._quota.wait(bucket)) > 0:
            if self.timing.monotonic() + wait > ends_at:
                raise HubRateLimited(
                    f"The Hub's quota of {bucket} requests is nearly used up: {what}.",
                    retry_after=wait,
                )
            await self.timing.sleep(wait)
        self._quota.spend(bucket)

    def _count(self, hub: bool, response: aiohttp.ClientResponse, ask: _Ask) -> None:
        size = response.content.total_bytes
        largest = self.traffic.largest_range
        if ask.span is not None and response.status not in REDIRECTS:
            largest = max(largest, size)
        if hub:
            self.traffic = replace(
                self.traffic,
                hub_answers=self.traffic.hub_answers + 1,
                hub_bytes=self.traffic.hub_bytes + size,
                largest_range=largest,
            )
        else:
            self.traffic = replace(
                self.traffic,
                other_answers=self.traffic.other_answers + 1,
                other_bytes=self.traffic.other_bytes + size,
                largest_range=largest,
            )

    def _proxy(self, url: URL) -> str | None:
        """The proxy of the environment, as every HTTP client reads it; netrc is left alone."""
        key = (url.scheme, url.host)
        if key not in self._proxies:
            proxy = getproxies().get(url.scheme)
            usable = proxy is not None and proxy.startswith("http")
            bypassed = url.host is not None and bool(proxy_bypass(url.host))
            self._proxies[key] = proxy if usable and not bypassed else None
        return self._proxies[key]


def _own_version() -> str:
    try:
        return version("loadplan")
    except PackageNotFoundError:
        return "0"


def _headers(token: str | None) -> dict[str, str]:
    built = build_hf_headers(
        # False: only the caller's token, never one that lies about on the machine.
        token=token or False,
        library_name="loadplan",
        library_version=_own_version(),
    )
    # Bodies are counted and bounded as they are sent; a compressed one could be a bomb.
    return {**built, "Accept-Encoding": "identity"}


def _bucket(path: str) -> str:
    if "/resolve-cache/" in path or "/resolve/" in path:
        return RESOLVERS
    return API if "/api/" in path else PAGES


def _reason(error: BaseException) -> str:
    return shown(str(error) or type(error).__name__)


def _checked_endpoint(endpoint: str) -> URL:
    try:
        url = URL(endpoint.rstrip("/"))
        fine = url.scheme in ("http", "https") and url.host is not None
    except ValueError:
        fine = False
    if not fine or url.query_string or url.fragment or url.user is not None:
        raise SettingInvalid(f"HF_ENDPOINT {shown(endpoint)} is not an http or https address.")
    return url
