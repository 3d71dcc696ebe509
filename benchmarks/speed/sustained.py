"""Bookings without a pause, by all processes of the machine; after it, everything that was answered is there."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import checks
from figures import Goal, Row
from report import Report, say
from stand import Options, Stand

# So many slots there are for each second.
MOST_A_SECOND = 1500
LEAST, P99 = 500, 150
# How often it is looked how far the database has come, and over how many looks the slowest rate is taken.
LOOK_SECONDS, LOOKS = 5, 12
COME = "SELECT last_value FROM pg_sequences WHERE sequencename = 'appointments_id_seq'"


def measure(directory: Path, options: Options, report: Report, *, minutes: float) -> None:
    """A table of it; the times are wrk's."""
    seconds = minutes * 60
    stand = Stand(directory / "sustained", max(options.slots, round(seconds * MOST_A_SECOND)))
    with stand.serving(options.workers) as served:
        url = served.service.owner_url
        lines = stand.bookings.take(round(seconds * MOST_A_SECOND), "/api/v1")
        say(f"… booking for {minutes:g} minutes with {options.workers} server processes")
        with ThreadPoolExecutor(1) as thread:
            booking = thread.submit(served.once, lines, options.clients, seconds)
            looks = asyncio.run(_looks(url, seconds))
            found = booking.result()
        faults = asyncio.run(checks.faults(url))
        there = asyncio.run(checks.appointments(url))
    told = found.statuses.get("201", 0)
    if told != there:
        faults.append(f"{told} × 201, but {there} appointments")
    faults += [f"not expected: {status}" for status in sorted(set(found.statuses) - {"201"})]
    rows = [
        Row(
            f"book distinct slots, {minutes:g} minutes",
            found.rate,
            goals=(Goal("value", least=LEAST), Goal("p99", most=P99)),
            p50=found.p50,
            p95=found.p95,
            p99=found.p99,
            statuses=found.statuses,
            faults=faults,
        ),
        *_slowest(looks),
        Row("appointments in the database afterwards", there, ""),
    ]
    title = f"Sustained bookings, {options.workers} server processes, {options.clients} clients, {stand.slots} slots"
    report.add(title, rows)


async def _looks(url: str, seconds: float) -> list[tuple[float, int]]:
    """When it was looked, and how many appointments had been begun."""
    owner = await asyncpg.connect(url)
    end, looks = time.monotonic() + seconds, []
    while time.monotonic() < end:
        looks.append((time.monotonic(), int(await owner.fetchval(COME) or 0)))
        await asyncio.sleep(LOOK_SECONDS)
    await owner.close()
    return looks


def _slowest(looks: Sequence[tuple[float, int]]) -> list[Row]:
    """Bookings a second, where they were fewest, but for its beginning; nothing of a run that is too short."""
    spans = list(zip(looks[1:], looks[1 + LOOKS :], strict=False))
    rates = [(until[1] - since[1]) / (until[0] - since[0]) for since, until in spans]
    return [Row(f"the slowest {LOOKS * LOOK_SECONDS} s of it", min(rates))] if rates else []
