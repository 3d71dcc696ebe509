"""How fast one worker sends reminders by mail, how late they are, and where its time goes.

    python benchmarks/messages/run.py [--messages N] [--scheduled N] [--minutes N] [--concurrency N]

Starts a PostgreSQL of its own in a temporary directory (fsync on), a real SMTP server on loopback, and
`health-services worker`, each a process of its own.

1. All messages are due at once, and the mail server refuses one recipient of a hundred (550): messages per second, and
   the processor time of each process for one message, which the machine's other work changes least.
2. Messages due at random instants: how much later than `due_at` the server has each.
3. As the first, under a profiler, with fewer messages: the share of each step in the worker's own time.

Fails where a message was lost or sent twice.
"""

import argparse
import asyncio
import os
import pstats
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import mail_server
import psutil
import region
from machine import Machine
from mail_server import MailServer

from health_services.database import embedded, migrations, roles
from health_services.database.embedded import Cluster

WORK = """
import cProfile, sys
from health_services.cli import main
kept, sys.argv = sys.argv[1:], ["health-services", "worker"]
profile = cProfile.Profile()
try:
    profile.runcall(main) if kept else main()
finally:
    if kept:
        profile.dump_stats(kept[0])
"""
PROFILED = 2000
# Whose code takes the time: the first whose mark is in a file's path. What is built in counts for its caller.
OWNERS = (
    ("building the mail (email)", ("/email/", "quopri", "base64", "outgoing/mail.py")),
    ("speaking SMTP (aiosmtplib)", ("aiosmtplib", "outgoing/smtp.py")),
    ("claiming and marking (SQLAlchemy, asyncpg)", ("sqlalchemy", "asyncpg", "notifications/repository.py")),
    ("wording and rendering", ("jinja2", "<template>", "babel", "gettext", "notifications/", "calendars/")),
    ("the event loop", ("asyncio/", "selectors.py", "worker.py", "socket.py")),
)


@dataclass(frozen=True)
class Bench:
    """What all parts use."""

    cluster: Cluster
    owner: asyncpg.Connection
    mail: MailServer
    directory: Path
    concurrency: int

    @contextmanager
    def worker(self, profile: Path | None = None) -> Iterator[psutil.Process]:
        """A worker, told to finish at the end; on request it leaves a profile."""
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.cluster.app_url,
            "HEALTH_MIGRATION_DATABASE_URL": self.cluster.owner_url,
            "HEALTH_SECRET_KEY": "a secret of benchmarks, and long enough",
            "HEALTH_ENCRYPTION_KEYS": '{"benchmarks": "YmVuY2htYXJrcywgbm90aGluZyBidXQgYmVuY2htYXI"}',
            "HEALTH_DATA_DIR": str(self.directory),
            "HEALTH_SMTP_URL": f"smtp://127.0.0.1:{self.mail.port}",
            "HEALTH_WORKER_CONCURRENCY": str(self.concurrency),
            "HEALTH_LOG_LEVEL": "error",
        }
        (self.directory / "work.py").write_text(WORK, encoding="utf-8")
        command = [sys.executable, str(self.directory / "work.py"), *([str(profile)] if profile else [])]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
            assert process.stderr is not None
            while "Sending messages" not in process.stderr.readline():
                if process.poll() is not None:
                    raise SystemExit("the worker ended")
            yield psutil.Process(process.pid)
            process.send_signal(signal.SIGTERM)

    def database_seconds(self) -> float:
        """Processor time of every process of the database that lives."""
        postmaster = int((self.cluster.pgdata / "postmaster.pid").read_text().splitlines()[0])
        return sum(_cpu(process) for process in psutil.Process(postmaster).children())


