"""What the guards of a booking cost, and whether they hold under contention.

    python benchmarks/booking_guards/run.py [--seconds N] [--clients N] [--slots N] [--rounds N]

Starts a PostgreSQL of its own in a temporary directory (fsync on), migrates and fills it, gives each way to take a
place a copy of the data, and runs pgbench over all of them in turn, several rounds, each time on slots that are free.
A ratio is taken within its round, so that a machine that is slow for a while slows both sides of it; the table has the
medians. Then many clients meet on few places, each way in turn, and SQL tells whether the invariants still hold.
Needs some 2 GB of disk.
"""

import argparse
import asyncio
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import contention
import region
from variants import BASELINE, VARIANTS, Variant, change_schema

from health_services.database import embedded, migrations, roles
from health_services.database.connection import libpq_environment

# The n-th booking of a client is of the n-th slot of its share, the shares scattered over doctors and days.
SCATTER = 7919
SCRIPT = """\\set n :n + 1
\\set slot 1 + ((:first + :client_id * :share + :n) * {scatter}) % :slots
\\set doctor 1 + (:slot - 1) % {doctors}
\\set clinic 1 + (:doctor - 1) % {clinics}
\\set patient random(1, {patients})
"""


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    seconds: int
    clients: int
    slots: int
    rounds: int

    @property
    def share(self) -> int:
        """How many slots a client has to itself in one round."""
        return self.slots // (self.rounds * self.clients)


def say(line: str = "") -> None:
    """Print at once: a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, print, and fail where an invariant did not hold or two clients waited for each other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=4, help="of each run of pgbench (default 4)")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--slots", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=12)
    options = Options(**vars(parser.parse_args()))
    if options.slots % SCATTER == 0 or options.slots < 20_000:
        parser.error(f"--slots must be 20000 or more and no multiple of {SCATTER}")
    directory = Path(tempfile.mkdtemp(prefix="hs-guards-"))
    directory.chmod(0o755)  # the server's user must be able to pass
    try:
        with embedded.running(directory / "data", say=say) as cluster:
            faults = asyncio.run(_measure(cluster, options, directory))
    finally:
        shutil.rmtree(directory)
    for fault in faults:
        say(f"FAULT {fault}")
    sys.exit(bool(faults))


async def _measure(cluster: embedded.Cluster, options: Options, directory: Path) -> list[str]:
    await roles.prepare(cluster.owner_url, cluster.app_url)
    await migrations.migrate(cluster.owner_url)
    await region.fill(cluster.owner_url, options.slots)
    for variant in VARIANTS:
        await _copy(cluster, variant)
    faults = await _throughput(cluster, options, directory)
    for scenario in contention.scenarios(options.clients):
        faults += await _contend(cluster, scenario, options.clients)
    return faults


async def _copy(cluster: embedded.Cluster, variant: Variant) -> None:
    admin = await asyncpg.connect(cluster.admin_url)
    try:
        await admin.execute(f"CREATE DATABASE {variant.database} TEMPLATE health OWNER health_owner STRATEGY file_copy")
    finally:
        await admin.close()
    owner = await asyncpg.connect(region.at(cluster.owner_url, variant.database))
    try:
        await change_schema(owner, variant)
    finally:
        await owner.close()


async def _throughput(cluster: embedded.Cluster, options: Options, directory: Path) -> list[str]:
    rates: dict[str, list[float]] = {variant.key: [] for variant in VARIANTS}
    for number in range(options.rounds):
        turn = number % len(VARIANTS)
        for variant in VARIANTS[turn:] + VARIANTS[:turn]:
            await _checkpoint(cluster)
            rates[variant.key].append(_pgbench(cluster, variant, options, number, directory))
    say(f"| way | bookings/s (median of {options.rounds}) | ratio, median | ratio, least to most |")
    say("|---|---:|---:|---|")
    faults = []
    for variant in VARIANTS:
        own = rates[variant.key]
        ratios = [rate / base for rate, base in zip(own, rates[BASELINE], strict=True)]
        say(
            f"| {variant.key}: {variant.title} | {statistics.median(own):.0f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} – {max(ratios):.2f} |"
        )
        url = region.at(cluster.owner_url, variant.database)
        faults += [f"{variant.key}: {fault}" for fault in await region.broken(url, counts_days=variant.counts_days)]
    return faults


async def _checkpoint(cluster: embedded.Cluster) -> None:
    """None falls into a run because of the run before."""
    admin = await asyncpg.connect(cluster.admin_url)
    try:
        await admin.execute("CHECKPOINT")
    finally:
        await admin.close()


def _pgbench(cluster: embedded.Cluster, variant: Variant, options: Options, number: int, directory: Path) -> float:
    script = directory / f"{variant.key}.sql"
    statements = variant.booking if len(variant.booking) == 1 else ("BEGIN", *variant.booking, "COMMIT")
    numbers = {"doctors": region.DOCTORS, "clinics": region.CLINICS, "patients": region.PATIENTS}
    lines = SCRIPT.format(scatter=SCATTER, **numbers) + "".join(f"{statement};\n" for statement in statements)
    script.write_text(lines, encoding="utf-8")
    values = {"n": -1, "first": number * options.clients * options.share, "share": options.share}
    values["slots"] = options.slots
    defines = [part for name, value in values.items() for part in ("-D", f"{name}={value}")]
    done = subprocess.run(  # noqa: S603 - a list of arguments that we made
        [str(cluster.bin_dir / "pgbench"), "-n", "-M", "prepared", "-c", str(options.clients), "-j", "2",
         "-T", str(options.seconds), *defines, "-f", str(script)],
        env=libpq_environment(region.at(cluster.app_url, variant.database)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode != 0 or found is None:
        raise SystemExit(f"pgbench failed, perhaps for lack of free slots (--slots): {done.stderr[-2000:]}")
    return float(found[1])


async def _contend(cluster: embedded.Cluster, scenario: contention.Scenario, clients: int) -> list[str]:
    say(f"\n{clients} clients, {scenario.title}:")
    faults = []
    for variant in VARIANTS:
        owner_url = region.at(cluster.owner_url, variant.database)
        app_url = region.at(cluster.app_url, variant.database)
        if scenario.cancels and variant.trigger == "none":
            continue  # cancelling is a trigger's work here
        outcome = await contention.run(app_url, owner_url, variant, scenario, clients)
        answers = ", ".join(f"{answer} {count}" for answer, count in outcome.answers.most_common())
        say(f"  {variant.key:8}{outcome.rate:7.0f} attempts/s; {answers}")
        broken = await region.broken(owner_url, counts_days=variant.counts_days)
        held = await contention.taken(owner_url, scenario)
        if variant.counts_days and scenario.expected not in (None, held):
            broken.append(f"{held} places are held, not {scenario.expected}")
        broken += outcome.faults
        faults += [f"{variant.key}, {scenario.title}: {fault}" for fault in broken]
    return faults


if __name__ == "__main__":
    main()
