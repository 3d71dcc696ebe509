"""How answers go out on the wire: byte for byte as uvicorn sends them, whether or not the short way is taken."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from health_services.api.protocol import Cycle, Protocol
from tests.api.test_overload import Wire

LENGTH = (b"content-length", b"2")


class Line(Wire):
    """A connection on which requests are answered."""

    def is_closing(self) -> bool:
        return self.is_closed

    def resume_reading(self) -> None:
        """Nobody was told to stop."""


async def sent(request: bytes, status: int, headers: list[Any], body: bytes) -> bytes:
    """What goes out on a connection on which this is asked, by an application that answers this."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = Config(app, log_config=None, access_log=False, lifespan="off")
    config.load()
    state, line = ServerState(), Line()
    state.default_headers = [(b"date", b"Mon, 23 Nov 2026 08:21:47 GMT")]
    protocol = Protocol(config, state, {})
    protocol.connection_made(line)
    protocol.data_received(request)
    await asyncio.gather(*state.tasks)
    written = line.written + (b"<closed>" if line.is_closed else b"")
    protocol.connection_lost(None)
    return written


@pytest.mark.parametrize("request_line", [b"GET / HTTP/1.1\r\n", b"HEAD / HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n"])
@pytest.mark.parametrize(("status", "headers", "body"), [
    (200, [LENGTH, (b"etag", b'W/"1"')], b"ok"), (200, [[b"content-length", b"2"]], b"ok"), (299, [LENGTH], b"ok"),
    (200, [], b"ok"), (304, [(b"etag", b'W/"1"')], b""), (204, [], b""),
    (200, [LENGTH, (b"vary", b"Origin"), (b"vary", b"Accept")], b"ok"),
    (200, [LENGTH, (b"connection", b"close")], b"ok"), (200, [(b"transfer-encoding", b"chunked")], b"ok"),
    (200, [LENGTH, (b"X-Upper", b"1")], b"ok"), (200, [(b"Content-Length", b"2")], b"ok"),
    (200, [LENGTH, (b"x", b"a\r\nset-cookie: a=b")], b"ok"), (200, [LENGTH, (b"x", b"a\x00")], b"ok"),
    (200, [LENGTH, (b"x", b"tab\tis fine")], b"ok"), (200, [LENGTH, (b"x y", b"1")], b"ok"),
    (200, [LENGTH, (b"x:", b"1")], b"ok"), (200, [LENGTH], b"longer"), (200, [LENGTH], b"s"),
])  # fmt: skip
async def test_it_is_sent_as_ever(
    request_line: bytes, status: int, headers: list[Any], body: bytes, monkeypatch: pytest.MonkeyPatch
):
    request = request_line + b"host: test\r\n\r\n"
    ours = await sent(request, status, headers, body)
    monkeypatch.setattr(httptools_impl, "RequestResponseCycle", Cycle.__base__)
    assert ours == await sent(request, status, headers, body)
    assert ours.startswith((b"HTTP/1.1 ", b"<closed>"))
    assert b"set-cookie" not in ours
