"""Time that passes when a test says so, and a limiter that counts in a file by it."""

from pathlib import Path

from health_services.limits.limiter import Limiter
from health_services.limits.shared_file import SharedFile
from health_services.written_limits import limits_of

SECRET = b"a secret of tests, and long enough"


class Clock:
    """Seconds since the machine's start."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def limiter_on(path: Path, overrides: str, clock: Clock, secret: bytes = SECRET) -> Limiter:
    """A limiter of these overrides that counts in the file."""
    limiter = Limiter(limits_of(overrides), SharedFile(path, clock=clock), secret)
    limiter.prepare()
    return limiter
