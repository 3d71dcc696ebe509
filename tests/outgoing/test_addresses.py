"""Which addresses are public, which names lead into our own network, and what Retry-After says."""

import asyncio
import socket
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from health_services.outgoing import addresses
from health_services.outgoing.addresses import is_public, resolves_to_private
from health_services.outgoing.http import PrivateAddress, outgoing_session, parse_retry_after, post

NOT_PUBLIC = (
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.1", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::7f00:1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe",
    "::ffff:0:7f00:1", "64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::808:808", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2001:0:808:808::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "3fff::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "100::1", "5f00::1",
    "2606:4700::1111%eth0", "::ffff:8.8.8.8%1",
    "", "localhost", "example.org", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "08.8.8.8", "8.8.8.8 ",
    "8.8.8.8:80", "[2606:4700::1111]", "\u0668.8.8.8",
)  # fmt: skip
PUBLIC = (
    "8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255",
    "2606:4700::1111", "2a00:1450:4001:80b::200e", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
)  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address: str):
    assert is_public(address)


NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
RETRY_AFTER: dict[str | None, float | None] = {
    None: None,
    "": None,
    "0": 0.0,
    " 120 ": 120.0,
    "86400": 86_400.0,
    "86401": 86_400.0,
    "9" * 5000: 86_400.0,
    "-1": None,
    "1.5": None,
    "1e3": None,
    "\u0661": None,
    "\u00b2": None,
    "soon": None,
    "Sun, 01 Mar 2026 12:00:30 GMT": 30.0,
    "Sun, 01 Mar 2026 13:00:30 +0100": 30.0,
    "Sunday, 01-Mar-26 12:00:30 GMT": 30.0,
    "Sun, 01 Mar 2026 12:00:30 -0000": 30.0,
    "Sun, 01 Mar 2026 11:00:00 GMT": 0.0,
    "Sun, 01 Mar 2036 11:00:00 GMT": 86_400.0,
    "Sun, 01 Mar 99999 11:00:00 GMT": None,
    "Sun, 32 Mar 2026 11:00:00 GMT": None,
    "Sun, 01 Mar 2026 12:00:30 +9999999999": None,
}


@pytest.mark.parametrize("value", RETRY_AFTER)
def test_retry_after(value: str | None):
    assert parse_retry_after(value, NOON) == RETRY_AFTER[value]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "::1", "fe80::1", "10.0.0.1"])
async def test_what_leads_into_our_network(host: str):
    assert await resolves_to_private(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1111", "", f"{'a' * 64}.example", "a..b", "a\x00b"])
async def test_what_does_not_or_is_no_name(host: str):
    assert not await resolves_to_private(host)


async def test_one_private_address_of_several_is_enough(monkeypatch: pytest.MonkeyPatch):
    names = {"mixed.example": ["8.8.8.8", "2606:4700::1111", "192.168.0.1"], "public.example": ["8.8.8.8", "1.1.1.1"]}

    async def found(host: str, *_: object, **__: object) -> list[tuple[int, str]]:
        return [(socket.AF_INET, address) for address in names[host]]

    monkeypatch.setattr(addresses, "addresses_of", found)
    assert await resolves_to_private("mixed.example")
    assert not await resolves_to_private("public.example")


async def test_a_slow_name_holds_nobody_up(monkeypatch: pytest.MonkeyPatch):
    async def slow(*_: object, **__: object) -> list[tuple[int, str]]:
        await asyncio.Event().wait()
        return [(socket.AF_INET, "127.0.0.1")]

    monkeypatch.setattr(addresses, "addresses_of", slow)
    monkeypatch.setattr(addresses, "NAME_TIMEOUT_SECONDS", 0.05)
    assert not await resolves_to_private("slow.example")


async def test_registering_and_sending_ask_in_threads_of_their_own(monkeypatch: pytest.MonkeyPatch):
    """Else whoever registers slow names would hold up what is sent."""
    pools: list[str] = []

    def found(*_: object, **__: object) -> list[tuple[Any, ...]]:
        pools.append(threading.current_thread().name.rpartition("_")[0])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    assert await resolves_to_private("registered.example")
    async with outgoing_session(allow_private=False) as session:
        with pytest.raises(PrivateAddress):
            await post(session, "http://sending.example/", data=b"", headers={})
    registering, sending = pools
    assert registering != sending
