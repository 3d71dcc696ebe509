"""Letting somebody in by his password, and nobody guess it."""

import contextlib
from dataclasses import dataclass

from health_services.auth.passwords import Passwords
from health_services.errors import RateLimitedException
from health_services.limits.limiter import Limiter, counted_as
from health_services.sessions.service import Lifetimes


@dataclass(frozen=True)
class Checked:
    """Whether a password was right; then `new_hash` if its cost has changed, else how many failures there were."""

    is_right: bool
    new_hash: str | None = None
    failures: int = 0


@dataclass(frozen=True)
class Gate:
    """What signing in needs besides the database."""

    passwords: Passwords
    lifetimes: Lifetimes
    limiter: Limiter

    async def check(self, email: str, address: str | None, password: str, stored: str | None) -> Checked:
        """Whether the password is right, with the same work for every reason why it is not.

        Failures count for the account (by its e-mail, whether or not there is one) and for the address that they come
        from: RateLimitedException before the password is looked at where there were too many from there, and a pause
        after many for this account from anywhere. UnavailableException where too many wait from too many addresses.
        Nobody holds a connection meanwhile.
        """
        where = address or ""
        # in turn, so that those who try at once do not pass before the first one has failed
        async with self.passwords.turns.turn_of(counted_as(where)):
            await self.limiter.test("login", email, where)
            await self.limiter.test("login_address", where)
            is_right, new_hash = await self.passwords.check(password, stored)
            if is_right:
                return Checked(is_right=True, new_hash=new_hash)
            for name, *key in (("login", email, where), ("login_address", where)):
                with contextlib.suppress(RateLimitedException):
                    await self.limiter.hit(name, *key)
        return Checked(is_right=False, failures=await self.limiter.slow_down("login", email))
