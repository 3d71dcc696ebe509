"""How much is done at once: so many requests are worked on, some wait in line, the others come again later.

A request has a place from when its body is there until its answer is made: nobody who sends or reads slowly keeps
others from one.
"""

import asyncio
import math
import re
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from health_services.api.brake import Brake
from health_services.api.json_body import MAX_BODY_BYTES
from health_services.api.problems import of_error
from health_services.errors import OverloadedException
from health_services.settings import Settings

# Whoever stands behind so many hardly comes in time, and each costs memory.
LONGEST_LINE = 1000
# More than can wait for a turn with a password (auth/turns.py) and be in the pause after a wrong one, at its speed.
ENTERING = 256
# What is expected of a flood's worst moment is over long before it would come true.
LONGEST_RETRY_SECONDS = 30
# Only bodies from here on count, so that nobody's long ones keep a booking out.
SHORT_BODY_BYTES = 16 << 10
LONG_BODIES_BYTES = 64 << 20
# Health, documentation and pages need next to nothing, and are there for whoever looks what is the matter.
_BOUNDED = "/api/"
# How much the latest request counts in what is expected of the next, and the least that one is thought to take.
_WEIGHT, _QUICKEST_SECONDS = 1 / 8, 0.001
# One that takes longer than so many usual ones counts as so many: where it is one of a thousand, it turns nobody away.
_LONGEST = 16


class Place:
    """Somebody's place, until he gives it back."""

    __slots__ = ("_begun", "_places")

    def __init__(self, places: "Places") -> None:
        self._places: Places | None = places
        self._begun = monotonic()

    def give_back(self) -> None:
        """Let the next one have it; the second time nothing happens."""
        if self._places is not None:
            self._places.leave(monotonic() - self._begun)
            self._places = None


class Places:
    """So many places, and a line before them: first come, first served.

    Whoever would wait longer than `longest_wait` seconds, judged by the line and how long places were held of late, is
    sent away at once; and whoever did wait so long, too.
    """

    def __init__(self, at_once: int, longest_wait: float) -> None:
        self._at_once = self._free = at_once
        self._longest_wait = longest_wait
        self._seconds = _QUICKEST_SECONDS
        self._line: deque[asyncio.Future[None]] = deque()

    def insist_on_room(self) -> None:
        """Raise OverloadedException where whoever comes now would wait too long."""
        if not self._free and (self._expected() > self._longest_wait or len(self._line) >= LONGEST_LINE):
            raise OverloadedException(self._retry_after())

    async def take(self) -> Place:
        """Wait for a place; raises OverloadedException."""
        if self._free:
            self._free -= 1
        else:
            self.insist_on_room()
            await self._wait()
        return Place(self)

    def leave(self, seconds: float) -> None:
        """A place is free, after so many seconds.

        Once nobody is there any more, it tells nothing of whoever comes next.
        """
        counted = max(_QUICKEST_SECONDS, min(seconds, _LONGEST * self._seconds))
        self._seconds += (counted - self._seconds) * _WEIGHT
        self._pass_on()
        if self._free == self._at_once:
            self._seconds = _QUICKEST_SECONDS

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._line.append(turn)
        patience = loop.call_later(self._longest_wait, self._send_away, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # passed over already
                    self._line.remove(turn)
            elif turn.exception() is None:
                self._pass_on()  # the place came in the same moment
            raise
        finally:
            patience.cancel()

    def _send_away(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._line.remove(turn)
            turn.set_exception(OverloadedException(max(self._retry_after(), math.ceil(self._longest_wait))))

    def _pass_on(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():  # else its caller has gone away in this moment
                turn.set_result(None)
                return
        self._free += 1

    def _expected(self) -> float:
        return (len(self._line) + 1) * self._seconds / self._at_once

    def _retry_after(self) -> int:
        return min(max(1, math.ceil(self._expected())), LONGEST_RETRY_SECONDS)


@dataclass(frozen=True)
class Room:
    """Places for each kind of request, so that a flood of one leaves the others theirs.

    `browsing`: the public directory, on connections of its own. `reading`, `writing`: all else. `entering`: whoever
    waits for a turn with a password most of the time, without a connection.
    """

    browsing: Places
    reading: Places
    writing: Places
    entering: Places
    directory: re.Pattern[str]
    passwords: re.Pattern[str]

    @classmethod
    def of(cls, settings: Settings, directory: Iterable[str], passwords: Iterable[str]) -> "Room":
        """About as many places as there are connections.

        `directory` and `passwords` are the paths, as in /clinics/{clinic_id}, of who browses and who enters.
        """
        wait, connections = settings.overload_wait_seconds, settings.database_pool_size
        return cls(
            # Each holds its connection for an instant.
            browsing=Places(2 * settings.read_pool_size, wait),
            reading=Places(connections, wait),
            # Writers wait for each other's locks: a quarter of the connections stays for who only reads.
            writing=Places(connections - connections // 4, wait),
            entering=Places(ENTERING, wait),
            directory=any_of(directory),
            passwords=any_of(passwords),
        )

    def places_for(self, method: str, path: str) -> Places:
        """Where such a request waits."""
        if method == "GET":
            return self.browsing if self.directory.fullmatch(path) else self.reading
        return self.entering if self.passwords.fullmatch(path) else self.writing


def any_of(paths: Iterable[str]) -> re.Pattern[str]:
    """What matches an address of any of these paths, which are as in /clinics/{clinic_id}."""
    return re.compile("|".join(re.sub(r"\{\w+\}", "[^/]+", path) for path in sorted(paths)))


class Overload:
    """Lets a request in once there is a place for it, or sends it away before anything is done for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._brake = Brake()
        self.long_bodies = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or not scope["path"].startswith(_BOUNDED):
            await self._app(scope, receive, send)
            return
        body = _Body(self, receive)
        try:
            await self._serve(scope, body, send)
        finally:
            body.forget()

    async def _serve(self, scope: Scope, body: "_Body", send: Send) -> None:
        room: Room = scope["app"].state.room
        places = room.places_for(scope["method"], scope["path"])
        try:
            places.insist_on_room()
            if scope["method"] != "GET":
                await body.arrive()
            place = await places.take()
        except OverloadedException as refused:
            body.forget()
            await self._brake.slow_down()
            await of_error(refused)(scope, body.receive, send)
            return

        async def answer(message: Message) -> None:
            place.give_back()
            await send(message)

        try:
            await self._app(scope, body.receive, answer)
        finally:
            place.give_back()


class _Body:
    """What has come of a request's body before anybody asks for it, in the bounds of all long ones together."""

    def __init__(self, overload: Overload, receive: Receive) -> None:
        self._overload = overload
        self._receive = receive
        self._come: deque[Message] = deque()
        self._size = self._counted = 0

    async def arrive(self) -> None:
        """Wait for all of it, or more than anybody reads; raises OverloadedException."""
        message: Message = {"more_body": True}
        while message.get("more_body") and self._size <= MAX_BODY_BYTES:
            message = await self._receive()
            self._come.append(message)
            self._size += len(message.get("body", b""))
            more = max(0, self._size - SHORT_BODY_BYTES) - self._counted
            self._counted += more
            self._overload.long_bodies += more
            if more and self._overload.long_bodies > LONG_BODIES_BYTES:
                raise OverloadedException

    async def receive(self) -> Message:
        """What has come, then what is still to come."""
        return self._come.popleft() if self._come else await self._receive()

    def forget(self) -> None:
        """Nobody asks for it any more."""
        self._come.clear()
        self._overload.long_bodies -= self._counted
        self._counted = 0