def say(line: str = "") -> None:
    """Print at once: a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--scheduled", type=int, default=1200, help="messages due at random instants (default 1200)")
    parser.add_argument("--minutes", type=float, default=1, help="over which they are spread (default 1)")
    parser.add_argument("--concurrency", type=int, default=8, help="HEALTH_WORKER_CONCURRENCY (default 8)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hs-messages-") as name, mail_server.running() as mail:
        directory = Path(name)
        directory.chmod(0o755)  # the server's user must be able to pass
        with embedded.running(directory / "data", say=say) as cluster:
            asyncio.run(_measure(cluster, mail, directory, options))


async def _measure(cluster: Cluster, mail: MailServer, directory: Path, options: argparse.Namespace) -> None:
    await roles.prepare(cluster.owner_url, cluster.app_url)
    await migrations.migrate(cluster.owner_url)
    owner = await asyncpg.connect(cluster.owner_url)
    bench = Bench(cluster, owner, mail, directory, options.concurrency)
    try:
        await _throughput(bench, options.messages)
        await _lateness(bench, options.scheduled, options.minutes * 60)
        await _profile(bench, PROFILED)
    finally:
        await owner.close()


async def _throughput(bench: Bench, messages: int) -> None:
    await region.fill(bench.owner, messages)
    with bench.worker() as worker:
        await region.remind(bench.owner, 0, held=True)
        before = [_cpu(worker), bench.mail.cpu_seconds(), bench.database_seconds()]
        machine, began = Machine.now(), time.monotonic()
        await region.release(bench.owner)
        await _settled(bench)
        seconds = time.monotonic() - began
        others = machine.since()
        after = [_cpu(worker), bench.mail.cpu_seconds(), bench.database_seconds()]
    await _account(bench, messages)
    say(f"{messages} messages due at once, {bench.concurrency} under way at a time; {others}")
    say(f"  {messages / seconds:.0f} messages/s")
    for name, used in zip(("worker", "mail server", "database"), map(float.__sub__, after, before), strict=True):
        say(f"  {name}: {used / messages * 1000:.2f} ms of processor time for each, {used / seconds:.0%} of a core")


async def _lateness(bench: Bench, messages: int, seconds: float) -> None:
    await region.fill(bench.owner, messages)
    with bench.worker():
        await region.remind(bench.owner, seconds)
        await asyncio.sleep(seconds)
        await _settled(bench)
    due = {
        row["email"]: row["due_at"].timestamp()
        for row in await bench.owner.fetch("SELECT email, due_at FROM notifications n JOIN users u ON u.id = n.user_id")
    }
    late = sorted(at - due[address] for address, at in await _account(bench, messages))
    if late[0] < 0:
        raise SystemExit(f"FAULT a message came {-late[0]} s too early")
    cuts = statistics.quantiles(late, n=100)
    say(f"{messages} messages due at random instants within {seconds:.0f} s")
    say(f"  late by {cuts[49] * 1000:.0f} ms (p50), {cuts[98] * 1000:.0f} ms (p99), {late[-1] * 1000:.0f} ms (most)")


async def _profile(bench: Bench, messages: int) -> None:
    await region.fill(bench.owner, messages)
    kept = bench.directory / "worker.prof"
    with bench.worker(kept):
        await region.remind(bench.owner, 0)
        await _settled(bench)
    await _account(bench, messages)
    shares = _shares(kept)
    say(f"where the worker's processor time goes, under a profiler ({messages} messages)")
    for title, share in sorted(shares.items(), key=lambda item: -item[1]):
        say(f"  {share:4.0%}  {title}")


def _shares(profile: Path) -> dict[str, float]:
    """The share of each owner of code in the time that was not spent waiting."""
    taken: Counter[str] = Counter()
    for (path, _, name), (_, _, own, _, callers) in pstats.Stats(str(profile)).stats.items():  # type: ignore[attr-defined]
        if "poll" in name and "select" in name:
            continue
        if path != "~":
            taken[_owner(path)] += own
            continue
        for (caller, _, _), (_, _, part, _) in callers.items():
            taken[_owner(caller)] += part
    whole = taken.total()
    return {title: seconds / whole for title, seconds in taken.items()}


def _owner(path: str) -> str:
    return next((title for title, marks in OWNERS if any(mark in path for mark in marks)), "all else")


async def _settled(bench: Bench) -> None:
    """Return when nothing waits."""
    while await bench.owner.fetchval("SELECT EXISTS (SELECT FROM notifications WHERE state = 'queued')"):  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def _account(bench: Bench, messages: int) -> list[tuple[str, float]]:
    """The arrivals; fails unless everybody who is not refused was sent one, and every other message has failed."""
    arrivals = bench.mail.arrivals()
    refused = messages // 100
    states = dict(await bench.owner.fetch("SELECT state, count(*) FROM notifications GROUP BY 1"))
    expected = {"sent": messages - refused} | ({"failed": refused} if refused else {})
    people = Counter(address for address, _ in arrivals)
    if len(people) != messages - refused or set(people.values()) != {1} or states != expected:
        raise SystemExit(f"FAULT {people.total()} mails to {len(people)} people; the ledger says {states}")
    return arrivals


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
