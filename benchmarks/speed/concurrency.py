"""Latency against the number of clients at once: a warm list and bookings, one server process, with a plot.

Where more ask than are answered in two seconds, the service sends some away with 503 at once; a table shows how many.
"""

from functools import partial

from figures import Figure, Row, take_turns
from report import Report
from stand import Options, Stand

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ROUNDS = 2
# As many as may have to wait too long on a slow machine.
CROWD = 64


def measure(stand: Stand, options: Options, report: Report) -> None:
    """A row for each number, and `latency-by-clients.png`."""
    seconds = min(options.seconds, 2)
    with stand.serving() as served:
        lists = [Figure(f"list, {n} at once", served.same("/slots?doctor_id=7", n, seconds)) for n in CLIENTS]
        books = [Figure(f"book, {n} at once", partial(served.book, n, seconds), _expected(n)) for n in CLIENTS]
        rows = take_turns([*lists, *books], min(options.rounds, ROUNDS))
    report.add("Latency by clients at once, one server process", rows)
    title = f"Latency by clients at once (one server process, {stand.slots:,} slots)"
    curves = {"list 100 slots, warm": _curve(rows[: len(lists)]), "book distinct slots": _curve(rows[len(lists) :])}
    report.plot("latency-by-clients", title, "clients at once", curves)


def _expected(clients: int) -> tuple[str, ...]:
    return ("201",) if clients < CROWD else ("201", "503")


def _curve(rows: list[Row]) -> list[tuple[float, Row]]:
    return [(float(n), row) for n, row in zip(CLIENTS, rows, strict=True)]
