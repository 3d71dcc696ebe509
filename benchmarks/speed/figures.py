"""Figures: what was measured round by round, what it is held against, and the table of them."""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from load import Measured

HEADS = ("figure", "value", "ratio", "goal", "p50 ms", "p95 ms", "p99 ms", "statuses")
UNITS = {"value": "", "p50": " ms p50", "p95": " ms p95", "p99": " ms p99"}


@dataclass(frozen=True)
class Goal:
    """A bound of a ratio (by the name of the other figure), of the `value`, or of `p50`, `p95`, `p99` in ms."""

    of: str
    least: float | None = None
    most: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether this value is within."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        sign, bound = ("≥", self.least) if self.least is not None else ("≤", self.most)
        return f"{sign} {bound:g}{UNITS.get(self.of, f' × {self.of}')}"


@dataclass(frozen=True)
class Row:
    """One figure of a table: a value with its unit, ratios by what they are of, ms, and how many of each status.

    `faults` are answers that nobody expects, or what is not so in the database: with one, the run has failed.
    """

    name: str
    value: float
    unit: str = "/s"
    ratios: Mapping[str, float] = field(default_factory=dict)
    goals: Sequence[Goal] = ()
    p50: float = 0
    p95: float = 0
    p99: float = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    faults: Sequence[str] = ()

    def missed(self) -> list[Goal]:
        """The goals that are not reached."""
        values: dict[str, float] = {"value": self.value, "p50": self.p50, "p95": self.p95, "p99": self.p99}
        return [goal for goal in self.goals if not goal.is_met((values | dict(self.ratios))[goal.of])]

    def as_json(self) -> dict[str, object]:
        """All of it, for programs."""
        shown = asdict(self)
        return shown | {
            "goals": [self.told(goal) for goal in self.goals],
            "missed": [self.told(goal) for goal in self.missed()],
        }

    def as_markdown(self) -> str:
        """A line of the table."""
        missed = self.missed()
        goals = "; ".join(f"{self.told(goal)}{' **missed**' * (goal in missed)}" for goal in self.goals)
        times = [f"{value:.1f}" if value else "" for value in (self.p50, self.p95, self.p99)]
        ratios = "; ".join(f"{ratio:.2f} × {of}" for of, ratio in self.ratios.items())
        statuses = ", ".join(f"{count} × {status}" for status, count in sorted(self.statuses.items()))
        told = "; ".join((statuses, *(f"**{fault}**" for fault in self.faults))).removeprefix("; ")
        return f"| {' | '.join((self.name, f'{_rounded(self.value)}{self.unit}', ratios, goals, *times, told))} |"

    def told(self, goal: Goal) -> str:
        """The goal with its unit."""
        return f"{goal}{self.unit if goal.of == 'value' else ''}"


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


@dataclass
class Figure:
    """What is measured round by round, and what it is held against; `by` is what ratios are of, `rate` or a time."""

    name: str
    measure: Callable[[], Measured]
    expected: Sequence[str] = ("200",)
    against: Sequence[str] = ()
    goals: Sequence[Goal] = ()
    by: str = "rate"
    needs_answers: bool = True
    rounds: list[Measured] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def take(self, *, is_warming: bool = False) -> None:
        """Measure once more; what only warms up is forgotten, but for its faults."""
        measured = self.measure()
        others = set(measured.statuses) - set(self.expected)
        if others:
            self.faults.append(f"not expected: {', '.join(sorted(others))}")
        if self.needs_answers and not measured.rate:
            self.faults.append("no answer")
        if not is_warming:
            self.rounds.append(measured)

    def ratio(self, other: "Figure") -> float:
        """The median of the rounds' ratios; 0 where the other was never answered, which is a fault of its own."""
        pairs = [
            (getattr(own, self.by), getattr(base, self.by)) for own, base in zip(self.rounds, other.rounds, strict=True)
        ]
        ratios = [own / base for own, base in pairs if base]
        return float(statistics.median(ratios)) if ratios else 0.0

    def row(self, others: Mapping[str, "Figure"]) -> Row:
        """What came out: medians of the rounds, and the sum of each status."""
        medians = {name: statistics.median(getattr(one, name) for one in self.rounds) for name in ("p50", "p95", "p99")}
        return Row(
            self.name,
            statistics.median(one.rate for one in self.rounds),
            ratios={name: self.ratio(others[name]) for name in self.against},
            goals=self.goals,
            statuses=dict(sum((Counter(one.statuses) for one in self.rounds), Counter())),
            faults=sorted(set(self.faults)),
            **medians,
        )


def take_turns(figures: Sequence[Figure], rounds: int) -> list[Row]:
    """Measure all of them in each round, and once before to warm up; each is named in the ratios by its name."""
    for number in range(rounds + 1):
        for figure in figures:
            figure.take(is_warming=not number)
    named = {figure.name: figure for figure in figures}
    return [figure.row(named) for figure in figures]


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    return "\n".join(
        (f"| {' | '.join(HEADS)} |", "|---|---:|---|---|---:|---:|---:|---|", *(r.as_markdown() for r in rows))
    )
