"""Processes of their own that count in a shared file."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from health_services.limits.shared_file import SharedFile


async def take(path: Path, key: str, limit: int, attempts: int) -> int:
    """How many of the attempts were counted, within a window that no test outlives."""
    counts = SharedFile(path)
    counts.open()
    passed = [await counts.acquire_sliding_window_entry(key, limit, 86400 * 365) for _ in range(attempts)]
    await counts.close()
    return sum(passed)


def hold(path: Path, key: str, *, is_stopped: bool) -> None:
    """Take the lock of the key's set, say so, and be killed or stopped while holding it."""

    def held() -> float:
        os.write(1, b"held\n")
        os.kill(os.getpid(), signal.SIGSTOP if is_stopped else signal.SIGKILL)
        return 1.0

    asyncio.run(SharedFile(path, clock=held).get_sliding_window(key, 60))


if __name__ == "__main__":
    how, where, key = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    if how == "take":
        sys.stdin.read(1)
        sys.stdout.write(str(asyncio.run(take(where, key, int(sys.argv[4]), int(sys.argv[5])))))
    else:
        hold(where, key, is_stopped=how == "stop")
