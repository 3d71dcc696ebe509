"""Counts that all machines share: in a Redis or Valkey, and on this machine while that is away."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from limits.aio.storage import RedisStorage
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from health_services.limits.window import Counts, OwnedCounts, Told

# A request waits twice as long at most, and only one in so many seconds.
TIMEOUT_SECONDS = 0.5
RETRY_SECONDS = 5.0
PREFIX = "health-services"

T = TypeVar("T")
log = structlog.get_logger("health_services.limits")


class RedisCounts:
    """Counts at `url`; what it does not answer is counted in `own`, and so is all that comes in the next seconds.

    So an attacker who brings Redis down wins at most as many times the limit as there are machines, and a Redis that
    is away keeps nobody from his doctor.
    """

    def __init__(self, url: str, own: OwnedCounts, *, clock: Callable[[], float] = time.monotonic) -> None:
        # One try more, since a connection that Redis closed meanwhile is only found out by using it.
        self._pool = ConnectionPool.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 1),
        )
        self._redis: Counts = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=PREFIX,
            connection_pool=self._pool,  # type: ignore[arg-type]
        )
        self._own = own
        self._clock = clock
        self._ask_again_at = float("-inf")
        self._is_away = False

    def open(self) -> None:
        """Be ready to count here; raises OperatorError where that cannot be. Redis may come later."""
        self._own.open()

    async def close(self) -> None:
        """Close every connection, and the counts of this machine."""
        await self._pool.disconnect()
        await self._own.close()

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount`, unless there would then be more than `limit` within `expiry` seconds; whether it counted."""
        return await self._ask(lambda counts: counts.acquire_sliding_window_entry(key, limit, expiry, amount))

    async def take(self, key: str, limit: int, expiry: int, amount: int) -> tuple[bool, Told]:
        """The same, and what `get_sliding_window` says afterwards."""

        async def taken(counts: Counts) -> tuple[bool, Told]:
            is_counted = await counts.acquire_sliding_window_entry(key, limit, expiry, amount)
            return is_counted, await counts.get_sliding_window(key, expiry)

        return await self._ask(taken)

    async def get_sliding_window(self, key: str, expiry: int) -> Told:
        """The count before and its seconds left, the count of now and its seconds left: twice the window at most."""
        return await self._ask(lambda counts: counts.get_sliding_window(key, expiry))

    async def _ask(self, question: Callable[[Counts], Awaitable[T]]) -> T:
        if self._clock() >= self._ask_again_at:
            try:
                answer = await question(self._redis)
            except (RedisError, OSError) as error:
                self._note(is_away=True, error=type(error).__name__)
                self._ask_again_at = self._clock() + RETRY_SECONDS
            else:
                self._note(is_away=False)
                return answer
        return await question(self._own)

    def _note(self, *, is_away: bool, **more: str) -> None:
        if is_away != self._is_away:
            self._is_away = is_away
            log.warning("limits are counted by each machine" if is_away else "limits are counted in Redis", **more)
