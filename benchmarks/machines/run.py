"""The service on several machines, played on one: is what it promises still true?

    .venv/bin/python benchmarks/machines/run.py

Starts PostgreSQL (fsync on), a streaming replica of it, PgBouncer in transaction mode, Redis where there is one, and
two `health-services serve` that reach the primary through PgBouncer and read the directory from the replica. Shows

1. bookings of the same slots through both at once: exactly as many 201 as there are places, nobody twice;
2. a booking made through one is seen through the other within a second, and at once by whoever shows who he is;
3. a limit counts what comes through both (with Redis);
4. a replica that is killed stops no reading, and is read again once it is back;
5. the workers in both servers, also through PgBouncer, have sent each message once and sealed the audit.

Exit code 1 where anything is not so.
"""

import asyncio
import os
import secrets
import signal
import statistics
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from programs import PASSWORD, PostgreSQL, Program, Server, answers, eventually, pooler, redis

PATIENTS, HOT, CAPACITY, LOOKS = 24, 10, 3, 20
FAILURES = 6
ROLES = f"""
    CREATE ROLE health_app NOLOGIN;
    CREATE ROLE health_owner LOGIN BYPASSRLS PASSWORD '{PASSWORD}';
    CREATE ROLE health LOGIN PASSWORD '{PASSWORD}' IN ROLE health_app"""
# Slot n is doctor n's. The first are hot; the others have one place each.
FILL = f"""
    INSERT INTO clinics (name, time_zone) VALUES ('Clinic', 'Europe/Berlin');
    WITH accounts AS (INSERT INTO users (name, role) SELECT 'Doctor ' || n, 'doctor'
                      FROM generate_series(1, {HOT + LOOKS}) n RETURNING id)
    INSERT INTO doctors (user_id, clinic_id, specialty, license_number)
    SELECT id, 1, 'Dermatology', 'L' || id FROM accounts;
    INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, duration_minutes, capacity)
    SELECT n, 1, date_trunc('hour', now()) + interval '30 days', 20, CASE WHEN n <= {HOT} THEN {CAPACITY} ELSE 1 END
    FROM generate_series(1, {HOT + LOOKS}) n"""  # noqa: S608 - numbers of ours
TWICE = "SELECT count(*) FROM (SELECT FROM appointments GROUP BY slot_id, patient_id HAVING count(*) > 1) twice"
COUNTED = f"SELECT count(*) FROM appointment_slots WHERE id <= {HOT} AND booked_count = {CAPACITY}"  # noqa: S608 - likewise
OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'health-services'"


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Verdict:
    """What was promised, and whether it was so."""

    def __init__(self) -> None:
        self.is_fine = True

    def __call__(self, promise: str, is_so: bool, found: object) -> None:
        """Print it."""
        self.is_fine &= is_so
        say(f"{'ok  ' if is_so else 'NOT '} {promise}: {found}")


@dataclass(frozen=True)
class Place:
    """Everything that runs."""

    primary: PostgreSQL
    replica: PostgreSQL
    servers: tuple[Server, Server]
    has_redis: bool


def environment(primary: PostgreSQL, replica: PostgreSQL, pooler_port: int, redis_port: int | None) -> dict[str, str]:
    """What an operator would set on each of the machines."""
    limits = f'{{"address": "1000000/minute", "register": "1000/hour", "login_address": "{FAILURES}/minute"}}'
    return {
        "DATABASE_URL": primary.url("health").replace(f":{primary.port}/", f":{pooler_port}/"),
        "HEALTH_DATABASE_POOLER": "true",
        "HEALTH_MIGRATION_DATABASE_URL": primary.url("health_owner"),
        "HEALTH_READ_DATABASE_URL": replica.url("health"),
        "HEALTH_SECRET_KEY": secrets.token_urlsafe(48),
        "HEALTH_ENCRYPTION_KEYS": f'{{"first": "{urlsafe_b64encode(os.urandom(32)).decode()}"}}',
        "HEALTH_PASSWORD_MEMORY_KIB": "19456",
        "HEALTH_PASSWORD_TIME_COST": "2",
        "HEALTH_LOG_LEVEL": "warning",
        "HEALTH_RATE_LIMITS": limits,
        **({"HEALTH_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0"} if redis_port else {}),
    }


def started(stack: ExitStack, program: Program, is_ready: Callable[[], bool]) -> None:
    """Start it for as long as the stack lasts, and wait for it."""
    stack.enter_context(program.running())
    eventually(is_ready, f"{program.command[0]} does not answer:\n{program.said()[-2000:]}")


