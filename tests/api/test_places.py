"""Places and the line before them: in order, bounded, and none is lost or given twice."""

import asyncio
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from health_services.api import overload
from health_services.api.overload import Places
from health_services.errors import OverloadedException

LONG, SHORT = 60.0, 0.05


class Crowd:
    """Whoever wants a place; each keeps his until he is ended."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.served: list[str] = []
        self.told: dict[str, int] = {}
        self._done: dict[str, asyncio.Event] = {}

    async def come(self, *names: str) -> list[asyncio.Task[None]]:
        """In this order."""
        tasks = []
        for name in names:
            self._done[name] = asyncio.Event()
            tasks.append(asyncio.create_task(self._take(name)))
            await settle()
        return tasks

    async def _take(self, name: str) -> None:
        try:
            place = await self.places.take()
        except OverloadedException as refused:
            self.told[name] = refused.retry_after
            return
        try:
            self.served.append(name)
            await self._done[name].wait()
        finally:
            place.give_back()
            place.give_back()  # which does nothing

    async def end(self, *names: str) -> None:
        """They have what they wanted."""
        for name in names:
            self._done[name].set()
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_first_come_first_served():
    crowd = Crowd(Places(2, LONG))
    await crowd.come(*"abcdef")
    assert crowd.served == ["a", "b"]
    await crowd.end("b")
    await crowd.come("g")
    await crowd.end("a", "c", "d", "e", "f")
    assert crowd.served == list("abcdefg")


async def test_the_line_is_bounded_and_forgets_the_flood_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(overload, "LONGEST_LINE", 2)
    crowd = Crowd(Places(1, LONG))
    await crowd.come(*"abcde")
    assert crowd.told == {"d": 1, "e": 1}
    with pytest.raises(OverloadedException):
        crowd.places.insist_on_room()
    await crowd.end("a", "b", "c")
    assert crowd.served == ["a", "b", "c"]
    crowd.places.insist_on_room()
    await crowd.come("f")
    assert crowd.served[-1] == "f"


async def test_who_would_wait_too_long_is_told_so_at_once():
    crowd = Crowd(Places(2, 10))
    crowd.places._seconds = 4
    await crowd.come(*"abcdefgh")
    assert (crowd.served, crowd.told) == (["a", "b"], {"h": 12})  # g has 10 seconds before him, h would have 12


async def held(places: Places, *seconds: float) -> None:
    """Places that were taken for so long, one after the other."""
    for each in seconds:
        place = await places.take()
        place._begun -= each
        place.give_back()


async def test_what_took_long_once_turns_nobody_away_and_what_takes_long_does():
    crowd = Crowd(Places(12, 2))
    await crowd.come("somebody")
    await held(crowd.places, *[0.005] * 100, 30)
    await crowd.come(*map(str, range(500)))
    assert not crowd.told
    await crowd.end(*map(str, range(500)))
    await held(crowd.places, *[1.0] * 100)
    await crowd.come(*map(str, range(500, 600)))
    assert list(map(int, crowd.told)) == list(range(535, 600))  # of 89 in the line, 24 can have had their turn by then


async def test_who_comes_when_nobody_is_there_is_not_judged_by_those_of_before():
    crowd = Crowd(Places(2, 2))
    await held(crowd.places, *[1.0] * 100)
    await crowd.come(*map(str, range(100)))
    assert not crowd.told


async def test_the_longer_the_line_the_later_one_is_to_come_again():
    crowd = Crowd(Places(1, 2))
    await crowd.come(*"abcde")
    crowd.places._seconds = 0.9
    for name, told in (("a", 5), ("b", 4), ("c", 3)):
        crowd.places._seconds = 0.9
        with pytest.raises(OverloadedException) as refused:
            crowd.places.insist_on_room()
        assert refused.value.retry_after == told
        await crowd.end(name)
    crowd.places._seconds = 1e6
    with pytest.raises(OverloadedException) as refused:
        crowd.places.insist_on_room()
    assert refused.value.retry_after == overload.LONGEST_RETRY_SECONDS
    crowd.places._seconds = 0.9
    crowd.places.insist_on_room()  # e is the only one in the line, and 1.8 seconds are not too long


async def test_who_has_waited_too_long_is_sent_away():
    crowd = Crowd(Places(1, SHORT))
    *_, last = await crowd.come("a", "b")
    await last
    assert crowd.told == {"b": 1}
    assert not crowd.places._line
    await crowd.end("a")
    await crowd.come("c")
    assert crowd.served == ["a", "c"]


async def test_whoever_goes_away_gives_his_place_back():
    crowd = Crowd(Places(1, LONG))
    first, second, _ = await crowd.come("a", "b", "c")
    second.cancel()
    first.cancel()
    await settle()
    assert crowd.served == ["a", "c"]
    # the place is given to him in the very moment in which he goes
    (late,) = await crowd.come("d")
    crowd._done["c"].set()
    await asyncio.sleep(0)
    late.cancel()
    await settle()
    await crowd.come("e")
    assert crowd.served == ["a", "c", "e"]


STEPS = ["come", "come", "come", "come and leave", "end", "end, a moment ago", "leave", "send away"]


@given(st.lists(st.sampled_from(STEPS), min_size=20, max_size=60), st.integers(1, 2))
async def test_no_place_is_lost_or_given_twice(steps: list[str], at_once: int):
    """Whatever happens at whatever moment: as many work as can, and afterwards all places are free."""
    places = Places(at_once, LONG)
    working = 0
    tasks: list[asyncio.Task[None]] = []

    async def take() -> None:
        nonlocal working
        with suppress(OverloadedException):
            place = await places.take()
            working += 1
            try:
                await asyncio.Event().wait()
            finally:
                working -= 1
                place.give_back()

    for step in steps:
        tasks = [task for task in tasks if not task.done()]
        if step.startswith("come"):
            tasks.append(asyncio.create_task(take()))
        if step == "send away" and places._line:
            places._send_away(places._line[0])
        elif tasks and step != "come":
            tasks[0 if step.startswith("end") else -1].cancel()
        if step in {"come", "end", "leave", "send away"}:
            await settle()
            assert working == min(at_once, sum(not task.done() for task in tasks))
        else:
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await settle()
    assert (working, places._free, len(places._line)) == (0, at_once, 0)
