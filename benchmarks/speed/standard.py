"""The standard table: what one server process answers in a second, beside yardsticks that take turns with it.

- H: a bare FastAPI application with one route;
- PB: pgbench, one conditional UPDATE and INSERT in a prepared statement, 16 clients, tables without triggers;
- ORM: the same endpoints written the ordinary way (reference.py).
"""

import asyncio
from contextlib import ExitStack

from figures import Figure, Goal, Row, take_turns
from filling import fill_yardstick
from load import Measured, get, pgbench
from region import cancellations, line, lists_of_clinics, lists_of_doctors, single_slots
from stand import API, Options, Served, reference

# A few are answered in a second, so they are counted for longer.
LOGIN_SECONDS = 5


def standard(served: Served, options: Options) -> list[Row]:
    """All figures, in the order in which they take turns."""
    asyncio.run(fill_yardstick(served.service.owner_url))
    with ExitStack() as stack:
        bare = stack.enter_context(reference("bare"))
        ordinary = stack.enter_context(reference("ordinary", served.service.owner_url))
        yardsticks = _Yardsticks(served, options, bare, ordinary)
        figures = [
            *yardsticks.reading(),
            *_directory(served, options),
            *yardsticks.booking(),
            *_people(served, options),
        ]
        return take_turns(figures, options.rounds)


class _Yardsticks:
    """What is compared, and what it is compared with."""

    def __init__(self, served: Served, options: Options, bare: str, ordinary: str) -> None:
        self._served = served
        self._options = options
        self._bare = bare
        self._ordinary = ordinary

    def _get(self, url: str) -> Measured:
        return get(url, clients=self._options.clients, seconds=self._options.seconds)

    def reading(self) -> list[Figure]:
        """H, and the lists that have goals."""
        served, clients, seconds = self._served, self._options.clients, self._options.seconds
        cold = lists_of_doctors(served.stand.region, f"{API}/slots")
        return [
            Figure("H", lambda: self._get(self._bare)),
            Figure(
                "list 100 slots, warm",
                served.same("/slots?doctor_id=7", clients, seconds),
                against=("H", "ORM list"),
                goals=(Goal("H", least=0.70), Goal("ORM list", least=15)),
            ),
            Figure("ORM list", lambda: self._get(f"{self._ordinary}/slots?doctor_id=7"), against=("H",)),
            Figure(
                "list 100 slots, cold",
                served.each(cold, clients, seconds),
                against=("H",),
                goals=(Goal("H", least=0.20),),
            ),
        ]

    def booking(self) -> list[Figure]:
        """PB, and bookings of distinct slots."""
        served, options = self._served, self._options
        slots, owner_url = served.stand.region.slots, served.service.owner_url
        return [
            Figure("PB", lambda: pgbench(owner_url, "book.sql", slots, options.seconds)),
            Figure(
                "book distinct slots",
                lambda: served.book(options.clients, options.seconds),
                ("201",),
                ("PB", "ORM book"),
                (Goal("PB", least=0.25), Goal("ORM book", least=4)),
            ),
            Figure(
                "ORM book",
                lambda: served.stand.book(self._ordinary, "", options.clients, options.seconds),
                ("201",),
                ("PB",),
            ),
        ]


def _directory(served: Served, options: Options) -> list[Figure]:
    """Whom and where there is."""
    region, clients, seconds = served.stand.region, options.clients, options.seconds
    one = single_slots(region, f"{API}/slots")
    clinics = lists_of_clinics(region, f"{API}/slots")
    return [
        Figure("one slot, each another", served.each(one, clients, seconds), against=("H",)),
        Figure("search slots of a clinic from an instant on", served.each(clinics, clients, seconds), against=("H",)),
        Figure(
            "doctors of a specialty", served.same("/doctors?specialty=cardiology", clients, seconds), against=("H",)
        ),
        Figure("clinics", served.same("/clinics", clients, seconds), against=("H",)),
    ]


def _people(served: Served, options: Options) -> list[Figure]:
    """What needs a token, or makes one."""
    region, clients, seconds = served.stand.region, options.clients, options.seconds
    profile = [line("GET", f"{API}/auth/profile", person.token) for person in region.patients]
    names = [
        line("POST", f"{API}/patients/search", region.admin.token, body={"query": f"Person {region.doctors + n}"})
        for n in range(1, len(region.patients) + 1)
    ]
    return [
        Figure("cancel", lambda: _cancel(served, options), against=("PB",)),
        Figure("profile", served.each(profile, clients, seconds), against=("H",)),
        Figure("search patients by name", served.each(names, clients, seconds), against=("H",)),
        Figure("login (slow on purpose)", lambda: served.sign_in(clients, max(seconds, LOGIN_SECONDS))),
    ]


def _cancel(served: Served, options: Options) -> Measured:
    """Cancel what was booked; some is booked before, so that there is enough of it."""
    served.book(options.clients, options.seconds)
    lines = asyncio.run(cancellations(served.service.owner_url, API))
    return served.once(lines, options.clients, options.seconds)