@contextmanager
def machines(directory: Path) -> Iterator[Place]:
    """All of them, on an empty database that is filled a little."""
    with ExitStack() as stack:
        primary, replica = PostgreSQL(directory, "primary"), PostgreSQL(directory, "replica")
        primary.initialise()
        started(stack, primary.program, primary.is_ready)
        for statement in (ROLES, "CREATE DATABASE health OWNER health_owner"):
            primary.ask(statement, "postgres")
        replica.follow(primary)
        started(stack, replica.program, replica.is_ready)
        program, pooler_port = pooler(directory, primary, ["health"])
        started(stack, program, lambda: answers(pooler_port))
        counting = redis(directory)
        if counting:
            redis_port = counting[1]
            started(stack, counting[0], lambda: answers(redis_port))
        settings = environment(primary, replica, pooler_port, counting[1] if counting else None)
        first, second = (Server(directory, name, settings) for name in ("A", "B"))
        for server in (first, second):  # the first one migrates
            started(stack, server, server.is_ready)
        primary.ask(FILL)
        yield Place(primary, replica, (first, second), counting is not None)


class Patient:
    """Somebody with an account, whom both servers know."""

    def __init__(self, http: aiohttp.ClientSession, number: int) -> None:
        self._http = http
        self._account = {"name": f"Patient {number}", "email": f"p{number}@example.org", "password": "three teapots"}
        self.id = 0
        self.headers: dict[str, str] = {}

    async def register(self, server: Server) -> None:
        """Make the account through one of them."""
        async with self._http.post(f"{server.url}/api/v1/auth/register", json=self._account) as answer:
            if answer.status != 200:
                raise SystemExit(await answer.text())
            shown = await answer.json()
        self.id, self.headers = shown["user"]["patient_id"], {"Authorization": f"Bearer {shown['access_token']}"}

    async def book(self, server: Server, slot: int) -> int:
        """The status of the answer; whoever is sent away by a flood comes again when he is told to."""
        body = {"patient_id": self.id, "doctor_id": slot, "clinic_id": 1, "slot_id": slot}
        url = f"{server.url}/api/v1/appointments/book"
        while True:
            async with self._http.post(url, json=body, headers=self.headers) as answer:
                if answer.status != 503:
                    return answer.status
                await asyncio.sleep(int(answer.headers["Retry-After"]))


async def is_offered(http: aiohttp.ClientSession, server: Server, slot: int, headers: dict[str, str]) -> bool:
    """Whether the list shows that it can be booked."""
    async with http.get(f"{server.url}/api/v1/slots?doctor_id={slot}", headers=headers) as answer:
        if answer.status != 200:
            raise SystemExit(f"{answer.status} {await answer.text()}")
        return bool(await answer.json())


async def hot_slots(place: Place, patients: list[Patient], verdict: Verdict) -> None:
    """Everybody wants every hot slot through both servers, at once."""
    wishes = [(p, s, slot) for slot in range(1, HOT + 1) for p in patients for s in place.servers]
    statuses = Counter(await asyncio.gather(*(patient.book(server, slot) for patient, server, slot in wishes)))
    counted = place.primary.ask("SELECT count(*) FROM appointments")
    verdict("as many bookings as places", statuses[201] == HOT * CAPACITY == int(counted), f"{statuses} {counted}")
    verdict("all others were told why not", set(statuses) == {201, 409}, f"{len(wishes)} wishes")
    verdict("nobody twice on a slot", place.primary.ask(TWICE) == "0", place.primary.ask(TWICE))
    verdict("each slot counts its places", place.primary.ask(COUNTED) == str(HOT), place.primary.ask(COUNTED))


async def seen_elsewhere(place: Place, http: aiohttp.ClientSession, patient: Patient, verdict: Verdict) -> None:
    """What is booked through A is gone from the list of B."""
    first, second = place.servers
    lags, stale = [], 0
    for slot in range(HOT + 1, HOT + LOOKS + 1):
        if not await is_offered(http, second, slot, {}) or await patient.book(first, slot) != 201:
            raise SystemExit(f"slot {slot} cannot be booked")
        begun = time.monotonic()
        stale += await is_offered(http, second, slot, patient.headers)
        while await is_offered(http, second, slot, {}) and time.monotonic() - begun < 10:
            pass
        lags.append(time.monotonic() - begun)
    verdict("whoever booked sees it at once, elsewhere too", not stale, f"{stale} of {LOOKS} were stale")
    told = f"median {statistics.median(lags) * 1000:.0f} ms, longest {max(lags) * 1000:.0f} ms of {LOOKS}"
    verdict("everybody sees it elsewhere within a second", max(lags) < 1, told)


