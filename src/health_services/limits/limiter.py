"""What the rest of the service asks: may he do this once more?"""

import asyncio
import hashlib
from collections.abc import Mapping
from ipaddress import IPv6Address
from math import ceil, floor
from typing import Self

from limits import RateLimitItem

from health_services.errors import RateLimitedException
from health_services.limits.redis_counts import RedisCounts
from health_services.limits.shared_file import SharedFile
from health_services.limits.window import OwnedCounts, Told, Window
from health_services.settings import Settings
from health_services.written_limits import MOST, Standing, limits_of

FILE_NAME = "rate_limits"
# Whoever mistypes his password ten times in a quarter of an hour waits for nothing yet.
FREE_FAILURES = 10
FAILURE_WINDOW_SECONDS = 15 * 60
SHORTEST_WAIT_SECONDS = 0.25
DOUBLINGS = 4


class Limiter:
    """Counts by the name of a limit and a key, and refuses what is too much.

    Names and limits are those of `written_limits`; with None for the limits, nothing is counted and everything passes.
    Parts of a key may be anything, also personal: only a keyed hash of them is kept. An IPv6 address among them stands
    for its /64, since that is the least that one customer gets.
    """

    def __init__(self, limits: Mapping[str, RateLimitItem] | None, counts: OwnedCounts, secret: bytes) -> None:
        self._limits = limits
        self._counts = counts
        self._hash_key = hashlib.blake2b(secret, digest_size=32, person=b"rate limits").digest()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say; nothing is opened yet. Processes with the same secret key share their counts."""
        assert settings.secret_key is not None, "the launcher decides which secret"
        own = SharedFile(settings.data_dir / FILE_NAME)
        redis = settings.redis_url
        counts = own if redis is None else RedisCounts(redis.get_secret_value(), own)
        return cls(limits_of(settings.rate_limits), counts, settings.secret_key.get_secret_value().encode())

    def prepare(self) -> None:
        """Be ready to count; raises OperatorError where that cannot be."""
        if self._limits is not None:
            self._counts.open()

    async def close(self) -> None:
        """Give back what counting needs."""
        await self._counts.close()

    async def hit(self, name: str, *key: str, cost: int = 1) -> Standing | None:
        """Count; how far the limit is used up for this key then, None where nothing is counted.

        Raises RateLimitedException, and counts nothing, where it is exhausted.
        """
        if self._limits is None:
            return None
        limit, expiry = self._limits[name], self._limits[name].get_expiry()
        is_counted, told = await self._counts.take(self._place(name, key), limit.amount, expiry, cost)
        if not is_counted:
            raise RateLimitedException(_standing(name, limit, _window(told, expiry), cost))
        return _standing(name, limit, _window(told, expiry), 1)

    async def test(self, name: str, *key: str) -> None:
        """Raises RateLimitedException where `hit` would; counts nothing."""
        if self._limits is None:
            return
        window = await self._window(name, key)
        if window.count >= self._limits[name].amount:
            raise RateLimitedException(_standing(name, self._limits[name], window, 1))

    async def slow_down(self, name: str, *key: str) -> int:
        """Count a failure, and wait the longer the more there were for this key; how many there were. Never refuses.

        From the eleventh failure within 15 minutes on it waits: 0.25 seconds, twice that, up to 4. The key is whom it
        concerns, whether or not there is such an account. Hold no connection to the database while you wait for this.
        """
        if self._limits is None:
            return 0
        place = self._hashed(f"failures of {name}", key)
        await self._counts.acquire_sliding_window_entry(place, MOST, FAILURE_WINDOW_SECONDS)
        window = await self._look(place, FAILURE_WINDOW_SECONDS)
        excess = window.count - FREE_FAILURES
        if excess > 0:
            await asyncio.sleep(SHORTEST_WAIT_SECONDS * 2 ** min(excess - 1, DOUBLINGS))
        return window.count

    async def _window(self, name: str, key: tuple[str, ...]) -> Window:
        assert self._limits is not None
        return await self._look(self._place(name, key), self._limits[name].get_expiry())

    async def _look(self, place: str, expiry: int) -> Window:
        return _window(await self._counts.get_sliding_window(place, expiry), expiry)

    def _place(self, name: str, key: tuple[str, ...]) -> str:
        """The key in the place where is counted; another one when the limit's window is changed."""
        assert self._limits is not None
        return self._hashed(f"{name} in {self._limits[name].get_expiry()} s", key)

    def _hashed(self, name: str, key: tuple[str, ...]) -> str:
        digest = hashlib.blake2b(key=self._hash_key, digest_size=16)
        for part in (name, *map(counted_as, key)):
            text = part.encode("utf-8", "surrogatepass")
            digest.update(len(text).to_bytes(8, "little") + text)
        return digest.hexdigest()


def _window(told: Told, expiry: int) -> Window:
    previous, previous_left, current, current_left = told
    # Redis knows no time that is left for a count that is not there.
    left = previous_left if previous else current_left - expiry if current_left > expiry else expiry
    return Window(previous, current, left, expiry)


def _standing(name: str, limit: RateLimitItem, window: Window, cost: int) -> Standing:
    """The limit's standing; where it refuses this cost, `reset` is how long it does."""
    quota, expiry = limit.amount, limit.get_expiry()
    remaining = max(quota - window.count, 0)
    reset = floor(window.seconds_until(quota - cost)) + 1 if remaining < cost else ceil(window.left)
    return Standing(name, quota, expiry, remaining, reset)


def counted_as(part: str) -> str:
    """What stands for this part of a key, in clear: the /64 of an IPv6 address, else the part itself."""
    if ":" not in part:
        return part
    try:
        address = IPv6Address(part)
    except ValueError:
        return part
    return str(address.ipv4_mapped or int(address) >> 64)
