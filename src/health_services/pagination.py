"""One page of a list: how it is asked for, and whether there is more."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

MAX_LIMIT = 100
MAX_SKIP = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class Page:
    """`limit` rows after the first `skip`."""

    skip: int = 0
    limit: int = MAX_LIMIT

    @property
    def probe(self) -> int:
        """How many rows to read: one more than asked for tells whether there is a next page."""
        return self.limit + 1

    def cut(self, rows: Sequence[T]) -> tuple[Sequence[T], bool]:
        """The page's rows, and whether there are more."""
        return rows[: self.limit], len(rows) > self.limit
