"""What becomes of latency while a region grows: the same questions to regions of several sizes, in turn, with a plot.

Each size has a server and a database of its own; only one of them is asked at a time.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from figures import Figure, Goal, Row, take_turns
from region import lists_of_doctors
from report import Report, say
from stand import API, Options, Served, Stand

MOST = 1.3
KINDS = ("list 100 slots, warm", "list 100 slots, cold", "book distinct slots")


def measure(directory: Path, options: Options, report: Report, *, sizes: Sequence[int]) -> None:
    """Tables of how quickly each was filled and how it answers, and `latency-by-size.png`."""
    with ExitStack() as stack:
        served = {size: _filled(stack, directory, size) for size in sizes}
        filled = [Row(f"slots filled, {size:,}", one.stand.filled_rate) for size, one in served.items()]
        report.add("Filling, indexes and checks included", filled)
        figures = [figure for kind in _kinds(served, options) for figure in kind]
        rows = take_turns(figures, options.rounds)
    report.add(f"Growth, one server process each, {options.clients} clients; ratios are of p50", rows)
    title = f"Latency by slots in the region (one server process, {options.clients} clients)"
    curves = {
        name: list(zip(map(float, sizes), rows[place * len(sizes) : (place + 1) * len(sizes)], strict=True))
        for place, name in enumerate(KINDS)
    }
    report.plot("latency-by-size", title, "slots in the region", curves)


def _filled(stack: ExitStack, directory: Path, size: int) -> Served:
    say(f"… filling {size:,} slots")
    return stack.enter_context(Stand(directory / f"slots-{size}", size).serving())


def _kinds(served: dict[int, Served], options: Options) -> list[list[Figure]]:
    """A figure for each kind and size, held against that of the first size."""
    clients, seconds = options.clients, options.seconds
    kinds: list[list[Figure]] = [[], [], []]
    for size, one in served.items():
        cold = lists_of_doctors(one.stand.region, f"{API}/slots")
        kinds[0].append(Figure(f"list warm, {size:,}", one.same("/slots?doctor_id=7", clients, seconds)))
        kinds[1].append(Figure(f"list cold, {size:,}", one.each(cold, clients, seconds)))
        kinds[2].append(Figure(f"book, {size:,}", partial(one.book, clients, seconds), ("201",)))
    for kind in kinds:
        for figure in kind[1:]:
            figure.by, figure.against, figure.goals = "p50", (kind[0].name,), (Goal(kind[0].name, most=MOST),)
    return kinds
