"""No message is ever sent to an address that is not public, however the target is written and
whatever its name resolves to."""

import asyncio
import errno
import socket
import threading
from ipaddress import ip_address

import pytest

from registry.domain.addresses import is_public
from tests.domain.test_addresses import REFUSED
from tests.watching.receiver import HOST, Names, Receiver, make_certificate
from workers.notify import Courier

PRIVATE = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "198.18.0.1"),
    *("192.0.0.1", "192.0.2.1", "192.88.99.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1"),
    *("::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::", "2001:0:7f00:1::"),
    *("2001:db8::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "3fff::1"),
]
PUBLIC_V4, PUBLIC_V6 = "93.184.215.14", "2606:4700:4700::1111"
TARGET = f"https://{HOST}/in"


class Sockets:
    """Stands where sockets are made for addresses that were allowed: notes each and connects to
    none."""

    def __init__(self):
        self.addresses = []

    def __call__(self, info):
        self.addresses.append(info[4][0])
        raise ConnectionRefusedError(errno.ECONNREFUSED, "not in a test")


class Listeners:
    """Listens on loopback, IPv4 and IPv6, and counts who connects."""

    def __init__(self):
        self.accepted = 0
        self.sockets = []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            listener = socket.socket(family)
            listener.bind((address, self.sockets[0].getsockname()[1] if self.sockets else 0))
            listener.listen()
            self.sockets.append(listener)
            threading.Thread(target=self._count, args=(listener,), daemon=True).start()
        self.port = self.sockets[0].getsockname()[1]

    def _count(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            connection.close()

    def close(self):
        for listener in self.sockets:
            # Closing alone leaves a thread that waits in accept.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@pytest.fixture(scope="module")
def listeners():
    listening = Listeners()
    yield listening
    listening.close()


def send(*urls, **options):
    async def main():
        async with Courier(seconds=3, **options) as courier:
            return [await courier.send(url, {}, "{}") for url in urls]

    return asyncio.run(main())


def test_the_corpus_is_as_large_as_it_is_said_to_be():
    assert len(set(REFUSED)) + len(set(PRIVATE)) >= 60
    assert not any(is_public(ip_address(address)) for address in PRIVATE)


def test_no_target_of_the_corpus_gets_so_far_as_a_look_up_or_a_socket():
    sockets, names = Sockets(), Names({})
    outcomes = send(*REFUSED, open_socket=sockets, resolver=names)
    assert all(outcome.status is None and outcome.error for outcome in outcomes)
    assert sockets.addresses == []
    assert names.asked == []


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_to_a_private_address_is_not_connected_to(address, listeners):
    sockets = Sockets()
    names = Names({HOST: [[address]]}, listeners.port)
    (outcome,) = send(TARGET, open_socket=sockets, resolver=names)
    assert outcome.status is None
    assert "is not a public address" in outcome.error
    assert sockets.addresses == []
    assert listeners.accepted == 0


def test_loopback_is_refused_by_the_real_sockets_too(listeners):
    """The same with nothing put in the place of the sockets: somebody listens, nobody comes."""
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"):
        names = Names({HOST: [[address]]}, listeners.port)
        (outcome,) = send(TARGET, resolver=names)
        assert outcome.status is None
    assert listeners.accepted == 0
    # And it can tell: a connection that is made is counted.
    with socket.create_connection(("127.0.0.1", listeners.port), timeout=5):
        pass
    for _ in range(100):
        if listeners.accepted:
            break
        threading.Event().wait(0.02)
    assert listeners.accepted == 1
    listeners.accepted = 0


@pytest.mark.parametrize("private", ["127.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254"])
def test_of_several_addresses_only_the_public_ones_are_tried(private):
    sockets = Sockets()
    names = Names({HOST: [[private, PUBLIC_V4, private, PUBLIC_V6]]})
    (outcome,) = send(TARGET, open_socket=sockets, resolver=names)
    assert outcome.status is None
    assert set(sockets.addresses) == {PUBLIC_V4, PUBLIC_V6}


@pytest.mark.parametrize("private", PRIVATE[:20])
def test_a_name_that_resolves_anew_to_a_private_address_gains_nothing(private, listeners):
    """Rebinding: public at the first look-up, private at every later one."""
    sockets = Sockets()
    names = Names({HOST: [[PUBLIC_V4], [private]]}, listeners.port)
    outcomes = send(TARGET, TARGET, TARGET, open_socket=sockets, resolver=names)
    assert [outcome.status for outcome in outcomes] == [None] * 3
    assert sockets.addresses == [PUBLIC_V4]
    assert names.asked == [HOST] * 3
    assert listeners.accepted == 0


def test_each_message_looks_its_target_up_once_and_connects_to_what_was_checked():
    sockets = Sockets()
    names = Names({HOST: [[PUBLIC_V4], ["127.0.0.1"]]})
    send(TARGET, open_socket=sockets, resolver=names)
    assert names.asked == [HOST]
    assert sockets.addresses == [PUBLIC_V4]


def test_an_address_with_a_zone_is_not_public():
    courier = Courier()
    info = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2606:4700::1", 443, 0, 2))
    with pytest.raises(OSError, match="not a public address"):
        courier._checked_socket(info)


LOCATIONS = [
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://127.0.0.1:8321/v1/subscriptions",
    "https://[::1]/",
    "http://2130706433/",
    "//10.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_lead_nowhere(tmp_path_factory, status):
    receiver = Receiver(make_certificate(tmp_path_factory.mktemp("redirects")))
    try:
        opened = []

        def loopback_alone(address):
            opened.append(str(address))
            return str(address) == "127.0.0.1"

        for location in LOCATIONS:
            receiver.answers = [(status, {"Location": location}, b"")]
            names = Names({HOST: [["127.0.0.1"]]}, receiver.port)
            (outcome,) = send(
                TARGET,
                allows=loopback_alone,
                resolver=names,
                ssl_context=receiver.client_context,
            )
            assert outcome.status == status
            assert not outcome.arrived
            assert names.asked == [HOST]
        assert len(opened) == len(receiver.received) == len(LOCATIONS)
    finally:
        receiver.close()


def test_a_proxy_of_the_environment_is_not_used(monkeypatch, listeners):
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listeners.port}")
    sockets = Sockets()
    send(TARGET, open_socket=sockets, resolver=Names({HOST: [[PUBLIC_V4]]}))
    assert sockets.addresses == [PUBLIC_V4]
    assert listeners.accepted == 0
