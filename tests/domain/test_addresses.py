"""Server-side request forgery, told from the text of a target and from an address alone."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from registry.domain.addresses import is_public, parse_target
from registry.errors import TargetNotAllowed

REFUSED = [
    "http://hooks.acme.dev/",
    "ftp://hooks.acme.dev/",
    "file:///etc/passwd",
    "gopher://hooks.acme.dev/",
    "//hooks.acme.dev/",
    "hooks.acme.dev/",
    "https:/hooks.acme.dev",
    "https://",
    "https:///path",
    "javascript:alert(1)",
    "https://user@hooks.acme.dev/",
    "https://user:pass@hooks.acme.dev/",
    "https://hooks.acme.dev@127.0.0.1/",
    "https://hooks.acme.dev\\@127.0.0.1/",
    "https://hooks.acme.dev/#fragment",
    "https://hooks.acme.dev:22/",
    "https://hooks.acme.dev:80/",
    "https://hooks.acme.dev:5432/",
    "https://hooks.acme.dev:0/",
    "https://hooks.acme.dev:99999/",
    "https://hooks.acme.dev:port/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://0/",
    "https://0.0.0.0/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://0x7f.1/",
    "https://127.0.0.0x1/",
    "https://127.0.0.1./",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://198.18.0.1/",
    "https://192.0.0.1/",
    "https://192.0.2.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[::]/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:7f00:1::]/",
    "https://[2001:db8::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[::1/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://api.localhost/",
    "https://metadata.google.internal/",
    "https://printer.local/",
    "https://router.lan/",
    "https://intranet/",
    "https://db/",
    "https://hooks..acme.dev/",
    "https://-hooks.acme.dev/",
    "https://hooks acme.dev/",
    "https://hooks.acme.dev\t/",
    "https://hooks.acme.dev/\r\nHost: 127.0.0.1",
    "https://ⓛocalhost/",
    "https://127。0。0。1/",
    "https://" + "a" * 300 + ".dev/",
    "https://hooks.acme.dev/" + "a" * 2000,
]

ALLOWED = [
    ("https://hooks.acme.dev/in?x=1", "hooks.acme.dev", 443),
    ("https://Hooks.Acme.dev./", "hooks.acme.dev", 443),
    ("https://hooks.acme.dev:8443/in", "hooks.acme.dev", 8443),
    ("https://93.184.215.14/", "93.184.215.14", 443),
    ("https://[2606:4700:4700::1111]/", "2606:4700:4700::1111", 443),
    ("https://xn--bcher-kva.dev/", "xn--bcher-kva.dev", 443),
]

NOT_PUBLIC = [
    "0.1.2.3", "10.255.0.1", "100.100.100.200", "127.255.255.254", "169.254.170.2", "172.31.0.1",
    "192.0.0.8", "192.0.2.55", "192.88.99.1", "192.168.0.1", "198.19.255.255", "198.51.100.1",
    "203.0.113.9", "224.0.0.251", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::808:808", "100::1", "2001::1",
    "2001:2::1", "2001:10::1", "2001:db8::1", "2002:808:808::1", "3fff::1", "5f00::1",
    "fc00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::fb",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_target_that_could_reach_a_private_place_is_refused(url: str) -> None:
    with pytest.raises(TargetNotAllowed) as caught:
        parse_target(url)
    assert caught.value.code == "target-not-allowed"
    assert caught.value.message


@pytest.mark.parametrize(("url", "host", "port"), ALLOWED)
def test_public_target_is_allowed(url: str, host: str, port: int) -> None:
    target = parse_target(url)
    assert (target.host, target.port) == (host, port)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_address_that_is_not_publicly_reachable_is_refused(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111"])
def test_public_address_is_allowed(address: str) -> None:
    assert is_public(ip_address(address))


def test_corpus_of_refused_targets_is_large_enough_to_mean_something() -> None:
    assert len(set(REFUSED)) >= 60
