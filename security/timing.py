"""Do answers about people who exist take as long as those about people who do not?

Both are asked for in turn, in a random order, so that a machine that is slow for a while is slow for both. They differ
where a rank test (Mann-Whitney, two-sided) says so with p < 0.001 and a random answer about somebody who exists takes
longer (or less long) in more than 60 of 100 pairs; a difference stands if a second sample shows it too.
"""

import math
import random
import secrets
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scanners import Finding
from service import PASSWORDS, Service

P_VALUE, SHARE = 0.001, 0.6
WARM_UP = 20


@dataclass(frozen=True)
class Comparison:
    """`share` is how often a random one of the first takes longer than one of the second; `p` that of the rank test."""

    medians: tuple[float, float]
    share: float
    p: float

    @property
    def differs(self) -> bool:
        """Whether anybody could tell the two from each other."""
        return self.p < P_VALUE and abs(self.share - 0.5) > SHARE - 0.5

    def __str__(self) -> str:
        known, unknown = (f"{1000 * median:.1f} ms" for median in self.medians)
        return f"medians {known} and {unknown}, the first longer in {self.share:.0%} of pairs, p = {self.p:.2g}"


def compared(first: list[float], second: list[float]) -> Comparison:
    """The comparison of two samples without ties of note."""
    ranked = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    ranks = sum(rank for rank, (_, which) in enumerate(ranked, 1) if which == 0)
    n, m = len(first), len(second)
    wins = ranks - n * (n + 1) / 2
    z = (wins - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    p = math.erfc(abs(z) / math.sqrt(2))
    return Comparison((statistics.median(first), statistics.median(second)), wins / (n * m), p)


def findings(service: Service, samples: int, say: Callable[[str], None]) -> Iterator[Finding]:
    """Where known and unknown people can be told from each other by time."""
    known = PASSWORDS["patient"][0]

    def login(email: str) -> None:
        answer = service.client.post("/auth/login", json={"email": email, "password": "not the password"})
        assert answer.status_code == 401, answer.text

    def forgot(email: str) -> None:
        answer = service.client.post("/auth/password/forgot", json={"email": email})
        assert answer.status_code == 202, answer.text

    def malformed(_: str) -> None:
        assert service.client.post("/auth/login", json={"email": 1}).status_code == 400

    control = _measured(login, malformed, known, samples // 3)
    say(f"control, login against a malformed one: {control}")
    if not control.differs:
        raise SystemExit("the comparison does not even see the difference of the control")
    for name, ask in (("login", login), ("forgot-password", forgot)):
        tried = [_measured(ask, ask, known, samples)]
        if tried[0].differs:
            tried.append(_measured(ask, ask, known, samples))
        for comparison in tried:
            say(f"{name}, known against unknown: {comparison}")
        if tried[-1].differs:
            yield Finding("timing", f"{name} tells who exists", str(tried[-1].medians))


def _measured(first: Callable[[str], None], second: Callable[[str], None], known: str, samples: int) -> Comparison:
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(samples + WARM_UP):
        pair = [(0, first, known), (1, second, f"{secrets.token_hex(6)}@example.org")]
        random.shuffle(pair)
        for which, ask, email in pair:
            began = time.perf_counter()
            ask(email)
            if number >= WARM_UP:
                taken[which].append(time.perf_counter() - began)
    return compared(*taken)
