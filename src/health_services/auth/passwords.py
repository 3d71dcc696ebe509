"""Passwords: Argon2id in threads of their own, two at a time and behind everything else; common ones refused."""

import asyncio
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Self, TypeVar

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from health_services.auth.turns import Turns
from health_services.settings import Settings

AT_ONCE = 2
_WAITING = 100
_NICENESS = 10

T = TypeVar("T")


class Passwords:
    """Hashes and checks passwords without holding up anything else.

    At most two work at once, at a lower priority where the system has one per thread (Linux), so that a flood of
    logins does not delay bookings. Callers hold no database connection while they wait here.
    """

    def __init__(self, *, memory_kib: int, time_cost: int, parallelism: int) -> None:
        hasher = Argon2Hasher(memory_cost=memory_kib, time_cost=time_cost, parallelism=parallelism)
        self._hash = PasswordHash((hasher,))
        # for whoever has something to do before and after a check that others must not come between
        self.turns = Turns(AT_ONCE, _WAITING)
        self._threads = ThreadPoolExecutor(AT_ONCE, "password", initializer=_step_back)
        self._cost = {"m": memory_kib, "t": time_cost, "p": parallelism}
        self._nobody: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Hashing at the cost that the settings name."""
        return cls(
            memory_kib=settings.password_memory_kib,
            time_cost=settings.password_time_cost,
            parallelism=settings.password_parallelism,
        )

    async def hash(self, password: str) -> str:
        """The hash to store."""
        return await self._in_thread(lambda: self._hash.hash(password))

    async def check(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Whether the password is right, and a new hash if its cost has changed.

        Without a stored hash (or with one that is none) the same work is done for nothing, so that timing tells no one
        who exists.
        """
        if stored is None or not stored.startswith("$argon2"):
            if self._nobody is None:
                self._nobody = await self._in_thread(self._of_nobody)
            await self._in_thread(lambda: self._verify(password, self._nobody or ""))
            return False, None
        return await self._in_thread(lambda: self._verify(password, stored))

    def _verify(self, password: str, stored: str) -> tuple[bool, str | None]:
        return self._hash.verify_and_update(password, stored)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def prepare(self) -> None:
        """Do the one-time work before the first caller could measure it."""
        self._nobody = await self._in_thread(self._of_nobody)
        common_passwords()

    def _of_nobody(self) -> str:
        """A hash that no password has, to check as much for those who do not exist.

        Made at the least cost that there is, and then said to be of the usual one, which is what a check goes by: a
        server that starts does not wait for a hash.
        """
        threads = self._cost["p"]
        cheap = Argon2Hasher(memory_cost=8 * threads, time_cost=1, parallelism=threads).hash(secrets.token_urlsafe())
        kind, version, _, salt, digest = cheap.removeprefix("$").split("$")
        cost = ",".join(f"{name}={value}" for name, value in self._cost.items())
        return f"${kind}${version}${cost}${salt}${digest}"

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _step_back() -> None:
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


@cache
def common_passwords() -> frozenset[str]:
    """Passwords that everybody tries first (the list of zxcvbn), in lower case, from 8 characters on."""
    package = find_spec("zxcvbn")
    assert package is not None
    assert package.origin is not None
    # Read, not imported: with all its lists, of which this is one, it would take ten megabytes and keep them.
    lists = Path(package.origin).with_name("frequency_lists.py").read_text(encoding="utf-8")
    passwords = re.search(r'^ *"passwords": "([^"]*)"', lists, re.MULTILINE)
    assert passwords is not None
    return frozenset(re.findall(r"[^,]{8,}", passwords[1]))


def why_refused(password: str, *, email: str | None, name: str) -> str | None:
    """Why nobody should have this password; None if it is fine."""
    folded = password.casefold()
    if folded in common_passwords():
        return "is among the most common passwords"
    if folded in {(email or "").casefold(), (email or "").partition("@")[0].casefold(), name.casefold()}:
        return "must not be the e-mail address or the name"
    return None
