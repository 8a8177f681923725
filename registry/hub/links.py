"""`Link: <…>; rel="next"`, followed on the endpoint's own host only."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from yarl import URL

from registry.hub.answers import Answer
from registry.hub.client import HubClient

_NEXT = re.compile(r'<([^<>\s]{1,4096})>\s*;[^,]{0,200}?rel="?next"?')


def next_link(client: HubClient, answer: Answer) -> URL | None:
    """The next page's address, None on the last page.

    A mirror may name the Hub's own host in it: path and query are asked of the endpoint that
    answered, so that neither requests nor the token wander off.
    """
    match = _NEXT.search(answer.headers.get("Link", ""))
    if match is None:
        return None
    try:
        parts = urlsplit(match[1])
        absolute = answer.url.join(URL(match[1], encoded=True))
    except ValueError:
        return None
    if client.is_hub(absolute):
        return absolute
    return client.url(f"{parts.path}?{parts.query}") if parts.path.startswith("/api/") else None
