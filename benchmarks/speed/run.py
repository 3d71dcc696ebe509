"""How fast one server process is, beside what the framework and PostgreSQL can do at all, in the same minutes.

    python benchmarks/speed/run.py [--slots N] [--rounds N] [--seconds N] [--clients N] [--save FILE]

It starts a service with an embedded PostgreSQL (fsync on, every feature on, limits out of reach), fills it, and lets
yardsticks and subjects take turns:

- H: requests/s of a bare FastAPI application with one route;
- PB: pgbench, one conditional UPDATE and INSERT in a prepared statement, 16 clients, tables without triggers;
- ORM: the same endpoints written the ordinary way.

A figure is the median of its rounds, a ratio the median of the rounds' ratios. It ends with an error where a status is
not the one that is expected.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from load import Measured, pgbench, require_wrk, wrk
from region import Patient, bookings, fill, line, weeks

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks" / "requests"))
from service import Service  # noqa: E402

OUT_OF_REACH = json.dumps(
    dict.fromkeys(("address", "caller", "login", "login_address", "register"), "1000000000/minute")
)
API = "/api/v1"


def say(text: str = "") -> None:
    """Print at once: a run takes minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass
class Figure:
    """What is measured round by round, and what it is held against."""

    name: str
    measure: Callable[[], Measured]
    expected: str = "200"
    against: tuple[str, ...] = ()
    rounds: list[Measured] = field(default_factory=list)

    def take(self) -> None:
        """Measure once more; raises SystemExit for an answer that nobody expects."""
        measured = self.measure()
        if measured.statuses is not None and set(measured.statuses) != {self.expected}:
            raise SystemExit(f"{self.name}: {dict(measured.statuses)}, not {self.expected} alone")
        self.rounds.append(measured)

    def ratio(self, other: "Figure") -> float:
        """The median of the rounds' ratios."""
        return statistics.median(own.rate / base.rate for own, base in zip(self.rounds, other.rounds, strict=True))

    def median(self, name: str) -> float:
        """Of the rounds."""
        return statistics.median(getattr(measured, name) for measured in self.rounds)


@contextmanager
def reference(what: str, port: int, *arguments: str) -> Iterator[str]:
    """A yardstick's server until the block ends."""
    command = [sys.executable, str(Path(__file__).parent / "reference.py"), what, str(port), *arguments]
    with subprocess.Popen(command) as process:  # noqa: S603 - a list of arguments that we made
        try:
            time.sleep(3)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


class Bench:
    """The figures of one service."""

    def __init__(self, service: Service, patients: list[Patient], directory: Path, options: argparse.Namespace) -> None:
        self._service = service
        self._patients = patients
        self._directory = directory
        self._options = options
        self._colds = self._booked = 0

    def get(self, url: str) -> Callable[[], Measured]:
        """The same question again and again."""
        return lambda: wrk(url, "get.lua", clients=self._options.clients, seconds=self._options.seconds)

    def requests(self, url: str, lines: list[str]) -> Measured:
        """These questions, one after the other."""
        asked = self._directory / "requests"
        asked.write_text("\n".join(lines))
        self._colds += 3000
        return wrk(
            url, "requests.lua", clients=self._options.clients, seconds=self._options.seconds,
            REQUESTS=str(asked), START=str(self._colds),
        )  # fmt: skip

    def book(self, url: str, prefix: str) -> Measured:
        """Distinct slots, as many as may be needed."""
        count = round(2000 * self._options.seconds)
        lines = asyncio.run(bookings(self._service.owner_url, self._patients, prefix, self._booked, count))
        self._booked += count
        asked = self._directory / "bookings"
        asked.write_text("\n".join(lines))
        return wrk(
            url, "requests.lua", clients=self._options.clients, seconds=self._options.seconds, REQUESTS=str(asked)
        )

    def figures(self, bare: str, ordinary: str) -> list[Figure]:
        """All of them, in the order in which they take turns."""
        url, seconds = self._service.url, self._options.seconds
        one = [line("GET", f"{API}/slots/{n}") for n in range(1, self._options.slots, 7)]
        profile = [line("GET", f"{API}/auth/profile", patient) for patient in self._patients]
        return [
            Figure("H", self.get(bare)),
            Figure("list 100 slots, warm", self.get(f"{url}{API}/slots?doctor_id=7"), against=("H", "ORM list")),
            Figure("ORM list", self.get(f"{ordinary}/slots?doctor_id=7"), against=("H",)),
            Figure("list slots, cold", lambda: self.requests(url, weeks(f"{API}/slots")), against=("H",)),
            Figure("one slot, each another", lambda: self.requests(url, one), against=("H",)),
            Figure("doctors by specialty", self.get(f"{url}{API}/doctors?specialty=cardiology"), against=("H",)),
            Figure("profile", lambda: self.requests(url, profile), against=("H",)),
            Figure("PB", lambda: pgbench(self._service.owner_url, "book.sql", self._options.slots, seconds)),
            Figure("book", lambda: self.book(url, API), "201", ("PB", "ORM book")),
            Figure("ORM book", lambda: self.book(ordinary, ""), "201", ("PB",)),
        ]


def table(figures: list[Figure]) -> str:
    """As Markdown."""
    named = {figure.name: figure for figure in figures}
    rows = ["| what | a second | p50 ms | p95 ms | p99 ms | ratios |", "|---|---:|---:|---:|---:|---|"]
    for figure in figures:
        ratios = ", ".join(f"{figure.ratio(named[other]):.2f} {other}" for other in figure.against)
        times = " | ".join(
            f"{figure.median(name):.1f}" if figure.median(name) else "" for name in ("p50", "p95", "p99")
        )
        rows.append(f"| {figure.name} | {figure.median('rate'):.0f} | {times} | {ratios} |")
    return "\n".join(rows)


def measure(options: argparse.Namespace) -> str:
    """Everything; the table."""
    with tempfile.TemporaryDirectory(prefix="hs-speed-") as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)  # the server's user must be able to pass
        settings = {"HEALTH_RATE_LIMITS": OUT_OF_REACH, "HEALTH_LOG_LEVEL": "info"}
        service = stack.enter_context(Service.running(ROOT, directory / "service", settings=settings))
        patients = asyncio.run(fill(service.owner_url, service.url, options.slots))
        bare = stack.enter_context(reference("bare", 9201))
        ordinary = stack.enter_context(reference("ordinary", 9202, service.owner_url))
        figures = Bench(service, patients, directory, options).figures(bare, ordinary)
        for number in range(options.rounds + 1):
            for figure in figures:
                figure.take()
                if not number:  # the first round warms up
                    figure.rounds.clear()
        return table(figures)


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--slots", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement (default 3)")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--save", type=Path, help="a file for the table")
    options = parser.parse_args()
    require_wrk()
    shown = measure(options)
    say(shown)
    if options.save:
        options.save.write_text(shown + "\n")


if __name__ == "__main__":
    main()
