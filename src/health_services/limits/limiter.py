"""What the rest of the service asks: may he do this once more?"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from math import ceil, floor
from typing import Self

from limits import RateLimitItem

from health_services.errors import RateLimitedException
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
        self._counts = counts
        self._hash_key = hashlib.blake2b(secret, digest_size=32, person=b"rate limits").digest()
        self._limits = None if limits is None else {name: self._known(name, limits[name]) for name in limits}

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say; nothing is opened yet. Processes with the same secret key share their counts."""
        assert settings.secret_key is not None, "the launcher decides which secret"
        own = SharedFile(settings.data_dir / FILE_NAME)
        counts = own if settings.redis_url is None else _in_redis(settings.redis_url.get_secret_value(), own)
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
        limit = self._limits[name]
        is_counted, told = await self._counts.take(limit.place(key), limit.quota, limit.expiry, cost)
        if not is_counted:
            raise RateLimitedException(limit.standing(_window(told, limit.expiry), cost))
        return limit.standing(_window(told, limit.expiry), 1)

    async def test(self, name: str, *key: str) -> None:
        """Raises RateLimitedException where `hit` would; counts nothing."""
        if self._limits is None:
            return
        limit = self._limits[name]
        window = await self._look(limit.place(key), limit.expiry)
        if window.count >= limit.quota:
            raise RateLimitedException(limit.standing(window, 1))

    async def slow_down(self, name: str, *key: str) -> int:
        """Count a failure, and wait the longer the more there were for this key; how many there were. Never refuses.

        From the eleventh failure within 15 minutes on it waits: 0.25 seconds, twice that, up to 4. The key is whom it
        concerns, whether or not there is such an account. Hold no connection to the database while you wait for this.
        """
        if self._limits is None:
            return 0
        place = _place(self._begun(f"failures of {name}"), key)
        await self._counts.acquire_sliding_window_entry(place, MOST, FAILURE_WINDOW_SECONDS)
        window = await self._look(place, FAILURE_WINDOW_SECONDS)
        excess = window.count - FREE_FAILURES
        if excess > 0:
            await asyncio.sleep(SHORTEST_WAIT_SECONDS * 2 ** min(excess - 1, DOUBLINGS))
        return window.count

    async def _look(self, place: str, expiry: int) -> Window:
        return _window(await self._counts.get_sliding_window(place, expiry), expiry)

    def _known(self, name: str, limit: RateLimitItem) -> "_Limit":
        # Its places are other ones when its window is changed.
        expiry = limit.get_expiry()
        return _Limit(name, limit.amount, expiry, self._begun(f"{name} in {expiry} s"))

    def _begun(self, what: str) -> hashlib.blake2b:
        digest = hashlib.blake2b(key=self._hash_key, digest_size=16)
        _add(digest, what)
        return digest


@dataclass(frozen=True, slots=True)
class _Limit:
    """One limit, and the part of its places' hash that is the same for all keys."""

    name: str
    quota: int
    expiry: int
    begun: hashlib.blake2b

    def place(self, key: tuple[str, ...]) -> str:
        """Where is counted for this key."""
        return _place(self.begun, key)

    def standing(self, window: Window, cost: int) -> Standing:
        """How far it is used up; where it refuses this cost, `reset` is how long it does."""
        remaining = max(self.quota - window.count, 0)
        reset = floor(window.seconds_until(self.quota - cost)) + 1 if remaining < cost else ceil(window.left)
        return Standing(self.name, self.quota, self.expiry, remaining, reset)


def _place(begun: hashlib.blake2b, key: tuple[str, ...]) -> str:
    digest = begun.copy()
    for part in key:
        _add(digest, counted_as(part))
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, part: str) -> None:
    text = part.encode("utf-8", "surrogatepass")
    digest.update(len(text).to_bytes(8, "little") + text)


def _in_redis(url: str, own: OwnedCounts) -> OwnedCounts:
    from health_services.limits.redis_counts import RedisCounts  # noqa: PLC0415 - the client is large; few have a Redis

    return RedisCounts(url, own)


def _window(told: Told, expiry: int) -> Window:
    previous, previous_left, current, current_left = told
    # Redis knows no time that is left for a count that is not there.
    left = previous_left if previous else current_left - expiry if current_left > expiry else expiry
    return Window(previous, current, left, expiry)


def counted_as(part: str) -> str:
    """What stands for this part of a key, in clear: the /64 of an IPv6 address, else the part itself."""
    if ":" not in part:
        return part
    try:
        address = IPv6Address(part)
    except ValueError:
        return part
    return str(address.ipv4_mapped or int(address) >> 64)
