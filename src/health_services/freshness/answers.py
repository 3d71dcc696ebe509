"""Answers that are kept: as long as nothing that they rest on has changed, and for a second at most."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from health_services.freshness.versions import Versions

Key = tuple[str, bytes]
# About what a process may spend on answers; the one that was not asked for the longest goes first.
MOST_BYTES = 32 << 20
# What an answer takes besides its body.
_OVERHEAD = 2000


@dataclass(frozen=True, slots=True)
class Answer:
    """A 200 as it goes out; `route` is what the log wants to know of where it came from."""

    headers: tuple[tuple[bytes, bytes], ...]
    headers_of_304: tuple[tuple[bytes, bytes], ...]
    etag: str
    body: bytes
    route: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    places: tuple[int, ...]
    versions: bytes
    until: float


class Answers:
    """Answers by path and query, for one event loop; `seconds` is how long one is kept at most."""

    def __init__(self, versions: Versions, seconds: float, most_bytes: int = MOST_BYTES) -> None:
        self.versions = versions
        self.seconds = seconds
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._under_way: dict[Key, asyncio.Future[None]] = {}

    def get(self, key: Key) -> Answer | None:
        """The answer, if it still holds."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until <= time.time() or kept.versions != self.versions.now(kept.places):
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return kept.answer

    def keep(self, key: Key, answer: Answer, places: tuple[int, ...], versions: bytes, until: float) -> None:
        """Keep an answer that was found after these versions were read, until then (seconds of the epoch)."""
        self._forget(key)
        self._kept[key] = _Kept(answer, places, versions, until)
        self._bytes += _size(key, answer)
        while self._must_go():
            self._forget(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._bytes = 0

    def _must_go(self) -> bool:
        """Whether the oldest has to: what has ended, too, would else stay until there is no room."""
        oldest = next(iter(self._kept.values()), None)
        return oldest is not None and (self._bytes > self._most_bytes or oldest.until <= time.time())

    def _forget(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= _size(key, kept.answer)

    async def turn(self, key: Key) -> bool:
        """Whether it is the caller's turn to find this answer; else somebody else has just tried.

        Whose turn it is must say `done` in the end.
        """
        other = self._under_way.get(key)
        if other is None:
            self._under_way[key] = asyncio.get_running_loop().create_future()
            return True
        await asyncio.shield(other)
        return False

    def done(self, key: Key) -> None:
        """Let those go on who wait for this answer."""
        self._under_way.pop(key).set_result(None)


class Keeping:
    """What is said of an answer while it is found, and then the answer; kept only if it is said what it rests on."""

    def __init__(self, answers: Answers | None = None, key: Key = ("", b"")) -> None:
        """Without a place for answers, whatever is said is for nothing."""
        self._answers = answers
        self._key = key
        self._places: tuple[int, ...] | None = None
        self._versions = b""
        self._until = float("inf")

    def rests_on(self, *names: str) -> None:
        """The answer is true as long as none of these has changed; to be said before the database is asked."""
        if self._answers is not None:
            self._places = self._answers.versions.places(names)
            self._versions = self._answers.versions.now(self._places)

    def holds_until(self, instant: datetime) -> None:
        """Nor is it true any more from then on."""
        self._until = instant.timestamp()

    def keep(self, answer: Answer) -> None:
        """Give this answer to whoever asks the same."""
        if self._answers is not None and self._places is not None:
            until = min(self._until, time.time() + self._answers.seconds)
            self._answers.keep(self._key, answer, self._places, self._versions, until)


def _size(key: Key, answer: Answer) -> int:
    return len(key[0]) + len(key[1]) + len(answer.body) + _OVERHEAD
