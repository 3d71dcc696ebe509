"""Answers that turn hundreds away come later: who asks again at once would leave no time for anybody else's request."""

from asyncio import sleep
from time import monotonic

# So many a second are told at once, the others after so many seconds.
AT_ONCE = 100
PAUSE_SECONDS = 2.0


class Brake:
    """Slows those down who are refused, of all that one process serves."""

    def __init__(self) -> None:
        self._second = 0.0
        self._refused = 0

    async def slow_down(self) -> None:
        """Wait before somebody is refused, where too many are."""
        now = monotonic()
        if now - self._second >= 1:
            self._second, self._refused = now, 0
        self._refused += 1
        if self._refused > AT_ONCE:
            await sleep(PAUSE_SECONDS)
