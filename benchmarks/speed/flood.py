"""Bookings alone, and beside as many logins as come, in turn.

A login may be answered 503: the service lets a hundred wait for a turn with their password, and sends the others away.
"""

import time
from concurrent.futures import ThreadPoolExecutor

from figures import Figure, Goal, Row, take_turns
from load import Measured
from stand import Options, Served

# So many people keep signing in; fewer than would be sent away while they wait.
CLIENTS = 64
# The logins begin before the bookings, and end after them.
MARGIN_SECONDS = 1


def flood(served: Served, options: Options) -> list[Row]:
    """Both, and the logins meanwhile; the ratio is of the p99 of bookings."""
    seconds = options.seconds * 2
    meanwhile: list[Measured] = []

    def beside() -> Measured:
        with ThreadPoolExecutor(1) as others:
            signing_in = others.submit(served.sign_in, CLIENTS, seconds + 2 * MARGIN_SECONDS)
            time.sleep(MARGIN_SECONDS)
            booked = served.book(options.clients, seconds)
            meanwhile.append(signing_in.result())
        return booked

    figures = [
        Figure("book, alone", lambda: served.book(options.clients, seconds), ("201",)),
        Figure(
            f"book, beside {CLIENTS} clients that sign in",
            beside,
            ("201",),
            ("book, alone",),
            (Goal("book, alone", most=2),),
            by="p99",
        ),
        Figure("the logins meanwhile", lambda: meanwhile[-1], ("200", "503"), needs_answers=False),
    ]
    return take_turns(figures, options.rounds)
