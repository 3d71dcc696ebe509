"""Who is next at something scarce: in turn between those who ask, so that nobody's flood delays the others."""

import asyncio
import contextlib
import heapq
import itertools
from collections import Counter
from collections.abc import AsyncIterator

from health_services.errors import UnavailableException

_BUSY = "Too many people sign in at this moment. Please try again in a few seconds."


class Turns:
    """At most `at_once` have a turn, and `most` wait for one.

    They go in rounds, in which each caller has one turn: one who asks a hundred times stands in nobody's way, and his
    own come in the order in which he asked. Where all places are taken, the last of the latest round loses his.
    """

    def __init__(self, at_once: int, most: int) -> None:
        self._free = at_once
        self._most = most
        self._present: Counter[str] = Counter()
        # the round that is under way, and that of the last turn of each who is present
        self._round = 0
        self._last: dict[str, int] = {}
        self._order = itertools.count()
        # by their round, then by when they came
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @contextlib.asynccontextmanager
    async def turn_of(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn and have it; raises UnavailableException where no place to wait is left."""
        mine = self._last[caller] = max(self._round, self._last.get(caller, -1) + 1)
        self._present[caller] += 1
        try:
            await self._wait(mine)
            self._round = max(self._round, mine)
            try:
                yield
            finally:
                self._pass_on()
        finally:
            self._present[caller] -= 1
            if not self._present[caller]:
                del self._present[caller], self._last[caller]

    async def _wait(self, mine: int) -> None:
        if self._free:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (mine, next(self._order), place))
        if len(self._waiting) > self._most:
            self._send_away_last()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.exception() is None:
                self._pass_on()  # the turn came in the same moment
            self._waiting = [entry for entry in self._waiting if entry[2] is not place]
            heapq.heapify(self._waiting)
            raise

    def _send_away_last(self) -> None:
        last = max(self._waiting)
        self._waiting.remove(last)
        heapq.heapify(self._waiting)
        if not last[2].done():
            last[2].set_exception(UnavailableException(_BUSY))

    def _pass_on(self) -> None:
        while self._waiting:
            place = heapq.heappop(self._waiting)[2]
            if not place.done():  # else its caller has gone away in this moment
                place.set_result(None)
                return
        self._free += 1
