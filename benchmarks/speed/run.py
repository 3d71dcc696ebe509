"""How fast the service is, beside what the framework and PostgreSQL can do at all, in the same minutes.

    python benchmarks/speed/run.py [PART] [--slots N] [--rounds N] [--seconds N] [--clients N] [--save DIR]

Without a part, all of these in turn, twelve minutes together:

- `standard`: a table of one server process beside yardsticks (standard.py);
- `clients`: latency of a list and of bookings with 1 to 256 clients at once, with a plot;
- `flood`: bookings alone, and beside as many logins as come;
- `start`: how soon a server on an existing database answers, and its memory, idle and under load;
- `one-slot`: 500 people at once for one place, four server processes.

These take longer, and run alone:

- `sustained [--minutes 10] [--workers N]`: bookings without a pause by all processes of the machine; nothing is lost;
- `growth [SIZE ...]`: the same lists and bookings on regions of 300,000, a million and 20 million slots, with a plot.
  The last one takes 12 GB of disk.

Each starts its own servers with an embedded PostgreSQL (fsync on, every feature on, limits out of reach) in a temporary
directory, and fills it with 300,000 slots (`--slots`, also `--scale`, up to 20 million; with fewer, most doctors have
none, and lists that are not kept find little). A figure is the median of its
rounds, a ratio the median of the rounds' ratios. Tables and plots go to `--save`. It ends with an error where a status
is not the one that is expected, or the database does not hold what was answered; a goal that is missed is only marked.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import concurrency
import growth
import sustained
from flood import flood
from load import require_wrk
from one_slot import one_slot
from report import Report, say
from stand import Options, Stand
from standard import standard
from start import start_and_memory

HERE = Path(__file__).parent
SIZES = (300_000, 1_000_000, 20_000_000)


def _standard(stand: Stand, options: Options, report: Report) -> None:
    with stand.serving() as served:
        report.add(f"One server process, {stand.slots} slots, {options.clients} clients", standard(served, options))


def _flood(stand: Stand, options: Options, report: Report) -> None:
    with stand.serving() as served:
        report.add("Bookings beside a flood of logins, one server process", flood(served, options))


def _start(stand: Stand, options: Options, report: Report) -> None:
    report.add("Start and memory, one server process", start_and_memory(stand, options))


def _one_slot(stand: Stand, options: Options, report: Report) -> None:
    report.add("500 people at once for one place, four server processes", one_slot(stand, options))


PARTS: dict[str, Callable[[Stand, Options, Report], None]] = {
    "standard": _standard,
    "clients": concurrency.measure,
    "flood": _flood,
    "start": _start,
    "one-slot": _one_slot,
}


def main() -> None:
    """Measure, print, save; exit code 1 where something was not as it has to be."""
    arguments = _arguments()
    options = Options(
        arguments.slots,
        arguments.rounds,
        arguments.seconds,
        arguments.clients,
        arguments.workers or os.cpu_count() or 1,
    )
    require_wrk()
    report = Report(arguments.part, arguments.save)
    say("\n".join(f"{name}: {what}" for name, what in report.machine.items()))
    with tempfile.TemporaryDirectory(prefix="hs-speed-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the database's user must be able to pass
        for part in _parts(arguments):
            part(directory, options, report)
    missed, faults = report.missed(), report.faults()
    say("\n".join(["", *(f"Missed: {goal}" for goal in missed), *(f"FAULT {fault}" for fault in faults)]))
    say(f"Saved in {arguments.save}.")
    raise SystemExit(1 if faults else 0)


def _parts(arguments: argparse.Namespace) -> list[Callable[[Path, Options, Report], None]]:
    """What is asked for, one after the other."""
    if arguments.part == "sustained":
        return [partial(sustained.measure, minutes=arguments.minutes)]
    if arguments.part == "growth":
        return [partial(growth.measure, sizes=arguments.sizes or SIZES)]
    chosen = PARTS if arguments.part == "all" else {arguments.part: PARTS[arguments.part]}

    def on_one_stand(directory: Path, options: Options, report: Report) -> None:
        stand = Stand(directory / "stand", options.slots)
        for name, part in chosen.items():
            say(f"\n… {name}")
            part(stand, options, report)

    return [on_one_stand]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="%(prog)s [PART] [options]"
    )
    parts = ("all", *PARTS, "sustained", "growth")
    parser.add_argument("part", nargs="?", default="all", choices=parts, metavar="PART")
    parser.add_argument("sizes", nargs="*", type=int, metavar="SIZE", help="numbers of slots, for growth")
    parser.add_argument("--slots", "--scale", type=int, default=300_000, help="in the region (default 300000)")
    parser.add_argument("--rounds", type=int, default=5, help="after one that warms up (default 5)")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement (default 3)")
    parser.add_argument("--clients", type=int, default=16, help="at once (default 16)")
    parser.add_argument("--workers", type=int, help="server processes, for sustained (default: as many as cores)")
    parser.add_argument("--minutes", type=float, default=10, help="for sustained (default 10)")
    parser.add_argument("--save", type=Path, default=HERE / "results", help="a directory (default: results here)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
