"""What an earlier version's requests took against this one's, over HTTP; and what a flood of logins does to bookings.

    git worktree add /tmp/before d964c64
    python benchmarks/requests/run.py --before /tmp/before [--rounds N] [--seconds N] [--clients N]

Each version runs as `health-services serve --no-worker` with an embedded PostgreSQL of its own (fsync on), without rate
limits. A patient books distinct slots and reads his record, alone and with several clients at once; the versions take
turns, and ratios are taken within their round, of the processor time of the server and its database together, since a
machine that others share gives no other figure that can be trusted. So does this version with its policies switched
off, and with audit rows that are sent and not kept. Then, in this version alone, logins by themselves, and bookings
beside as many logins as come. Ends with an error where an answer is not the one that is expected.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from service import ACCOUNT, WITHOUT_AUDIT_ROWS, WITHOUT_POLICIES, Service

Request = Callable[[], Awaitable[None]]
HERE = Path(__file__).parents[2]
CHANGES = {"after, without policies": WITHOUT_POLICIES, "after, without audit rows": WITHOUT_AUDIT_ROWS}


def say(line: str = "") -> None:
    """Print at once: a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Patient:
    """A patient of one service, signed in, and the slots that he has not booked yet."""

    def __init__(self, http: aiohttp.ClientSession, service: Service, email: str = "ada@example.org") -> None:
        self.service = service
        self._http, self._url = http, f"{service.url}/api/v1"
        self._account = ACCOUNT | {"email": email}
        self._slots: Iterator[int] = itertools.count(1)
        self._id = 0
        self._headers: dict[str, str] = {}

    async def _ask(self, method: str, path: str, expected: int, body: object = None) -> dict[str, object]:
        async with self._http.request(method, self._url + path, json=body, headers=self._headers) as answer:
            if answer.status != expected:
                raise SystemExit(f"{method} {path}: {answer.status} {await answer.text()}")
            shown: dict[str, object] = await answer.json()
            return shown

    async def login(self) -> None:
        """Sign in once more."""
        await self._ask("POST", "/auth/login", 200, {name: self._account[name] for name in ("email", "password")})

    async def register(self) -> None:
        """Make the account, and keep its token."""
        made = await self._ask("POST", "/auth/register", 200, self._account)
        user = made["user"]
        assert isinstance(user, dict)
        self._id = int(user["patient_id"])
        self._headers = {"Authorization": f"Bearer {made['access_token']}"}

    async def book(self) -> None:
        """Book the next slot, which is its own doctor's."""
        slot = next(self._slots)
        body = {"patient_id": self._id, "doctor_id": slot, "clinic_id": 1, "slot_id": slot, "reason_for_visit": "Cough"}
        await self._ask("POST", "/appointments/book", 201, body)

    async def read(self) -> None:
        """Read his own record."""
        await self._ask("GET", f"/patients/{self._id}", 200)


async def load(request: Request, clients: int, seconds: float) -> list[float]:
    """How long each request took, in ms, that so many clients sent one after the other."""
    taken: list[float] = []
    until = time.perf_counter() + seconds

    async def client() -> None:
        while (began := time.perf_counter()) < until:
            await request()
            taken.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(client() for _ in range(clients)))
    return taken


@dataclass(frozen=True)
class Run:
    """How long each request took, in ms, and what each used of processors, in ms."""

    taken: list[float]
    processor: float


def shown(runs: Sequence[Run], base: Sequence[Run], seconds: float) -> str:
    """Medians over the rounds: requests/s, p50 and p99; processor time, and its ratio to the base's of the round."""
    cuts = [statistics.quantiles(run.taken, n=100) for run in runs]
    p50, p99 = (statistics.median(cut[place] for cut in cuts) for place in (49, 98))
    rate = statistics.median(len(run.taken) for run in runs) / seconds
    processor = statistics.median(run.processor for run in runs)
    ratio = statistics.median(own.processor / other.processor for own, other in zip(runs, base, strict=True))
    return f"{rate:.0f} | {p50:.1f} | {p99:.1f} | {processor:.2f} | {ratio:.2f}"


async def compare(patients: dict[str, Patient], options: argparse.Namespace) -> None:
    """Book and read with each version in turn."""
    say("| what | clients | version | requests/s | p50 ms | p99 ms | processor ms | ratio |")
    say("|---|---:|---|---:|---:|---:|---:|---:|")
    for what, clients in itertools.product(("book", "read"), (1, options.clients)):
        runs: dict[str, list[Run]] = {name: [] for name in patients}
        for number in range(options.rounds + 1):
            for name in list(patients)[:: 1 if number % 2 else -1]:
                patient, service = patients[name], patients[name].service
                began = service.processor_seconds()
                taken = await load(getattr(patient, what), clients, options.seconds)
                used = (service.processor_seconds() - began) * 1000 / len(taken)
                if number:  # the first round warms up
                    runs[name].append(Run(taken, used))
        for name, own in runs.items():
            say(f"| {what} | {clients} | {name} | {shown(own, runs['before'], options.seconds)} |")


async def flood(patient: Patient, other: Patient, options: argparse.Namespace) -> None:
    """Logins alone, bookings alone, and both at once; by two, since only so many sessions of one are kept."""
    clients, seconds = options.clients, options.seconds * 2
    await other.register()
    logins = await load(other.login, clients, seconds)
    say(f"\nLogins: {len(logins) / seconds:.1f}/s with {clients} clients.\n")
    say("| bookings, 4 clients | requests/s | p50 ms | p99 ms |\n|---|---:|---:|---:|")
    for name in ("alone", "beside the logins", "alone again"):
        others = [load(other.login, clients, seconds)] if "logins" in name else []
        taken, *_ = await asyncio.gather(load(patient.book, 4, seconds), *others)
        cut = statistics.quantiles(taken, n=100)
        say(f"| {name} | {len(taken) / seconds:.0f} | {cut[49]:.1f} | {cut[98]:.1f} |")


async def measure(services: dict[str, Service], options: argparse.Namespace) -> None:
    """Everything, with the services running."""
    async with aiohttp.ClientSession() as http:
        patients = {name: Patient(http, service) for name, service in services.items()}
        for name, patient in patients.items():
            await patient.register()
            await services[name].fill(options.slots, CHANGES.get(name, "SELECT"))
        await compare(patients, options)
        other = Patient(http, services["after"], "grace@example.org")
        await flood(patients["after"], other, options)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the earlier version")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each run (default 4)")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--slots", type=int, default=40_000, help="for all bookings of one version")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hs-requests-") as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)  # the server's user must be able to pass
        versions = {"before": options.before, "after": HERE} | dict.fromkeys(CHANGES, HERE)
        services = {
            version: stack.enter_context(Service.running(source, directory / version))
            for version, source in versions.items()
        }
        asyncio.run(measure(services, options))


if __name__ == "__main__":
    main()
