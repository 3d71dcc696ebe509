"""Whose request it is: the peer's, or whom a trusted proxy names; nobody else is believed."""

from typing import Any

import pytest

from health_services.api.origin import Origin, address_of

PROXY, CALLER = "10.1.2.3", "203.0.113.7"
TRUSTED = ("10.0.0.0/8", "2001:db8:ffff::/48", "127.0.0.1")


async def seen(peer: str | None, *headers: tuple[str, str], scheme: str = "http") -> tuple[str, str]:
    """The address and the scheme that the application is told."""
    found: list[tuple[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append((address_of(scope), scope["scheme"]))

    scope = {
        "type": "http",
        "scheme": scheme,
        "client": (peer, 4711) if peer is not None else None,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    await Origin(app, TRUSTED)(scope, None, None)  # type: ignore[arg-type]
    return found[0]


@pytest.mark.parametrize("peer", [CALLER, "11.1.2.3", "2001:db8:1::1", "::ffff:203.0.113.7"])
async def test_who_is_not_trusted_is_not_believed(peer: str):
    told = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "https"), ("forwarded", "for=198.51.100.1"),
            ("x-real-ip", "198.51.100.1"), ("true-client-ip", "198.51.100.1")]  # fmt: skip
    assert await seen(peer, *told) == (peer.removeprefix("::ffff:"), "http")


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (CALLER, CALLER),
        (f"198.51.100.1, {CALLER}", CALLER),  # what stands left of the proxy's own word is the caller's invention
        (f"198.51.100.1,{CALLER} , 10.9.9.9,10.8.8.8", CALLER),
        (f"127.0.0.1, {CALLER}", CALLER),
        ("10.5.5.5", "10.5.5.5"), ("10.5.5.5, 10.6.6.6", "10.5.5.5"),
        (f"{CALLER}:52814", CALLER), ("[2001:db8:1::1]:52814", "2001:db8:1::1"), ("[2001:DB8:1::1]", "2001:db8:1::1"),
        ("2001:db8:1::1", "2001:db8:1::1"), (f"{CALLER}, 2001:db8:ffff::9", CALLER), (f"::ffff:{CALLER}", CALLER),
        ("fe80::1%eth0", "fe80::1"),
        ("", PROXY), (",", PROXY), ("unknown", PROXY), (f"{CALLER}, _hidden", PROXY), ("localhost", PROXY),
        ("203.0.113", PROXY), ("203.0.113.7.1", PROXY), ("1" * 9000, PROXY), ("[::1", PROXY), ("\u00e9", PROXY),
        (f"{CALLER}, , 10.6.6.6", "10.6.6.6"), ("198.51.100.1\t, nonsense, 10.6.6.6", "10.6.6.6"),
    ],
)  # fmt: skip
async def test_a_trusted_proxy_is_believed_as_far_as_its_own_word_goes(forwarded: str, address: str):
    assert (await seen(PROXY, ("x-forwarded-for", forwarded)))[0] == address
    assert (await seen(f"::ffff:{PROXY}", ("x-forwarded-for", forwarded)))[0] == address


async def test_several_headers_are_one_list():
    assert (await seen(PROXY, ("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", CALLER)))[0] == CALLER
    assert (await seen(PROXY, ("x-forwarded-for", CALLER), ("x-forwarded-for", "10.6.6.6")))[0] == CALLER


async def test_without_a_header_the_proxy_calls_for_itself():
    assert await seen(PROXY) == (PROXY, "http")
    assert await seen(None, ("x-forwarded-for", CALLER)) == ("0.0.0.0", "http")
    assert (await seen("testclient"))[0] == "0.0.0.0"


@pytest.mark.parametrize(
    ("said", "own", "scheme"),
    [
        ("https", "http", "https"), ("HTTPS", "http", "https"), ("http, https", "http", "https"),
        ("https, http", "http", "http"), ("http", "https", "http"), ("", "https", "https"), ("ftp", "http", "http"),
        ("https://", "http", "http"),
    ],
)  # fmt: skip
async def test_the_scheme_is_that_of_the_nearest_proxy(said: str, own: str, scheme: str):
    assert (await seen(PROXY, ("x-forwarded-proto", said), scheme=own))[1] == scheme
    assert (await seen(CALLER, ("x-forwarded-proto", said), scheme=own))[1] == own
