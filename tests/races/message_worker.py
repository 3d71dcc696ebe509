"""`health-services worker` as a process of its own: sound, or with something done to it before it begins.

It is the command's own code; what is done to it is done in that process alone.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import text

from health_services import lanes, sending
from health_services.api.middleware import configure_logging
from health_services.installation import Installation
from health_services.notifications import repository as ledger
from health_services.notifications.sender import Sender
from health_services.settings import Settings
from health_services.webhooks import repository as webhooks
from health_services.webhooks.delivery import Deliveries

Fault = Callable[[], None]
# On a machine that is busy with other tests, patience is not what is tested.
PATIENCE_SECONDS = 200
SHORT = timedelta(seconds=3)
GUARD = "FOR UPDATE SKIP LOCKED"
# The statements that ask what time it is.
DECIDING = ("_CLAIM", "_DETAILS")
# Imports take longer than all else in these tests: one process has made them, and every worker is its child.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["__main__", __name__])
# By how many seconds the clock of this process is wrong; others turn it.
_error: Any


def sound() -> None:
    """Nothing is wrong with it."""


class WorkerProcess:
    """A running worker; `fault` is what is wrong with it."""

    def __init__(self, settings: Settings, owner_url: str, fault: Fault = sound) -> None:
        assert settings.database_url is not None
        url = settings.database_url.get_secret_value()
        place = Installation(settings, url, owner_url, bin_dir=Path(), is_embedded=False)
        self._is_ready = _PROCESSES.Event()
        self._clock_error = _PROCESSES.Value("d", 0.0)
        self._process = _PROCESSES.Process(target=_work, args=(place, fault, self._is_ready, self._clock_error))
        self._process.start()

    async def ready(self) -> "WorkerProcess":
        """Return once it looks for messages."""
        await self._until(lambda: self._is_ready.is_set() or not self._process.is_alive())
        assert self._is_ready.is_set(), f"the worker ended: {self._process.exitcode}"
        return self

    async def ended(self) -> int | None:
        """How it ended: minus the number of the signal that killed it."""
        await self._until(lambda: not self._process.is_alive())
        return self._process.exitcode

    def kill(self) -> None:
        """End it at once, unheard; it is gone when this returns."""
        self._process.kill()
        self._process.join()

    def freeze(self) -> None:
        """Let it stand still, without its knowing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def stop(self) -> None:
        """Let it finish what is under way, and end."""
        if self._process.is_alive():
            self._process.terminate()
            self.thaw()
            assert await self.ended() == 0

    def turn_clock(self, to: timedelta) -> None:
        """Let its clock be wrong by so much, where it can be turned."""
        self._clock_error.value = to.total_seconds()

    @staticmethod
    async def _until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.005)


def _work(place: Installation, fault: Fault, is_ready: Any, clock_error: Any) -> None:
    global _error  # noqa: PLW0603 - of this process, which is made for it
    _error = clock_error
    configure_logging("error", as_text=False)
    fault()
    sending.work(place, lambda _: is_ready.set())


def with_short_claims() -> None:
    """It will be killed, and the next one need not wait."""
    vars(lanes).update(Sender=partial(Sender, lease=SHORT), Deliveries=partial(Deliveries, lease=SHORT))


def doomed() -> None:
    """It claims once, and what it has claimed stays its own while it lives, however slowly."""
    for owner, name in ((ledger.NotificationRepository, "take"), (webhooks.DeliveryRepository, "claim")):
        setattr(owner, name, _once(getattr(owner, name)))


def _once(claim: Any) -> Any:
    has_claimed = False

    async def claim_once(*args: Any, **kwargs: Any) -> Any:
        nonlocal has_claimed
        if has_claimed:
            await asyncio.Event().wait()
        found = await claim(*args, **kwargs)
        has_claimed = bool(found)
        return found

    return claim_once


def ending(owner: type, step: str, *, is_done: bool) -> None:
    """It kills itself before this step, or once the step is done; a claim that finds nothing is no step."""
    doomed()
    original = getattr(owner, step)

    async def last(*args: Any, **kwargs: Any) -> Any:
        if not is_done:
            os.kill(os.getpid(), signal.SIGKILL)
        found = await original(*args, **kwargs)
        if found != []:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, step, last)


def unguarded() -> None:
    """It claims what it has read, as one would who has not thought of others, and asks nobody before it sends."""
    assert GUARD in ledger._CLAIM.text
    ledger._CLAIM = text(ledger._CLAIM.text.replace(GUARD, ""))
    setattr(ledger.NotificationRepository, ledger.NotificationRepository.is_still_wanted.__name__, _always)


async def _always(*_: object) -> bool:
    return True


class _FalseClock(datetime):
    """A clock that `_error` has turned."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_FalseClock":
        return super().now(tz) + timedelta(seconds=_error.value)


def with_false_clock() -> None:
    """Its clock can be turned from outside."""
    true_time = time.time
    time.time = lambda: true_time() + _error.value
    for name, module in list(sys.modules.items()):
        if name.startswith("health_services.") and getattr(module, "datetime", None) is datetime:
            module.datetime = _FalseClock  # type: ignore[attr-defined]


def deciding_by_its_clock() -> None:
    """Its clock can be turned, and it is its clock that tells what is due."""
    with_false_clock()
    take, statements = ledger.NotificationRepository.take, {name: vars(ledger)[name].text for name in DECIDING}

    async def take_by_clock(*args: Any) -> Any:
        mine = f"(now() + interval '{_error.value} seconds')"
        vars(ledger).update({name: text(words.replace("now()", mine)) for name, words in statements.items()})
        return await take(*args)

    setattr(ledger.NotificationRepository, "take", take_by_clock)  # noqa: B010 - its type is another
