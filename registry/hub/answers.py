"""What an answer of the Hub means: its error codes as classes of `registry.errors`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# Public by the library's documentation, yet not in the module's __all__.
from huggingface_hub.utils import hf_raise_for_status
from yarl import URL

from registry.domain.refs import shown
from registry.errors import (
    FileNotFound,
    HubError,
    HubMirrorLimited,
    HubRateLimited,
    RepositoryDisabled,
    RepositoryGated,
    RepositoryNotFound,
    RevisionNotFound,
    TransientHubError,
)

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})

# The Hub answers these for what exists but is not offered; with no error code of the Hub beside
# them they come from a mirror that does not know the route.
_ROUTE_UNKNOWN = frozenset({400, 401, 403, 404, 405, 410, 501})
_BAD_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105


class RouteMissing(HubMirrorLimited):
    """The endpoint does not offer this route of the Hub."""


class TokenRefused(HubError):
    """The Hub refuses the token."""

    fix = "Make a new token on the Hub and set HF_TOKEN, or unset it to read as anonymous."


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, redirects followed.

    `seen` holds what the Hub's own hops said of the file (lower-case names): its headers stand on
    the redirect, the content delivery host repeats none of them. `total` is the size of the whole
    file as far as a range answer tells.
    """

    status: int
    url: URL
    headers: Mapping[str, str]
    body: bytes
    seen: Mapping[str, str] = field(default_factory=dict)
    total: int | None = None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def error_code(self) -> str | None:
        return self.headers.get("X-Error-Code")


def error_of(answer: Answer, what: str, retry_after: float | None = None) -> HubError:
    """The error that an unsuccessful answer stands for; `what` names what was asked for.

    huggingface_hub decides which of its classes the headers mean; anonymous readers get the same
    answer for a private repository and for none at all, and the message says so.
    """
    if answer.status == 429:
        return HubRateLimited(f"The Hub's quota is used up: {what}.", retry_after=retry_after)
    if answer.status in RETRIED or answer.status >= 500:
        return TransientHubError(f"The Hub answers {answer.status}: {what}.")
    message = answer.headers.get("X-Error-Message", "")
    if _BAD_TOKEN in message:
        return TokenRefused(f"The Hub refuses the token: {what}.")
    known = _known_error(answer, what)
    if known is not None:
        return known
    if answer.error_code is None and not message and answer.status in _ROUTE_UNKNOWN:
        return RouteMissing(f"The endpoint answers {answer.status} without a code: {what}.")
    said = f", saying {shown(message)}" if message else ""
    return HubError(f"The Hub answers {answer.status}{said}: {what}.")


def _known_error(answer: Answer, what: str) -> HubError | None:
    response = httpx2.Response(
        answer.status,
        headers=[
            (name.encode(), answer.headers[name].encode("utf-8", "surrogateescape"))
            for name in ("X-Error-Code", "X-Error-Message")
            if name in answer.headers
        ],
        request=httpx2.Request("GET", str(answer.url)),
    )
    try:
        hf_raise_for_status(response)
    except GatedRepoError:
        return RepositoryGated(f"Gated, and this token has no access: {what}.")
    except DisabledRepoError:
        return RepositoryDisabled(f"The Hub has disabled access: {what}.")
    except RepositoryNotFoundError:
        return RepositoryNotFound(f"No such repository, or a private one: {what}.")
    except RevisionNotFoundError:
        return RevisionNotFound(f"No such revision: {what}.")
    except EntryNotFoundError:
        return FileNotFound(f"No such file: {what}.")
    except HfHubHTTPError:
        return None
    return None
