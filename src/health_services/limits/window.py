"""The sliding window as the library `limits` counts it: two fixed windows, of which the earlier one fades.

What came in the window before counts by the share of it that the last `expiry` seconds still cover.
"""

from dataclasses import dataclass
from math import floor
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted: in the window before and in this one, which has `left` of its `expiry` seconds to go."""

    previous: int
    current: int
    left: float
    expiry: int

    @property
    def count(self) -> int:
        """What counts now."""
        return floor(self.previous * self.left / self.expiry) + self.current

    def seconds_until(self, most: int) -> float:
        """How long it takes, with nothing counted meanwhile, until no more than `most` counts; 0 if it is so now."""
        if self.count <= most:
            return 0
        if most < 0:
            return 2 * self.expiry
        if self.current <= most:
            return self.left - (most + 1 - self.current) * self.expiry / self.previous
        return self.left + self.expiry - (most + 1) * self.expiry / self.current


class Counts(Protocol):
    """Where is counted: what the storages of `limits` for a sliding window counter can do, too."""

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount`, unless there would then be more than `limit` within `expiry` seconds; whether it counted."""

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """The count before and its seconds left, the count of now and its seconds left: twice the window at most."""


# The count before and its seconds left, the count of now and its seconds left, as `get_sliding_window` tells them.
Told = tuple[int, float, int, float]


class OwnedCounts(Counts, Protocol):
    """Such a place that has to be opened and closed."""

    async def take(self, key: str, limit: int, expiry: int, amount: int) -> tuple[bool, Told]:
        """`acquire_sliding_window_entry`, and then `get_sliding_window`, in one step where that is possible."""

    def open(self) -> None:
        """Be ready to count; raises OperatorError where that cannot be."""

    async def close(self) -> None:
        """Give back what counting needs."""
