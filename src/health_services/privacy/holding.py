"""What is said of a table with personal data: whose each row is, what of it he is given, what erasing does to it.

Every column of such a table is named twice: given or withheld, emptied or kept. What a condition or value says is SQL;
`t` is the table, `:user_id` and `:patient_id` are the person.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

OWN = "t.user_id = CAST(:user_id AS bigint)"
PATIENTS = "t.patient_id = CAST(:patient_id AS bigint)"
SECRET = "a secret, or what stands for one"  # noqa: S105 - not one itself


@dataclass(frozen=True)
class Removed:
    """The rows are deleted."""


@dataclass(frozen=True)
class Emptied:
    """`values` take the place of what stood there; the columns of `stays` remain, `why`.

    Only where `unless_done` holds, so that nothing is written twice.
    """

    values: Mapping[str, str]
    unless_done: str
    stays: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Kept:
    """The rows remain as they are."""

    why: str


Erasure: TypeAlias = Removed | Emptied | Kept


@dataclass(frozen=True)
class Holding:
    """A table with rows about a person; `kind` is its name in an export, `about` what the export says of it.

    `shown` are columns, `computed` further values, `sealed` the columns that are encrypted; `withheld` says why what is
    not given is not. With `is_single` there is one row at most.
    """

    table: str
    kind: str
    about: str
    whose: str
    shown: tuple[str, ...]
    erasure: Erasure
    withheld: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, str] = field(default_factory=dict)
    sealed: tuple[str, ...] = ()
    is_single: bool = False
    order: str = "id"
