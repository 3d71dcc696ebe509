"""Servers on loopback that stand for somebody else's: they keep what they receive and answer as they are told."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Received:
    """One request as it came in; `peer` is the client's port, which tells one connection from another."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: int


@dataclass
class Server:
    """Where it listens, and what it received so far."""

    port: int
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"


def answering(status: int = 200, body: bytes = b"", **headers: str) -> Handler:
    """A handler that always answers so; Retry_After stands for Retry-After."""

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handle


async def hanging(_: web.Request) -> web.StreamResponse:
    """A handler that never answers."""
    await asyncio.Event().wait()
    raise AssertionError


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Server]:
    """A server whose every path is handled so, for as long as the block lasts."""
    server = Server(port=0)

    async def receive(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")[1]
        headers = dict(request.headers)
        server.received.append(Received(request.method, request.path_qs, headers, await request.read(), peer))
        return await handler(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def speaking(words: bytes, *, is_held_open: bool = False) -> AsyncIterator[Server]:
    """A server that says these bytes to whoever has sent something, well-formed or not, and hangs up.

    With `is_held_open` it says no more, but does not hang up either.
    """
    server = Server(port=0)
    is_over = asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")[1]
        server.received.append(Received("", "", {}, await reader.read(65_536), peer))
        writer.write(words)
        if is_held_open:
            await is_over.wait()
        writer.close()

    listener = await asyncio.start_server(speak, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        is_over.set()
        listener.close()
        await listener.wait_closed()


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[int, list[int]]]:
    """A port of IPv4 and IPv6, and the client ports of every connection to it, whether or not a request was sent."""
    peers: list[int] = []

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[1])
        writer.close()

    if socket.has_dualstack_ipv6():
        bound = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        bound = socket.create_server(("", 0))
    listener = await asyncio.start_server(accept, sock=bound)
    port = bound.getsockname()[1]
    try:
        yield port, peers
    finally:
        listener.close()
        await listener.wait_closed()
