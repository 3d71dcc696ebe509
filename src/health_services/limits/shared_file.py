"""Counts that all processes of a machine share: one file of a fixed size, mapped into each of them.

The file is a table of sets, and a key belongs into one of the places of one set; which set, its digest says. Where a
set is full, the key whose time ends first gives way. A set is locked while it is read or changed, by a lock of the
kernel, which falls with the process that holds it. The clock is the machine's own since its start, so that nobody who
sets the time resets a count; a count survives the server that made it.
"""

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from health_services.errors import OperatorError
from health_services.limits.window import Told, Window

# Digest of the key, seconds of a window, number of the last window counted in, count in it, count in the one before.
_PLACE = struct.Struct("=16sIIII")
PLACES_OF_SET = 16
SETS = 1 << 14
_SET_BYTES = _PLACE.size * PLACES_OF_SET
LOCK_PAUSE_SECONDS = 0.0005
LOCK_ATTEMPTS = 2000


class SharedFile:
    """Counts in the file at `path`, which is made where there is none; for one thread of each process."""

    def __init__(self, path: Path, *, sets: int = SETS, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._sets = sets
        self._clock = clock
        self._descriptor = -1
        self._table: mmap.mmap | None = None

    def open(self) -> None:
        """Map the file; raises OperatorError where it cannot be had."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        size = self._sets * _SET_BYTES
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, flags, 0o600)
            if os.fstat(descriptor).st_size < size:
                os.ftruncate(descriptor, size)
            self._table = mmap.mmap(descriptor, size)
            if hasattr(mmap, "MADV_RANDOM"):
                self._table.madvise(mmap.MADV_RANDOM)  # or the pages around each would be taken in, too: soon all of it
        except OSError as error:
            raise OperatorError(
                f"Requests cannot be counted in {self._path} ({error.strerror}): make the directory writable for the "
                "user who runs the service, choose another in HEALTH_DATA_DIR, or set HEALTH_RATE_LIMITS=off."
            ) from None
        self._descriptor = descriptor

    async def close(self) -> None:
        """Let go of the file; what it holds stays."""
        if self._table is not None:
            self._table.close()
            os.close(self._descriptor)
            self._table = None

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount`, unless there would then be more than `limit` within `expiry` seconds; whether it counted."""
        return (await self.take(key, limit, expiry, amount))[0]

    async def take(self, key: str, limit: int, expiry: int, amount: int) -> tuple[bool, Told]:
        """The same, and what `get_sliding_window` says afterwards."""
        digest = blake2b(key.encode(), digest_size=16).digest()
        table, start = self._locked(digest)
        try:
            now = self._clock()
            place, window = _find(table, start, digest, expiry, now)
            counts = window.count + amount <= limit
            current = window.current + amount if counts else window.current
            if counts:
                _PLACE.pack_into(table, place, digest, expiry, int(now // expiry), current, window.previous)
        finally:
            self._unlock(start)
        return counts, (window.previous, window.left, current, window.left + expiry)

    async def get_sliding_window(self, key: str, expiry: int) -> Told:
        """The count before and its seconds left, the count of now and its seconds left: twice the window at most."""
        digest = blake2b(key.encode(), digest_size=16).digest()
        table, start = self._locked(digest)
        try:
            _, window = _find(table, start, digest, expiry, self._clock())
        finally:
            self._unlock(start)
        return window.previous, window.left, window.current, window.left + expiry

    def _locked(self, digest: bytes) -> tuple[mmap.mmap, int]:
        """The table, and where the key's set begins in it; until `_unlock` no other process looks at it."""
        if self._table is None:
            self.open()
        assert self._table is not None
        start = int.from_bytes(digest[:8], "little") % self._sets * _SET_BYTES
        self._lock(start)
        return self._table, start

    def _unlock(self, start: int) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _SET_BYTES, start)

    def _lock(self, start: int) -> None:
        """Wait for the set, but not for ever: who was stopped while he held it must not stop everybody.

        Then a count may be off by a few, for as long as he is stopped.
        """
        for _ in range(LOCK_ATTEMPTS):
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _SET_BYTES, start)
            except BlockingIOError:
                time.sleep(LOCK_PAUSE_SECONDS)
            else:
                return


def _find(table: mmap.mmap, start: int, digest: bytes, expiry: int, now: float) -> tuple[int, Window]:
    """Where the key is or may be put, and what was counted for it."""
    number, left = int(now // expiry), expiry - now % expiry
    the_set = table[start : start + _SET_BYTES]
    at = the_set.find(digest)
    if at < 0 or at % _PLACE.size:  # a digest begins a place; elsewhere it would be chance
        return start + _first_to_go(the_set, now), Window(0, 0, left, expiry)
    _, _, last, current, previous = _PLACE.unpack_from(the_set, at)
    if last == number:
        return start + at, Window(previous, current, left, expiry)
    return start + at, Window(current if last == number - 1 else 0, 0, left, expiry)


def _first_to_go(the_set: bytes, now: float) -> int:
    """Where the key stands whose time ends first, or ended."""
    first_to_go, shortest = 0, float("inf")
    for number, (_, seconds, last, _, _) in enumerate(_PLACE.iter_unpack(the_set)):
        remaining = (last + 2) * seconds - now
        if not 0 < remaining <= 2 * seconds:  # it has ended, or is from before the machine's last start
            remaining = 0
        if remaining < shortest:
            first_to_go, shortest = number * _PLACE.size, remaining
    return first_to_go
