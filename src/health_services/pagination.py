"""One page of a list: how it is asked for, whether there is more, and where the next one begins."""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, tuple_

MAX_LIMIT = 100
MAX_SKIP = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

T = TypeVar("T")
# Where a row stands: its values of what the list is ordered by, which are instants and, at the end, its id.
Position = tuple[Any, ...]
# Behind every row of a list by time.
LAST: Position = (datetime.max.replace(tzinfo=UTC), 2**63 - 1)


@dataclass(frozen=True)
class Page:
    """`limit` rows: those after a position, or after the first `skip`, whose cost grows with what is left out."""

    skip: int = 0
    limit: int = MAX_LIMIT
    after: Position | None = None

    @property
    def probe(self) -> int:
        """How many rows to read: one more than asked for tells whether there is a next page."""
        return self.limit + 1

    def cut(self, rows: Sequence[T]) -> tuple[Sequence[T], bool]:
        """The page's rows, and whether there are more."""
        return rows[: self.limit], len(rows) > self.limit

    def of(self, query: Select[*tuple[Any, ...]], *keys: Any, newest_first: bool = False) -> Select[*tuple[Any, ...]]:
        """What the query finds of this page in the order of its keys, the last of which is the id; one row more.

        A position is compared as one row, so that an index over the keys finds it at once.
        """
        if self.after is not None:
            place: ColumnElement[Any] = tuple_(*keys)
            query = query.where(place < self.after if newest_first else place > self.after)
        order = [key.desc() for key in keys] if newest_first else keys
        return query.order_by(*order).offset(self.skip).limit(self.probe)


def write_cursor(position: Position) -> str:
    """The position as a word for a URL."""
    numbers = [(part - _EPOCH) // _MICROSECOND if isinstance(part, datetime) else part for part in position]
    return urlsafe_b64encode(struct.pack(f">{len(numbers)}q", *numbers)).decode().rstrip("=")


def read_cursor(cursor: str, parts: int) -> Position:
    """The position in a list that is ordered by so many keys; ValueError for what `write_cursor` does not write."""
    try:
        *instants, row_id = struct.unpack(f">{parts}q", urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        position = (*(_EPOCH + number * _MICROSECOND for number in instants), row_id)
    except (ValueError, OverflowError, struct.error):
        position = ()
    if not position or row_id < 1 or write_cursor(position) != cursor:
        raise ValueError("is not a cursor of this list")
    return position
