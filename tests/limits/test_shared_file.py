"""One file for all processes: exact between them, whatever becomes of them, and never larger than it is."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from health_services.errors import OperatorError
from health_services.limits import shared_file
from health_services.limits.shared_file import PLACES_OF_SET, SETS, SharedFile
from tests.limits.clocks import Clock

ROOT = Path(__file__).parents[2]


def counting(*arguments: object) -> subprocess.Popen[bytes]:
    """A process that counts, and begins when it is told to."""
    command = [sys.executable, "-m", "tests.limits.counting", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def race(path: Path, limit: int, attempts: int) -> int:
    """How many attempts of two processes at once are counted."""
    both = [counting("take", path, "key", limit, attempts) for _ in range(2)]
    for process in both:
        assert process.stdin
        process.stdin.write(b"!")
        process.stdin.flush()
    return sum(int(process.communicate(timeout=60)[0]) for process in both)


def test_two_processes_count_as_one(tmp_path: Path):
    assert race(tmp_path / "counts", limit=20_000, attempts=20_000) == 20_000


def test_the_race_is_lost_without_the_lock(tmp_path: Path):
    """What the test above rests on: the same race, with nothing locked, counts too much."""
    unlocked = tmp_path / "sitecustomize.py"
    unlocked.write_text("import fcntl\nfcntl.lockf = lambda *_: None\n")
    for attempt in range(20):
        os.environ["PYTHONPATH"] = str(tmp_path)
        try:
            passed = race(tmp_path / f"counts{attempt}", limit=20_000, attempts=20_000)
        finally:
            del os.environ["PYTHONPATH"]
        if passed != 20_000:
            return
    pytest.fail("never lost: the test of the lock cannot fail")


async def test_who_is_killed_with_the_lock_leaves_it(tmp_path: Path):
    file = tmp_path / "counts"
    killed = counting("kill", file, "key")
    assert killed.communicate(timeout=60)[0] == b"held\n"
    assert killed.returncode == -signal.SIGKILL
    counts = SharedFile(file)
    assert [await counts.acquire_sliding_window_entry("key", 2, 60) for _ in range(3)] == [True, True, False]
    await counts.close()


async def test_who_is_stopped_with_the_lock_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared_file, "LOCK_ATTEMPTS", 20)
    file = tmp_path / "counts"
    stopped = counting("stop", file, "key")
    try:
        assert stopped.stdout
        assert stopped.stdout.readline() == b"held\n"
        os.waitpid(stopped.pid, os.WUNTRACED)
        pauses: list[float] = []
        monkeypatch.setattr(time, "sleep", pauses.append)
        counts = SharedFile(file)
        assert await counts.acquire_sliding_window_entry("key", 1, 60)
        assert len(pauses) == 20
        assert await counts.acquire_sliding_window_entry("another", 1, 60)
        assert len(pauses) == 20, "only this one set was held"
        await counts.close()
    finally:
        stopped.kill()
        stopped.communicate()


async def test_a_count_outlives_its_server(tmp_path: Path):
    first, second = (SharedFile(tmp_path / "data" / "counts", clock=Clock()) for _ in range(2))
    assert await first.acquire_sliding_window_entry("key", 1, 60)
    await first.close()
    assert not await second.acquire_sliding_window_entry("key", 1, 60)
    await second.close()


async def test_a_count_from_before_the_machine_started_is_none(tmp_path: Path):
    clock = Clock(1_000_000)
    counts = SharedFile(tmp_path / "counts", sets=1, clock=clock)
    for number in range(PLACES_OF_SET):
        assert await counts.acquire_sliding_window_entry(str(number), 1, 60)
    clock.now = 100
    assert await counts.acquire_sliding_window_entry("0", 1, 60)
    assert await counts.acquire_sliding_window_entry("new", 1, 60)
    assert not await counts.acquire_sliding_window_entry("new", 1, 60)
    await counts.close()


async def test_the_oldest_gives_way_and_the_ended_before_it(tmp_path: Path):
    clock = Clock(6000)
    counts = SharedFile(tmp_path / "counts", sets=1, clock=clock)

    async def is_known(key: str, expiry: int = 60) -> bool:
        return (await counts.get_sliding_window(key, expiry))[2] > 0

    for number in range(PLACES_OF_SET):
        expiry = 60 if number else 3600  # the first one has the longest to live
        assert await counts.acquire_sliding_window_entry(str(number), 1, expiry)
        if number == 1:
            clock.now = 6060
    assert await counts.acquire_sliding_window_entry("one more", 1, 60)
    assert not await is_known("1"), "it would have ended first"
    assert await is_known("0", 3600)
    assert all([await is_known(str(number)) for number in range(2, PLACES_OF_SET)])
    clock.now = 6060 + 60 + 60  # all have ended but that of an hour
    for number in range(PLACES_OF_SET - 1):
        assert await counts.acquire_sliding_window_entry(f"later {number}", 1, 60)
    assert await is_known("0", 3600)
    assert all([await is_known(f"later {number}") for number in range(PLACES_OF_SET - 1)])
    await counts.close()


async def test_the_file_keeps_its_size_and_is_its_owners_alone(tmp_path: Path):
    file = tmp_path / "counts"
    counts = SharedFile(file, clock=Clock())
    for number in range(5000):
        assert await counts.acquire_sliding_window_entry(f"somebody {number}", 1, 60)
    await counts.close()
    found = file.stat()
    assert found.st_size == SETS * PLACES_OF_SET * 32 == 8 << 20
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert b"somebody" not in file.read_bytes()


@pytest.mark.parametrize("there", ["a link", "a directory", "in a file"])
def test_what_cannot_be_counted_in_is_told(there: str, tmp_path: Path):
    file = tmp_path / "counts"
    if there == "a link":
        file.symlink_to(tmp_path / "elsewhere")
    elif there == "a directory":
        file.mkdir()
    else:
        file.write_text("")
        file = file / "counts"
    with pytest.raises(OperatorError, match=r"^Requests cannot be counted in .*HEALTH_RATE_LIMITS=off\.$"):
        SharedFile(file).open()
    assert not (tmp_path / "elsewhere").exists()


STEPS = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 3), st.floats(0, 25)), min_size=1, max_size=60)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_it_counts_as_the_librarys_own_storage_does(steps: list[tuple[str, int, float]], tmp_path_factory):
    async def compare() -> None:
        clock = Clock()
        file = tmp_path_factory.mktemp("counts") / "counts"
        ours = SharedFile(file, clock=clock)
        item = RateLimitItemPerSecond(5, 10)
        theirs = SlidingWindowCounterRateLimiter(MemoryStorage())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("limits.aio.storage.memory.time.time", clock)
            for key, cost, pause in steps:
                clock.now += pause
                expected = await theirs.hit(item, key, cost=cost)
                assert await ours.acquire_sliding_window_entry(key, item.amount, item.get_expiry(), cost) == expected
        await ours.close()
        file.unlink()

    asyncio.run(compare())
