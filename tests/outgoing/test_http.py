"""HTTP to elsewhere: what is reached, what is refused, and that nobody can hold it up."""

import asyncio
import gzip
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from health_services.outgoing import addresses, http
from health_services.outgoing.addresses import resolves_to_private
from health_services.outgoing.errors import NotNow, SendingFailed, Undeliverable
from health_services.outgoing.http import (
    ANSWER_LIMIT_BYTES,
    Answer,
    PrivateAddress,
    outgoing_session,
    post,
)
from tests.outgoing.servers import answering, counting, hanging, serving, speaking


@asynccontextmanager
async def session_of(*, allow_private: bool = True, timeout: float = 20) -> AsyncIterator[aiohttp.ClientSession]:
    session = outgoing_session(allow_private=allow_private, timeout=timeout)
    try:
        yield session
    finally:
        await session.close()


async def send(url: str, *, allow_private: bool = True, timeout: float = 20, **headers: str) -> Answer:
    async with session_of(allow_private=allow_private, timeout=timeout) as session:
        return await post(session, url, data=b"hello", headers=headers, reads_body=True)


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Names have these addresses: those of the first question, those of the next, and so on, the last ones for ever."""

    def answers(*found_then: list[str]) -> None:
        turns: Iterator[list[str]] = itertools.chain(found_then, itertools.repeat(found_then[-1]))

        async def found(*_: object, **__: object) -> list[tuple[int, str]]:
            return [(socket.AF_INET6 if ":" in a else socket.AF_INET, a) for a in next(turns)]

        monkeypatch.setattr(addresses, "addresses_of", found)

    return answers


async def test_a_request_as_it_arrives():
    async with serving(answering(201, b"made", Retry_After="7")) as server, session_of() as session:
        answer = await post(
            session,
            f"{server.url}/a/b?c=d",
            data=b"\x00\xff",
            headers={"X-One": "1"},
            auth=("ann", "s:\u00e9"),
            reads_body=True,
        )
    assert answer == Answer(201, 7.0, b"made")
    assert answer.is_success
    [request] = server.received
    assert (request.method, request.path, request.body) == ("POST", "/a/b?c=d", b"\x00\xff")
    assert request.headers["X-One"] == "1"
    assert request.headers["Authorization"] == "Basic YW5uOnM6w6k="
    assert request.headers["User-Agent"] == "health-services"


@pytest.mark.parametrize("status", [199, 300, 301, 404, 500])
def test_only_2xx_is_success(status: int):
    assert not Answer(status, None, b"").is_success


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int):
    async with serving(answering(status, Location="/elsewhere")) as server:
        answer = await send(f"{server.url}/here")
    assert answer.status == status
    assert [request.path for request in server.received] == ["/here"]


async def test_no_cookie_comes_back_and_connections_are_used_again():
    async with serving(answering(200, b"x", Set_Cookie="a=b")) as server, session_of() as session:
        for _ in range(3):
            # a name: cookies of numeric addresses are not kept anyway
            await post(session, f"http://localhost:{server.port}/", data=b"", headers={})
    assert ["Cookie" in request.headers for request in server.received] == [False] * 3
    assert len({request.peer for request in server.received}) == 1


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch):
    async with serving(answering(418)) as proxy, serving(answering(200)) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert (await send(server.url)).status == 200
    assert proxy.received == []


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x" * 10_000)


async def test_an_endless_body_is_cut():
    async with serving(endless) as server, session_of() as session:
        for _ in range(2):
            answer = await post(session, server.url, data=b"", headers={}, reads_body=True)
            assert answer == Answer(200, None, b"x" * ANSWER_LIMIT_BYTES)
    assert len({request.peer for request in server.received}) == 2, "what was not read to the end must not be used on"


async def test_a_body_that_nobody_reads_is_not_waited_for():
    asked = asyncio.Event()

    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        asked.set()
        await asyncio.sleep(3600)
        return response

    async with serving(dripping) as server, session_of() as session:
        answer = await post(session, server.url, data=b"", headers={})
    assert asked.is_set()
    assert (answer.is_success, answer.body) == (True, b"")


async def test_a_body_that_would_unpack_to_much_stays_packed():
    packed = gzip.compress(b"0" * 10_000_000)
    assert len(packed) < ANSWER_LIMIT_BYTES
    async with serving(answering(200, packed, Content_Encoding="gzip")) as server:
        assert (await send(server.url)).body == packed


HEAD = b"HTTP/1.1 202 Accepted\r\nRetry-After: 3\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize("is_held_open", [True, False])
async def test_the_status_counts_where_the_body_does_not_end(is_held_open: bool):
    async with speaking(HEAD + b"begin", is_held_open=is_held_open) as server:
        assert await send(server.url, timeout=0.5) == Answer(202, 3.0, b"begin")


async def test_who_does_not_answer_holds_nobody_up():
    async with serving(hanging) as server:
        with pytest.raises(NotNow, match=r"^no answer in time$"):
            await send(server.url, timeout=0.3)
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: x\r\n" % n for n in range(100_000)),
    ],
)
async def test_what_is_no_answer(words: bytes):
    async with speaking(words) as server:
        with pytest.raises(NotNow, match=r"^the connection broke$"):
            await send(server.url)


async def test_an_endless_head_is_cut():
    async with speaking(b"HTTP/1.1 200 OK\r\nX: x", is_held_open=True) as server:
        with pytest.raises(NotNow, match=r"^no answer in time$"):
            await send(server.url, timeout=0.3)


async def test_nobody_there():
    async with serving(answering()) as server:
        port = server.port
    with pytest.raises(NotNow, match=r"^no connection$"):
        await send(f"http://127.0.0.1:{port}")


async def test_no_trustworthy_tls():
    async with speaking(b"not TLS\r\n") as server:
        with pytest.raises(NotNow, match=r"^no trustworthy TLS connection$"):
            await send(f"https://127.0.0.1:{server.port}")


async def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch):
    async def unknown(*_: object) -> list[tuple[int, str]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(addresses, "addresses_of", unknown)
    with pytest.raises(NotNow, match=r"^the name could not be resolved$"):
        await send("http://unknown.example/", allow_private=False)


@pytest.mark.parametrize(
    "url", ["", "/path", "http://", "http://a:99999/", "ftp://8.8.8.8/", f"http://{'a' * 64}.example/", "http://[::1/"]
)
async def test_a_url_that_cannot_be_used(url: str):
    with pytest.raises(Undeliverable, match=r"^the URL cannot be used$"):
        await send(url, allow_private=False)


FORMS = (
    "http://127.0.0.1:{}/", "http://localhost:{}/", "http://0x7f.1:{}/", "http://0x7f000001:{}/",
    "http://0177.0.0.1:{}/", "http://127.1:{}/", "http://2130706433:{}/", "http://0.0.0.0:{}/",
    "http://[::ffff:7f00:1]:{}/", "http://[::ffff:127.0.0.1]:{}/", "http://[::1]:{}/", "http://[::1%25lo]:{}/",
    "http://user:password@127.0.0.1:{}/", "http://8.8.8.8@127.0.0.1:{}/", "http://\u0661\u0662\u0667.0.0.1:{}/",
    "http://127\u30020.0.1:{}/",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
async def test_no_way_to_write_loopback_reaches_it(form: str):
    async with counting() as (port, peers):
        with pytest.raises(SendingFailed):
            await send(form.format(port), allow_private=False)
        assert peers == []


@pytest.mark.parametrize("form", FORMS[:1] + FORMS[8:10])
async def test_the_guard_is_what_refuses(form: str):
    """The same addresses are reached where they are allowed."""
    async with serving(answering(204)) as server:
        url = form.format(server.port)
        with pytest.raises(PrivateAddress, match=r"^the address is not public$"):
            await send(url, allow_private=False)
        assert server.received == []
        assert (await send(url)).status == 204


async def test_a_name_that_moves_into_our_network_after_it_was_registered(resolve: Callable[..., None]):
    resolve(["8.8.8.8"], ["127.0.0.1"])
    async with counting() as (port, peers):
        assert not await resolves_to_private("rebinding.example")
        with pytest.raises(PrivateAddress):
            await send(f"http://rebinding.example:{port}/", allow_private=False)
        assert peers == []


async def test_a_name_is_asked_for_each_time(resolve: Callable[..., None], monkeypatch: pytest.MonkeyPatch):
    """Neither its addresses nor a connection that was closed outlives a request."""
    monkeypatch.setattr(http, "is_public", lambda address: address == "127.0.0.1")
    resolve(["127.0.0.1"], ["127.0.0.2"])
    async with serving(answering(200, Connection="close")) as server, session_of(allow_private=False) as session:
        url = f"http://moving.example:{server.port}/"
        assert (await post(session, url, data=b"", headers={})).status == 200
        with pytest.raises(PrivateAddress):
            await post(session, url, data=b"", headers={})


@pytest.mark.parametrize("others", [["10.0.0.1"], ["::1", "fe80::1"], ["127.0.0.2", "not an address"]])
async def test_of_several_addresses_only_public_ones_are_reached(
    resolve: Callable[..., None], monkeypatch: pytest.MonkeyPatch, others: list[str]
):
    resolve([*others, "127.0.0.1"])
    async with serving(answering(200)) as server:
        url = f"http://mixed.example:{server.port}/"
        with pytest.raises(PrivateAddress):
            await send(url, allow_private=False)
        # an address of this machine plays the public one
        monkeypatch.setattr(http, "is_public", lambda address: address == "127.0.0.1")
        assert (await send(url, allow_private=False)).status == 200
    assert server.received[0].headers["Host"] == f"mixed.example:{server.port}"


async def test_reasons_tell_nothing_of_the_address():
    failures: list[SendingFailed] = []
    async with counting() as (port, _):
        for url in (f"http://127.0.0.1:{port}/secret", "http://no such host.example/secret", "https://[::1]:1/secret"):
            with pytest.raises(SendingFailed) as caught:
                await send(url, allow_private=False)
            failures.append(caught.value)
    for failure in failures:
        assert not any(part in str(failure) for part in ("secret", "127", "::1", "example", str(port)))
        assert failure.__suppress_context__, "the errors of aiohttp name the address"