async def counted_together(place: Place, http: aiohttp.ClientSession, verdict: Verdict) -> None:
    """A limit is the same one on both machines."""
    if not place.has_redis:
        say("--   a limit counts for both: there is no redis-server here")
        return
    wrong = {"email": "nobody@example.org", "password": "three teapots"}
    statuses = []
    for number in range(FAILURES + 2):
        async with http.post(f"{place.servers[number % 2].url}/api/v1/auth/login", json=wrong) as answer:
            statuses.append(answer.status)
    verdict("a limit counts for both", statuses == [401] * FAILURES + [429] * 2, statuses)


async def read_on(place: Place, http: aiohttp.ClientSession, until: Callable[[], Awaitable[bool]]) -> list[float]:
    """Read through both until it is so; how long each answer took."""
    took, end = [], time.monotonic() + 60
    while not await until() and time.monotonic() < end:
        for server in place.servers:
            begun = time.monotonic()
            await is_offered(http, server, 1, {})
            took.append(time.monotonic() - begun)
            async with http.get(f"{server.url}/readyz") as answer:
                if answer.status != 200:
                    raise SystemExit(f"{server.name} is not ready: {await answer.text()}")
    return took


async def without_replica(place: Place, http: aiohttp.ClientSession, verdict: Verdict) -> None:
    """Kill it, and bring it back."""

    async def is_read() -> bool:
        return int(await asyncio.to_thread(place.replica.ask, OURS)) >= len(place.servers)

    await read_on(place, http, is_read)
    verdict("both read the replica", await is_read(), f"{place.replica.ask(OURS)} connections")
    place.replica.program.end(signal.SIGQUIT)
    stopped = time.monotonic()
    took = await read_on(place, http, lambda: asyncio.sleep(0, time.monotonic() - stopped > 8))
    verdict("without it, reading goes on", bool(took), f"{len(took)} answers, the longest after {max(took):.2f} s")
    told = [server.said().count("the replica does not answer") for server in place.servers]
    verdict("each server has said so once", told == [1, 1], told)
    place.replica.program.start()
    eventually(place.replica.is_ready, "the replica does not come back")
    begun = time.monotonic()
    took = await read_on(place, http, is_read)
    verdict("back again, it is read", await is_read(), f"after {time.monotonic() - begun:.1f} s, {len(took)} answers")


def messages_and_audit(place: Place, verdict: Verdict) -> None:
    """What the workers did meanwhile."""
    is_done = "SELECT NOT EXISTS (SELECT FROM notifications WHERE state = 'queued' AND due_at <= now())"
    eventually(lambda: place.primary.ask(is_done) == "t", "messages stay unsent")
    states = place.primary.ask("SELECT state, max(attempts), count(*) FROM notifications GROUP BY state ORDER BY state")
    mails = sum(1 for server in place.servers for _ in (server.log.parent / server.name / "mail").glob("*.eml"))
    sent = place.primary.ask("SELECT count(*) FROM notifications WHERE state = 'sent' AND channel = 'email'")
    verdict("each mail was sent once", str(mails) == sent, f"{mails} files; {' '.join(states.split())}")
    time.sleep(3)  # sealed is what is a second old
    verified = place.servers[0].command_of("audit", "verify")
    verdict("the audit is whole", verified.returncode == 0, verified.stderr.strip().splitlines()[-1:])


async def prove(place: Place) -> bool:
    """Whether everything is as it is said."""
    verdict = Verdict()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2)) as http:
        patients = [Patient(http, number) for number in range(PATIENTS)]
        await asyncio.gather(*(each.register(place.servers[n % 2]) for n, each in enumerate(patients)))
        await hot_slots(place, patients, verdict)
        await seen_elsewhere(place, http, patients[0], verdict)
        await counted_together(place, http, verdict)
        await without_replica(place, http, verdict)
    await asyncio.to_thread(messages_and_audit, place, verdict)
    return verdict.is_fine


def main() -> None:
    """Run it."""
    with tempfile.TemporaryDirectory(prefix="hs-machines-", dir="/tmp") as made:
        directory = Path(made)
        directory.chmod(0o755)
        with machines(directory) as place:
            is_fine = asyncio.run(prove(place))
    raise SystemExit(0 if is_fine else 1)


if __name__ == "__main__":
    main()
