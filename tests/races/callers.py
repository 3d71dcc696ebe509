"""Many callers at one instant: every request lies at the server but for its last byte, then all the last bytes go."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

PATIENCE_SECONDS = 120
Tally = Counter[tuple[int, str | None]]


@dataclass(frozen=True)
class Call:
    """One request below /api/v1."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None

    def encoded(self, port: int) -> bytes:
        content = b"" if self.body is None else json.dumps(self.body).encode()
        lines = [f"{self.method} /api/v1{self.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if content:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        return "\r\n".join([*lines, "", ""]).encode() + content


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def kind(self) -> tuple[int, str | None]:
        code = self.body.get("error_code") if isinstance(self.body, dict) else None
        return self.status, code


class Crowd:
    """Callers whose requests the servers hold, all but the last byte of each; spread evenly over the ports."""

    def __init__(self, callers: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]]) -> None:
        self._callers = callers

    @classmethod
    async def gathered(cls, ports: Sequence[int], calls: Iterable[Call]) -> "Crowd":
        async def stand(port: int, call: Call) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            request = call.encoded(port)
            writer.write(request[:-1])
            await writer.drain()
            return reader, writer, request[-1:]

        pairs = zip(itertools.cycle(ports), calls, strict=False)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return cls(list(await asyncio.gather(*(stand(port, call) for port, call in pairs))))

    async def go(self) -> list[Answer]:
        """Complete every request before any answer is read; the answers in the order of the calls."""
        for _, writer, last in self._callers:
            writer.write(last)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return list(await asyncio.gather(*(self._answer(reader, writer) for reader, writer, _ in self._callers)))

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
        try:
            head, _, content = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
            await writer.wait_closed()
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        assert len(content) == int(headers["content-length"])
        return Answer(int(status.split()[1]), headers, json.loads(content))


async def all_at_once(ports: Sequence[int], calls: Iterable[Call]) -> list[Answer]:
    """Every call at one instant."""
    return await (await Crowd.gathered(ports, calls)).go()


def tally(answers: Iterable[Answer]) -> Tally:
    """How often each status came with each error code."""
    return Counter(answer.kind for answer in answers)
