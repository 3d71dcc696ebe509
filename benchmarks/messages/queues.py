"""The ledger as its own queue against PgQueuer: what a job costs, and what a booking pays for it.

    python benchmarks/messages/queues.py --pgqueuer PYTHON [--jobs N] [--rounds N] [--seconds N] [--clients N]

PYTHON is one that has PgQueuer 1.6 (python -m venv /tmp/pgq; /tmp/pgq/bin/pip install pgqueuer==1.6.0 asyncpg).
Starts a PostgreSQL of its own in a temporary directory (fsync on) for both.

1. Jobs that do nothing, claimed and completed by one worker process and by four.
2. pgbench: a transaction that writes what a booking writes, three messages, into the ledger, into the queue, into both,
   and into both with the queue's trigger off. What the commits wait for is asked of the database meanwhile.

All ways in turn in each round; ratios are taken within their round, and the medians are printed.
"""

import argparse
import asyncio
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import region
from machine import Machine

from health_services.database import embedded, migrations, roles
from health_services.database.connection import libpq_environment
from health_services.database.embedded import Cluster

HERE = Path(__file__).parent
BATCHES = (10, 100)
QUEUE = "INSERT INTO pgqueuer (priority, status, entrypoint, dedupe_key, execute_after) {}"
# What one booking tells: the message at once, and two reminders.
LEDGER_ROWS = """INSERT INTO notifications (dedupe_key, kind, channel, user_id, subject, due_at, next_attempt_at)
    SELECT gen_random_uuid(), 'security_notice', 'email', 1, 'benchmark', at, at
    FROM unnest(ARRAY[now() + '1 day', now() + '2 days', now() + '3 days']) AS at;"""
QUEUE_ROWS = (
    QUEUE.format(
        "SELECT 0, 'queued', 'send', gen_random_uuid(), at "
        "FROM unnest(ARRAY[now() + '1 day', now() + '2 days', now() + '3 days']) AS at"
    )
    + ";"
)
TRIGGER = "ALTER TABLE pgqueuer {} TRIGGER tg_pgqueuer_changed"
# Name, statements, and whether PgQueuer's trigger is on.
WAYS = (
    ("the ledger", LEDGER_ROWS, True),
    ("ledger and queue, without its trigger", LEDGER_ROWS + QUEUE_ROWS, False),
    ("ledger and queue", LEDGER_ROWS + QUEUE_ROWS, True),
    ("the queue instead, without its trigger", QUEUE_ROWS, False),
    ("the queue instead", QUEUE_ROWS, True),
)


@dataclass(frozen=True)
class Bench:
    """What both parts use."""

    cluster: Cluster
    owner: asyncpg.Connection
    options: argparse.Namespace
    directory: Path


