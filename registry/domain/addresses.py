"""Where an outgoing webhook may go: https, a public name, public addresses only.

A name is checked as it is written here, and every address that it resolves to is checked where the
connection is made (the address checked is the address connected to, so a name that resolves
differently the second time gains nothing).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from registry.domain.refs import shown
from registry.errors import TargetNotAllowed

_PORTS = frozenset({443, 8443})
_MAX_URL = 2000
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", re.ASCII)
# Names that stand for a private place whatever they resolve to.
_PRIVATE_SUFFIXES = (
    "localhost",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "home.arpa",
    "onion",
    "invalid",
    "test",
    "example",
)
# Beyond what `is_global` refuses: ranges that reach elsewhere (RFC 7526, RFC 6052, RFC 4380) or
# are set apart (RFC 3879, RFC 9637); older Pythons know some of them as global.
_MORE_V4 = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv4Network("240.0.0.0/4"))
_UNICAST_V6 = IPv6Network("2000::/3")
_MORE_V6 = (
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),
    IPv6Network("3fff::/20"),
)


@dataclass(frozen=True)
class WebhookTarget:
    """A checked URL: `host` lower case without brackets or a trailing dot."""

    url: str
    host: str
    port: int


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """True for a globally reachable unicast address that embeds no other address."""
    if isinstance(address, IPv4Address):
        return (
            address.is_global
            and not address.is_multicast
            and not any(address in network for network in _MORE_V4)
        )
    # Whatever carries an IPv4 address inside (mapped, translated, tunnelled) lies outside
    # 2000::/3 or in one of the ranges below; link-local and unique-local addresses likewise.
    return (
        address in _UNICAST_V6
        and address.is_global
        and address.scope_id is None
        and not any(address in network for network in _MORE_V6)
    )


def parse_target(url: str) -> WebhookTarget:
    """Check the text of a target. Raises TargetNotAllowed saying which rule it breaks."""
    if len(url) > _MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise TargetNotAllowed("The target is longer than 2000 characters or not plain ASCII.")
    if "\\" in url:
        raise TargetNotAllowed("The target holds a backslash, which readers of URLs disagree on.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TargetNotAllowed(f"{shown(url)} is not a URL.") from error
    if parts.scheme != "https":
        raise TargetNotAllowed("The target must begin with https://.")
    if parts.username is not None or parts.password is not None:
        raise TargetNotAllowed("The target must not hold a user name or password.")
    if parts.fragment:
        raise TargetNotAllowed("The target must not hold a fragment.")
    port = 443 if port is None else port
    if port not in _PORTS:
        raise TargetNotAllowed(f"Port {port} is not served; 443 and 8443 are.")
    return WebhookTarget(url, _checked_host(parts.hostname or ""), port)


def _checked_host(written: str) -> str:
    host = written.lower().removesuffix(".")
    try:
        address = ip_address(host)
    except ValueError:
        return _checked_name(host)
    if not is_public(address):
        raise TargetNotAllowed(f"{shown(host)} is not a public address.")
    return host


def _checked_name(host: str) -> str:
    labels = host.split(".")
    if len(host) > 253 or len(labels) < 2 or not all(_LABEL.fullmatch(part) for part in labels):
        raise TargetNotAllowed(f"{shown(host)} is not a public host name.")
    # 127.1, 0x7f.0.0.1, 017700000001 and 2130706433 are addresses to the system's resolver; no
    # top-level domain is numeric.
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        raise TargetNotAllowed(f"{shown(host)} is an address written in an unusual way.")
    if any(host == suffix or host.endswith("." + suffix) for suffix in _PRIVATE_SUFFIXES):
        raise TargetNotAllowed(f"{shown(host)} names a private place.")
    return host
