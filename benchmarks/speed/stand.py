"""Where it is measured: a data directory with a filled region, on which servers are started one after the other."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from load import Measured, get, send
from region import SECRET, Bookings, Region, logins

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks" / "requests"))
from service import Service  # noqa: E402

API = "/api/v1"
# Counted for everybody, and never reached.
OUT_OF_REACH = json.dumps(
    dict.fromkeys(("address", "caller", "login", "login_address", "register"), "1000000000/minute")
)
SETTINGS = {"HEALTH_RATE_LIMITS": OUT_OF_REACH, "HEALTH_LOG_LEVEL": "info", "HEALTH_SECRET_KEY": SECRET}
# More than one process books in a second, and more than several do.
MOST_BOOKINGS = 2000
STOP_SECONDS = 60
# A server that uses less than this part of a core while it is looked at has nothing to do.
IDLE, LOOK_SECONDS, SETTLE_SECONDS = 0.1, 0.5, 60


@dataclass(frozen=True)
class Options:
    """How much is asked: slots, rounds, seconds of each measurement, clients at once, server processes of them all."""

    slots: int
    rounds: int
    seconds: float
    clients: int
    workers: int


@dataclass
class Stand:
    """One directory; its region is filled by the first server. `filled_rate` is in rows a second."""

    directory: Path
    slots: int
    filled_rate: float = 0
    region: Region = field(init=False)
    bookings: Bookings = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(mode=0o755, exist_ok=True)  # the database's user must be able to pass
        self.region = Region(self.slots, self.directory / "tokens")
        self.bookings = Bookings(self.region)

    @contextmanager
    def serving(self, workers: int = 1) -> Iterator["Served"]:
        """A server on it, with so many processes; at the end, the database too has stopped."""
        with Service.running(ROOT, self.directory / "service", "--workers", str(workers), settings=SETTINGS) as service:
            if not self.filled_rate:
                self.filled_rate = asyncio.run(self.region.fill(service.owner_url))
            served = Served(self, service)
            served.settle()
            yield served
        end = time.monotonic() + STOP_SECONDS
        while (self.directory / "service/data/postgres/data/postmaster.pid").exists() and time.monotonic() < end:
            time.sleep(0.05)

    def book(self, url: str, prefix: str, clients: int, seconds: float) -> Measured:
        """Book distinct free slots at any server of this database; what was not sent is there the next time."""
        lines = self.bookings.take(round(MOST_BOOKINGS * seconds), prefix)
        measured = send(url, lines, self.region.tokens, clients=clients, seconds=seconds, once=True)
        self.bookings.take_back(len(lines) - 1 - sum(measured.statuses.values()) - clients)
        return measured


@dataclass
class Served:
    """A server that runs on a stand, and how it is asked."""

    stand: Stand
    service: Service
    _asked: int = 0

    @property
    def api(self) -> str:
        """The address of everything."""
        return self.service.url + API

    def same(self, path: str, clients: int, seconds: float) -> Callable[[], Measured]:
        """One question, again and again."""
        return lambda: get(self.api + path, clients=clients, seconds=seconds)

    def each(self, lines: list[str], clients: int, seconds: float) -> Callable[[], Measured]:
        """Questions in turn, going on where the last measurement of this server was, more or less."""

        def measure() -> Measured:
            self._asked += 3000
            start = self._asked % len(lines)
            return send(self.api, lines, self.stand.region.tokens, clients=clients, seconds=seconds, start=start)

        return measure

    def sign_in(self, clients: int, seconds: float) -> Measured:
        """Logins of other people than those who book; it ends when the server is done with those it was left with."""
        measured = self.each(logins(self.stand.region, f"{API}/auth/login"), clients, seconds)()
        self.settle()
        return measured

    def settle(self) -> None:
        """Wait until the server does next to nothing: it finishes also what nobody waits for any more."""
        end, before = time.monotonic() + SETTLE_SECONDS, self.service.processor_seconds()
        while time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            before, used = self.service.processor_seconds(), self.service.processor_seconds() - before
            if used < IDLE * LOOK_SECONDS:
                return

    def once(self, lines: list[str], clients: int, seconds: float) -> Measured:
        """Requests of which each is sent once at most."""
        return send(self.api, lines, self.stand.region.tokens, clients=clients, seconds=seconds, once=True)

    def book(self, clients: int, seconds: float) -> Measured:
        """Distinct free slots, each by another patient than the last."""
        return self.stand.book(self.api, API, clients, seconds)


@contextmanager
def reference(what: str, *arguments: str) -> Iterator[str]:
    """The address of a yardstick's server until the block ends."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    command = [sys.executable, str(Path(__file__).parent / "reference.py"), what, str(port), *arguments]
    with subprocess.Popen(command) as process:  # noqa: S603 - a list of arguments that we made
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("a yardstick's server does not answer")
