"""Versions of things, in memory that all processes of a machine share: who has changed one says so, all see it.

A file of a fixed size, mapped into each process. A thing's version stands in the place that its name's hash says;
things that share a place look changed together, which costs a query and is never wrong. A new version is a value that
none had before, so that nobody has to read, add and write at once: whoever is last to write, it is another one.
"""

import itertools
import mmap
import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from health_services.errors import OperatorError

FILE_NAME = "versions"
_PLACES = 1 << 16
_BYTES = 8

# The names of things: what an answer rests on, and what a change touches.
DIRECTORY = "doctors and clinics"
ALL_SLOTS = "slots"


def slots_of_doctor(doctor_id: int) -> str:
    """Everything that the doctor offers."""
    return f"slots of doctor {doctor_id}"


def slots_at_clinic(clinic_id: int) -> str:
    """Everything that is offered at the clinic."""
    return f"slots at clinic {clinic_id}"


def one_slot(slot_id: int) -> str:
    """One slot by itself."""
    return f"slot {slot_id}"


def of_slot(slot_id: int, doctor_id: int, clinic_id: int) -> tuple[str, ...]:
    """Everything that changes with a slot."""
    return one_slot(slot_id), slots_of_doctor(doctor_id), slots_at_clinic(clinic_id), ALL_SLOTS


class Versions:
    """The versions in the file at `path`, which is made where there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._table: mmap.mmap | None = None
        self._own = b""
        self._count = itertools.count()

    def open(self) -> None:
        """Map the file; raises OperatorError where it cannot be had."""
        size = _PLACES * _BYTES
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                if os.fstat(descriptor).st_size < size:
                    os.ftruncate(descriptor, size)
                self._table = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise OperatorError(
                f"What changes cannot be noted in {self._path} ({error.strerror}): make the directory writable for "
                "the user who runs the service, choose another in HEALTH_DATA_DIR, or set HEALTH_KEEP_SECONDS=0."
            ) from None
        self._own = os.urandom(4)

    def close(self) -> None:
        """Let go of the file; what it holds stays."""
        if self._table is not None:
            self._table.close()
            self._table = None

    def places(self, names: Iterable[str]) -> tuple[int, ...]:
        """Where the versions of these things stand, for `now`."""
        return tuple(_place(name) for name in names)

    def now(self, places: Iterable[int]) -> bytes:
        """The versions in these places as they are at this moment, one after the other."""
        table = self._table
        assert table is not None
        return b"".join([table[place : place + _BYTES] for place in places])

    def change(self, names: Iterable[str]) -> None:
        """Let every process of the machine see that these things are not what they were."""
        if self._table is None:  # nothing is kept
            return
        new = self._own + (next(self._count) & 0xFFFFFFFF).to_bytes(4, "little")
        for name in names:
            place = _place(name)
            self._table[place : place + _BYTES] = new


def _place(name: str) -> int:
    digest = blake2b(name.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % _PLACES * _BYTES
