"""Waiting for the one thing that is scarce when people sign in: nobody's flood stands before anybody else."""

import asyncio
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from health_services.auth.turns import Turns
from health_services.errors import UnavailableException


class Crowd:
    """Callers at turns; each keeps his turn until it is ended."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.served: list[str] = []
        self.sent_away: list[str] = []
        self._done: dict[str, asyncio.Event] = {}

    async def come(self, *names: str) -> list[asyncio.Task[None]]:
        """One caller for each name, whose address is its first letter; they stand in this order."""
        tasks = []
        for name in names:
            self._done[name] = asyncio.Event()
            tasks.append(asyncio.create_task(self._take(name)))
            await asyncio.sleep(0)
        return tasks

    async def _take(self, name: str) -> None:
        try:
            async with self.turns.turn_of(name[0]):
                self.served.append(name)
                await self._done[name].wait()
        except UnavailableException:
            self.sent_away.append(name)

    async def end(self, name: str) -> None:
        """He has had his turn."""
        self._done[name].set()
        await settle()

    async def serve_all(self) -> list[str]:
        """Everybody in turn; who was served, in order."""
        for name in self.served:  # grows meanwhile
            await self.end(name)
        return self.served


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_flood_from_one_address_delays_the_others_by_one_turn():
    crowd = Crowd(Turns(1, 100))
    await crowd.come("a1", "a2", "a3", "a4", "b1", "c1", "b2")
    assert await crowd.serve_all() == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


async def test_of_one_address_nobody_is_overtaken_by_who_came_later():
    crowd = Crowd(Turns(1, 100))
    await crowd.come("a1", "a2", "a3", "a4")
    await crowd.end("a1")
    await crowd.end("a2")
    await crowd.come("a5")
    assert await crowd.serve_all() == ["a1", "a2", "a3", "a4", "a5"]


async def test_so_many_at_once_and_no_more():
    crowd = Crowd(Turns(2, 100))
    await crowd.come("a1", "b1", "c1")
    assert crowd.served == ["a1", "b1"]
    await crowd.end("b1")
    assert crowd.served == ["a1", "b1", "c1"]


async def test_where_no_place_is_left_the_flood_loses_one():
    crowd = Crowd(Turns(1, 3))
    await crowd.come("a1", "a2", "a3", "a4")
    await crowd.come("b1", "b2")
    await settle()
    assert crowd.sent_away == ["a4", "a3"]
    assert await crowd.serve_all() == ["a1", "b1", "a2", "b2"]


async def test_who_goes_away_leaves_no_gap():
    crowd = Crowd(Turns(1, 100))
    tasks = await crowd.come("a1", "b1", "c1")
    tasks[1].cancel()
    await crowd.end("a1")
    assert crowd.served == ["a1", "c1"]
    # the turn is given to him in the very moment in which he goes
    (late,) = await crowd.come("d1")
    crowd._done["c1"].set()
    await asyncio.sleep(0)
    late.cancel()
    await settle()
    await crowd.come("e1")
    assert crowd.served == ["a1", "c1", "e1"]


@given(st.lists(st.sampled_from(["come a", "come b", "end", "cancel", "cancel late"]), max_size=40), st.integers(1, 3))
async def test_no_turn_is_lost_or_doubled(steps: list[str], at_once: int):
    """Whatever happens at whatever moment: as many have a turn as can, and afterwards all turns are free."""
    turns = Turns(at_once, 4)
    having = 0
    tasks: list[asyncio.Task[None]] = []

    async def take(name: str) -> None:
        nonlocal having
        with suppress(UnavailableException):
            async with turns.turn_of(name):
                having += 1
                try:
                    await asyncio.Event().wait()
                finally:
                    having -= 1

    for step in steps:
        tasks = [task for task in tasks if not task.done()]
        if step.startswith("come"):
            tasks.append(asyncio.create_task(take(step[-1])))
        elif tasks:
            tasks[0 if step == "end" else -1].cancel()
        if step != "cancel late":
            await settle()
            waiting = [task for task in tasks if not task.done()]
            assert having == min(at_once, len(waiting))
    for task in tasks:
        task.cancel()
    await settle()
    assert (turns._free, turns._waiting, dict(turns._present), turns._last) == (at_once, [], {}, {})
