"""Locks between processes that the kernel drops when their holder dies, however it dies."""

import fcntl
import os
from pathlib import Path


class Lock:
    """A file that processes hold shared or exclusively; the programs that they start have no part in it."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)

    def try_exclusive(self) -> bool:
        """Whether this process alone holds the lock now."""
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        """Whether this process holds the lock now, perhaps with others."""
        return self._try(fcntl.LOCK_SH)

    def release(self) -> None:
        """Give the lock up, for every process that shares this open file."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give up this process's part; a child that was given the open file keeps holding the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def fileno(self) -> int:
        """The open file, to hand the held lock over to a child."""
        return self._descriptor

    def _try(self, mode: int) -> bool:
        try:
            fcntl.flock(self._descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
