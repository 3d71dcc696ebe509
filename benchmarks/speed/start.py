"""How soon a server on an existing database answers, and how much memory its process takes, idle and under load."""

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

import psutil
from figures import Goal, Row
from load import Measured
from region import lists_of_doctors
from stand import API, Options, Served, Stand

STARTS = 5
IDLE_SECONDS = 3
EXPECTED = {"200", "201"}


def start_and_memory(stand: Stand, options: Options) -> list[Row]:
    """Five starts, each with PostgreSQL's own; memory is of the process that answers requests (MB are MiB)."""
    if not stand.filled_rate:
        with stand.serving():
            pass
    seconds = []
    for _ in range(STARTS):
        with stand.serving() as served:
            seconds.append(served.service.ready_seconds)
    told = ", ".join(f"{one:.2f}" for one in sorted(seconds))
    median = statistics.median(seconds)
    rows = [
        Row(f"ready after `serve`, PostgreSQL included: median of {told}", median, " s", goals=(Goal("value", most=3),))
    ]
    with stand.serving() as served:
        return rows + _memory(served, options)


def _memory(served: Served, options: Options) -> list[Row]:
    process = served.service.processes[0]
    with _Memory(process) as idle:
        time.sleep(IDLE_SECONDS)
    with _Memory(process) as loaded:
        statuses = _everything_at_once(served, options)
    faults = [f"not expected: {status}" for status in sorted(set(statuses) - EXPECTED)]
    return [
        Row("memory idle, resident", idle.resident, " MB", goals=(Goal("value", most=120),)),
        Row("memory idle, its share of what is shared", idle.proportional, " MB"),
        Row(
            "memory under load, resident, the most",
            loaded.resident,
            " MB",
            goals=(Goal("value", most=250),),
            statuses=statuses,
            faults=faults,
        ),
        Row("memory under load, its share of what is shared, the most", loaded.proportional, " MB"),
    ]


def _everything_at_once(served: Served, options: Options) -> dict[str, int]:
    """Lists, bookings and logins, each with so many clients; how many of each status."""
    region, clients, seconds = served.stand.region, options.clients, options.seconds * 2
    loads: list[Callable[[], Measured]] = [
        served.same("/slots?doctor_id=7", clients, seconds),
        served.each(lists_of_doctors(region, f"{API}/slots"), clients, seconds),
        lambda: served.sign_in(clients, seconds),
        lambda: served.book(clients, seconds),
    ]
    with ThreadPoolExecutor(len(loads)) as threads:
        found = list(threads.map(lambda load: load(), loads))
    statuses: dict[str, int] = {}
    for status, count in (pair for one in found for pair in one.statuses.items()):
        statuses[status] = statuses.get(status, 0) + count
    return statuses


@dataclass
class _Memory:
    """The most memory of a process while the block lasts, in MiB: resident, and with its share of what is shared."""

    process: psutil.Process
    resident: float = 0
    proportional: float = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.25):
            now = self.process.memory_full_info()
            self.resident = max(self.resident, now.rss / 2**20)
            self.proportional = max(self.proportional, getattr(now, "pss", now.uss) / 2**20)
