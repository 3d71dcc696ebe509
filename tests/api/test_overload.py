"""What comes in: places for each kind of request, bodies and connections in bounds, and nobody slow in the way."""

import asyncio
import resource
from collections.abc import MutableMapping
from typing import Any

import orjson
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from health_services.api import overload, protocol
from health_services.api.json_body import MAX_BODY_BYTES
from health_services.api.overload import SHORT_BODY_BYTES, Overload, Room
from health_services.api.protocol import Protocol
from health_services.listening import allow_files
from health_services.serving import _config
from tests.api.test_places import settle
from tests.conftest import test_settings


def test_a_quarter_of_the_connections_is_never_a_writers():
    for connections, writers in ((1, 1), (2, 2), (4, 3), (16, 12)):
        changes = {"database_pool_size": connections, "read_pool_size": 3}
        room = Room.of(test_settings("postgresql:///none").model_copy(update=changes), [], [])
        assert (room.writing._free, room.reading._free, room.browsing._free) == (writers, connections, 6)


def test_each_kind_of_request_has_places_of_its_own(app: FastAPI):
    room: Room = app.state.room
    for method, path, places in (
        ("GET", "/clinics", room.browsing),
        ("GET", "/clinics/7/doctors", room.browsing),
        ("GET", "/slots/7", room.browsing),
        ("GET", "/clinics/7/staff", room.reading),
        ("GET", "/auth/profile", room.reading),
        ("GET", "/nowhere", room.reading),
        ("POST", "/slots", room.writing),
        ("POST", "/auth/refresh", room.writing),
        ("POST", "/auth/login", room.entering),
        ("POST", "/auth/password/reset", room.entering),
    ):
        assert room.places_for(method, f"/api/v1{path}") is places, path


class Sender:
    """Somebody whose request comes in parts and who takes his answer in parts."""

    def __init__(self, bounded: Overload, room: Room, method: str = "POST") -> None:
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.status = 0
        self.takes_it = asyncio.Event()
        app = type("App", (), {"state": type("State", (), {"room": room})})
        scope = {"type": "http", "method": method, "path": "/api/v1/slots", "headers": [], "app": app}
        self.task = asyncio.create_task(bounded(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, object]:
        part = await self.parts.get()
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.status = message.get("status", self.status)
        await self.takes_it.wait()

    async def sends(self, *parts: bytes | None) -> "Sender":
        """None is the end."""
        for part in parts:
            self.parts.put_nowait(part)
            await settle()
        return self


class Reader:
    """An application that reads, and answers when it may."""

    def __init__(self) -> None:
        self.room = Room.of(test_settings("postgresql:///none"), [], [])
        self.bounded = Overload(self)
        self.read: list[int] = []
        self.may_answer = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size, message = 0, {"more_body": scope["method"] != "GET"}
        while message["more_body"]:
            message = dict(await receive())
            size += len(message["body"])
        self.read.append(size)
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 201})


async def test_long_bodies_are_bounded_together_and_short_ones_never(monkeypatch: pytest.MonkeyPatch):
    app, long = Reader(), bytes(MAX_BODY_BYTES // 2)
    monkeypatch.setattr(overload, "LONG_BODIES_BYTES", 2 * len(long))
    first, second, third, short = (Sender(app.bounded, app.room) for _ in range(4))
    for each in (first, second, third):
        each.takes_it.set()
        await each.sends(long)
    assert (third.task.done(), third.status) == (True, 503)
    await short.sends(bytes(SHORT_BODY_BYTES), None)
    assert app.read == [SHORT_BODY_BYTES]
    await first.sends(None)
    refused = await Sender(app.bounded, app.room).sends(long)  # the first one's is still there
    assert refused.status == 503
    app.may_answer.set()
    await settle()
    assert first.status == 201
    taken = await Sender(app.bounded, app.room).sends(long, None)
    await second.sends(None)
    assert app.read == [SHORT_BODY_BYTES, *[len(long)] * 3]
    for each in (short, refused, taken):
        each.takes_it.set()
    await settle()
    assert app.bounded.long_bodies == 0


async def test_who_sends_slowly_has_no_place_and_who_reads_slowly_none_any_more():
    app = Reader()
    writing = app.room.writing
    everybody = writing._free
    slow = [await Sender(app.bounded, app.room).sends(b"{") for _ in range(2 * everybody)]
    assert writing._free == everybody
    quick = await Sender(app.bounded, app.room).sends(b"{}", None)
    assert writing._free == everybody - 1
    app.may_answer.set()
    await settle()
    assert (quick.status, quick.task.done(), writing._free) == (201, False, everybody)
    for each in (*slow, quick):
        each.takes_it.set()
        each.task.cancel()
    await settle()
    assert writing._free == everybody


async def test_more_than_anybody_reads_is_not_waited_for():
    app = Reader()
    await Sender(app.bounded, app.room).sends(bytes(MAX_BODY_BYTES), b"x")
    assert app.room.writing._free == app.room.writing._at_once - 1


class Wire(asyncio.Transport):
    """A connection that somebody has opened; what was written to him."""

    def __init__(self) -> None:
        super().__init__({"peername": ("203.0.113.7", 4711), "sockname": ("203.0.113.1", 8000)})
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_closed = True


async def test_one_connection_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "MOST_CONNECTIONS", 2)
    config = _config(FastAPI(), None)
    config.load()
    state = ServerState()
    wires = [Wire() for _ in range(3)]
    for wire in wires:
        Protocol(config, state, {}).connection_made(wire)
    assert [wire.is_closed for wire in wires] == [False, False, True]
    head, _, body = wires[2].written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nretry-after: 1\r\n" in head
    assert orjson.loads(body)["error_code"] == "OVERLOADED"


def test_so_many_connections_may_be_open():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 10, hard))
        too_many = [] if hard == resource.RLIM_INFINITY else [(hard + 1, hard)]
        for wanted, granted in ((soft - 5, soft - 5), (soft - 20, soft - 5), *too_many):
            allow_files(wanted)
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (granted, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