def say(line: str = "") -> None:
    """Print at once: a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pgqueuer", required=True, help="a Python that has PgQueuer")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3, help="of the jobs; pgbench runs twice as many (default 3)")
    parser.add_argument("--seconds", type=int, default=4, help="of each run of pgbench (default 4)")
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hs-queues-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the server's user must be able to pass
        with embedded.running(directory / "data", say=say) as cluster:
            asyncio.run(_measure(cluster, options, directory))


async def _measure(cluster: Cluster, options: argparse.Namespace, directory: Path) -> None:
    await roles.prepare(cluster.owner_url, cluster.app_url)
    await migrations.migrate(cluster.owner_url)
    owner = await asyncpg.connect(cluster.owner_url)
    schema = subprocess.run(  # noqa: ASYNC221, S603 - nothing else runs
        [options.pgqueuer, "-m", "pgqueuer", "sql", "install"], capture_output=True, text=True, check=True
    ).stdout
    await owner.execute(schema)
    bench = Bench(cluster, owner, options, directory)
    try:
        await _jobs(bench)
        await _bookings(bench)
    finally:
        await owner.close()


async def _jobs(bench: Bench) -> None:
    options, machine = bench.options, Machine.now()
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(options.rounds):
        for workers in (1, 4):
            rates.setdefault(("ledger", workers), []).append(await _ledger(bench, workers))
            for batch in BATCHES:
                way = f"PgQueuer, batches of {batch}"
                rates.setdefault((way, workers), []).append(await _pgqueuer(bench, workers, batch))
    say(f"{options.jobs} jobs that do nothing, claimed and completed, {options.rounds} rounds; {machine.since()}")
    say("| way | workers | jobs/s, median | least to most |\n|---|---:|---:|---|")
    for (way, workers), own in sorted(rates.items()):
        say(f"| {way} | {workers} | {statistics.median(own):.0f} | {min(own):.0f} – {max(own):.0f} |")


async def _ledger(bench: Bench, workers: int) -> float:
    await region.fill(bench.owner, bench.options.jobs)
    await region.remind(bench.owner, 0, held=True)
    with _processes([sys.executable, str(HERE / "ledger_worker.py"), bench.cluster.app_url], workers):
        began = time.monotonic()
        await region.release(bench.owner)
        await _none_left(bench, "notifications WHERE state = 'queued'")
        seconds = time.monotonic() - began
    done = await bench.owner.fetchrow("SELECT count(*), max(attempts) FROM notifications WHERE state = 'sent'")
    if tuple(done) != (bench.options.jobs, 1):
        raise SystemExit(f"FAULT the ledger was not sent exactly once: {tuple(done)}")
    return float(bench.options.jobs / seconds)


async def _pgqueuer(bench: Bench, workers: int, batch: int) -> float:
    await bench.owner.execute("TRUNCATE pgqueuer, pgqueuer_log")
    await bench.owner.execute("VACUUM ANALYZE pgqueuer, pgqueuer_log")
    fill = QUEUE.format("SELECT 0, 'queued', 'send', n::text, now() FROM generate_series(1, $1::int) n")
    command = [bench.options.pgqueuer, str(HERE / "pgqueuer_worker.py"), bench.cluster.owner_url, str(batch)]
    with _processes(command, workers):
        began = time.monotonic()
        await bench.owner.execute(fill, bench.options.jobs)
        await _none_left(bench, "pgqueuer")
        seconds = time.monotonic() - began
    done = await bench.owner.fetchval("SELECT count(*) FROM pgqueuer_log WHERE status = 'successful'")
    if done != bench.options.jobs:
        raise SystemExit(f"FAULT PgQueuer did {done} jobs")
    return float(bench.options.jobs / seconds)


@contextmanager
def _processes(command: list[str], count: int) -> Iterator[None]:
    """So many workers that are ready; told to end at the end."""
    with ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))  # noqa: S603
            for _ in range(count)
        ]
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit("a worker ended")
        time.sleep(2)  # they look for work, and what they do only once is done
        yield
        for process in started:
            process.send_signal(signal.SIGTERM)


async def _none_left(bench: Bench, rows: str) -> None:
    while await bench.owner.fetchval(f"SELECT EXISTS (SELECT FROM {rows})"):  # noqa: S608
        await asyncio.sleep(0.02)


async def _bookings(bench: Bench) -> None:
    options, machine = bench.options, Machine.now()
    await region.fill(bench.owner, 1)
    await bench.owner.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO health_app")
    await bench.owner.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO health_app")
    listener = await asyncpg.connect(bench.cluster.owner_url)
    await listener.add_listener("ch_pgqueuer", lambda *_: None)
    rates: dict[str, list[float]] = {name: [] for name, *_ in WAYS}
    waits: dict[str, Counter[str]] = {name: Counter() for name, *_ in WAYS}
    for number in range(2 * options.rounds):
        for name, statements, has_trigger in WAYS[number % len(WAYS) :] + WAYS[: number % len(WAYS)]:
            await bench.owner.execute("TRUNCATE notifications, pgqueuer")
            await bench.owner.execute(TRIGGER.format("ENABLE" if has_trigger else "DISABLE"))
            await _checkpoint(bench)
            rates[name].append(await _pgbench(bench, statements, waits[name]))
    await listener.close()
    say(
        f"\n{options.clients} connections, transactions that write three messages, {2 * options.rounds} rounds of "
        f"{options.seconds} s; {machine.since()}"
    )
    say("| what is written | transactions/s, median | ratio, median | least to most | waiting for |")
    say("|---|---:|---:|---|---|")
    for name, *_ in WAYS:
        ratios = [own / base for own, base in zip(rates[name], rates[WAYS[0][0]], strict=True)]
        most = ", ".join(f"{event} {n / waits[name].total():.0%}" for event, n in waits[name].most_common(3))
        say(
            f"| {name} | {statistics.median(rates[name]):.0f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} – {max(ratios):.2f} | {most} |"
        )


async def _checkpoint(bench: Bench) -> None:
    """None falls into a run because of the run before."""
    admin = await asyncpg.connect(bench.cluster.admin_url)
    await admin.execute("CHECKPOINT")
    await admin.close()


async def _pgbench(bench: Bench, statements: str, waits: Counter[str]) -> float:
    """Transactions per second; what its connections wait for is counted."""
    script = bench.directory / "booking.sql"
    script.write_text(f"BEGIN;\n{statements}\nCOMMIT;\n".replace(";INSERT", ";\nINSERT"), encoding="utf-8")
    options = bench.options
    running = await asyncio.create_subprocess_exec(
        *(str(bench.cluster.bin_dir / "pgbench"), "-n", "-M", "prepared", "-c", str(options.clients), "-j", "2"),
        *("-T", str(options.seconds), "-f", str(script)),
        env=libpq_environment(bench.cluster.app_url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    answer = asyncio.create_task(running.communicate())
    admin = await asyncpg.connect(bench.cluster.admin_url)
    while not answer.done():
        await asyncio.sleep(0.05)
        for (event,) in await admin.fetch(
            """SELECT COALESCE(wait_event_type || '/' || wait_event, 'nothing') FROM pg_stat_activity
               WHERE application_name = 'pgbench' AND state = 'active'"""
        ):
            waits[event] += 1
    await admin.close()
    output, errors = await answer
    found = re.search(r"tps = ([\d.]+)", output.decode())
    if running.returncode != 0 or found is None:
        raise SystemExit(f"pgbench failed: {errors.decode()[-2000:]}")
    return float(found[1])


if __name__ == "__main__":
    main()
