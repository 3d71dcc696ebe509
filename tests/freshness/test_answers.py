"""Answers that are kept: no longer than they are true, and no more of them than there is room for."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from health_services.freshness.answers import Answer, Answers, Keeping
from health_services.freshness.versions import DIRECTORY, Versions

KEY = ("/slots", b"")


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    versions = Versions(tmp_path / "versions")
    versions.open()
    return Answers(versions, 60, most_bytes=10_000)


def answer(body: bytes = b"[]") -> Answer:
    return Answer((), (), 'W/"1"', body, {})


def keep(answers: Answers, key: tuple[str, bytes] = KEY, body: bytes = b"[]", *, until: datetime | None = None) -> None:
    keeping = Keeping(answers, key)
    keeping.rests_on(DIRECTORY)
    if until is not None:
        keeping.holds_until(until)
    keeping.keep(answer(body))


def test_it_is_given_until_something_changes(answers: Answers):
    keep(answers)
    assert answers.get(KEY) == answer()
    assert answers.get(("/slots", b"limit=1")) is None
    answers.versions.change([DIRECTORY])
    assert answers.get(KEY) is None


def test_what_changed_while_it_was_found_is_not_kept(answers: Answers):
    keeping = Keeping(answers, KEY)
    keeping.rests_on(DIRECTORY)
    answers.versions.change([DIRECTORY])  # after the versions were read, perhaps after the database was
    keeping.keep(answer())
    assert answers.get(KEY) is None


def test_it_ends_with_its_time(answers: Answers):
    keep(answers, until=datetime.now(UTC) - timedelta(milliseconds=1))
    assert answers.get(KEY) is None
    keep(answers, until=datetime.now(UTC) + timedelta(seconds=50))
    assert answers.get(KEY) is not None
    answers.seconds = 0
    keep(answers)
    assert answers.get(KEY) is None


def test_what_has_ended_takes_no_room(answers: Answers):
    """Most questions are never asked again, and their answers would stay until there is no room."""
    keep(answers, until=datetime.now(UTC) + timedelta(milliseconds=20))
    assert len(answers._kept) == 1
    time.sleep(0.03)
    keep(answers, ("/slots", b"limit=1"))
    assert list(answers._kept) == [("/slots", b"limit=1")]
    keep(answers, until=datetime.now(UTC) - timedelta(seconds=1))
    assert answers.get(("/slots", b"limit=1")) == answer()


def test_an_answer_of_which_nothing_was_said_is_not_kept(answers: Answers):
    Keeping(answers, KEY).keep(answer())
    assert answers.get(KEY) is None
    nowhere = Keeping()
    nowhere.rests_on(DIRECTORY)
    nowhere.keep(answer())


def test_the_least_used_one_makes_room(answers: Answers):
    for number in range(3):
        keep(answers, (str(number), b""), b"x" * 1000)
    assert answers.get(("0", b"")) is not None
    keep(answers, ("3", b""), b"x" * 1000)
    assert [number for number in range(4) if answers.get((str(number), b""))] == [0, 2, 3]
    keep(answers, ("large", b""), b"x" * 20_000)
    assert [number for number in range(4) if answers.get((str(number), b""))] == []


async def test_one_finds_what_many_ask_for(answers: Answers):
    found = []

    async def ask() -> None:
        while answers.get(KEY) is None:
            if await answers.turn(KEY):
                await asyncio.sleep(0)
                found.append(1)
                keep(answers)
                answers.done(KEY)

    await asyncio.gather(*(ask() for _ in range(50)))
    assert found == [1]


async def test_whoever_gives_up_lets_the_next_one_try(answers: Answers):
    assert await answers.turn(KEY)
    waiting = asyncio.create_task(answers.turn(KEY))
    await asyncio.sleep(0)
    waiting.cancel()  # it hung up; those who still wait are not disturbed
    other = asyncio.create_task(answers.turn(KEY))
    await asyncio.sleep(0)
    answers.done(KEY)
    assert await other is False
    assert await answers.turn(KEY)
