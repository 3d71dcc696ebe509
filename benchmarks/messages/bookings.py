"""What the messages cost one booking: the service's `book` of an earlier version against this one.

    git worktree add /tmp/before 4ca57b3
    python benchmarks/messages/bookings.py --before /tmp/before [--rounds N] [--seconds N] [--clients N]

Starts a PostgreSQL of its own in a temporary directory (fsync on) with a database for each version. One process books
over a pool of 16 connections, in the same way as a request does; each booking tells a patient with an address and the
usual wishes: a message at once, and two reminders. The versions take turns; ratios are taken within their round.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from machine import Machine

from health_services.database import embedded, roles
from health_services.database.embedded import Cluster

HERE = Path(__file__).parent
# Slot n is of doctor n and booked by patient n, who is user n.
FILL = """
    INSERT INTO clinics (name, time_zone) VALUES ('Clinic', 'Europe/Berlin');
    INSERT INTO users (name, email) SELECT 'Person ' || n, 'person' || n || '@example.org'
    FROM generate_series(1, {slots}) n;
    INSERT INTO users (name, role) SELECT 'Doctor ' || n, 'doctor' FROM generate_series(1, {slots}) n;
    INSERT INTO patients (user_id) SELECT generate_series(1, {slots});
    INSERT INTO doctors (user_id, clinic_id, specialty, license_number)
    SELECT {slots} + n, 1, 'Dermatology', 'L' || n FROM generate_series(1, {slots}) n;
    INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, duration_minutes)
    SELECT n, 1, date_trunc('hour', now()) + interval '30 days', 20 FROM generate_series(1, {slots}) n"""
WEBHOOK = """INSERT INTO webhooks (url, events, secret) VALUES ('https://example.org', '{appointment.booked}', '')"""


@dataclass(frozen=True)
class Version:
    """One version on a database of its own."""

    name: str
    source: Path
    database: str
    has_webhook: bool = False

    def run(self, *arguments: str) -> Any:
        """What `booker.py` prints on this version."""
        done = subprocess.run(  # noqa: S603 - a list of arguments that we made
            [sys.executable, str(HERE / "booker.py"), *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self.source / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{self.name}: {done.stderr[-2000:]}")
        return json.loads(done.stdout or "null")


def say(line: str = "") -> None:
    """Print at once: a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the earlier version")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4, help="of each run (default 4)")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--slots", type=int, default=40_000, help="for all rounds of one version")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hs-bookings-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the server's user must be able to pass
        with embedded.running(directory / "data", say=say) as cluster:
            asyncio.run(_measure(cluster, options))


async def _measure(cluster: Cluster, options: argparse.Namespace) -> None:
    here = HERE.parents[1]
    versions = [
        Version("before", options.before, "before"),
        Version("with the ledger", here, "after"),
        Version("with the ledger and one webhook", here, "hooked", has_webhook=True),
    ]
    await roles.prepare(cluster.owner_url, cluster.app_url)
    for version in versions:
        await _make(cluster, version, options.slots)
    for clients in (1, options.clients):
        machine = Machine.now()
        first = 1 if clients == 1 else options.slots // 2
        runs = await _rounds(cluster, versions, options, clients, first)
        say(f"\n{clients} at a time, {options.rounds} rounds of {options.seconds} s; {machine.since()}")
        _print(versions, runs)


async def _make(cluster: Cluster, version: Version, slots: int) -> None:
    admin = await asyncpg.connect(cluster.admin_url)
    await admin.execute(f"CREATE DATABASE {version.database} OWNER health_owner")
    await admin.close()
    version.run("migrate", _at(cluster.owner_url, version.database), _at(cluster.app_url, version.database))
    owner = await asyncpg.connect(_at(cluster.owner_url, version.database))
    await owner.execute(FILL.format(slots=slots))
    if version.has_webhook:
        await owner.execute(WEBHOOK)
    await owner.execute("VACUUM ANALYZE")
    await owner.close()


async def _rounds(
    cluster: Cluster, versions: list[Version], options: argparse.Namespace, clients: int, first: int
) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {version.name: [] for version in versions}
    booked = dict.fromkeys(runs, first)
    for number in range(options.rounds):
        turn = number % len(versions)
        for version in versions[turn:] + versions[:turn]:
            admin = await asyncpg.connect(cluster.admin_url)
            await admin.execute("CHECKPOINT")  # none falls into a run because of the run before
            await admin.close()
            url = _at(cluster.app_url, version.database)
            run = version.run("book", url, str(clients), str(options.seconds), str(booked[version.name]))
            booked[version.name] += len(run["took"]) + 20 * clients
            runs[version.name].append(run)
    return runs


def _print(versions: list[Version], runs: dict[str, list[dict[str, Any]]]) -> None:
    say("| version | bookings/s, median | ratio, median | least to most | p50 ms | p99 ms | processor ms |")
    say("|---|---:|---:|---|---:|---:|---:|")
    base = [_rate(run) for run in runs[versions[0].name]]
    for version in versions:
        own = runs[version.name]
        ratios = [_rate(run) / rate for run, rate in zip(own, base, strict=True)]
        cuts = [statistics.quantiles(run["took"], n=100) for run in own]
        p50, p99 = (statistics.median(cut[place] for cut in cuts) * 1000 for place in (49, 98))
        used = statistics.median(run["processor"] / len(run["took"]) for run in own) * 1000
        say(
            f"| {version.name} | {statistics.median(map(_rate, own)):.0f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} – {max(ratios):.2f} | {p50:.1f} | {p99:.1f} | {used:.2f} |"
        )


def _rate(run: dict[str, Any]) -> float:
    return float(len(run["took"]) / run["seconds"])


def _at(url: str, database: str) -> str:
    """The same login to another database of the server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


if __name__ == "__main__":
    main()
