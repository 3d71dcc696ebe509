"""A real SMTP server in a process of its own, which takes mails and notes when each of them came."""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

import psutil
from aiosmtpd.smtp import SMTP, Envelope, Session

# Who is refused; the n-th of so many people, see `region`.
REFUSED = "refused"


class _Desk:
    """Takes every mail but those to people whose address begins with REFUSED."""

    def __init__(self) -> None:
        self.arrivals: list[tuple[str, float]] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        if address.startswith(REFUSED):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        self.arrivals.append((envelope.rcpt_tos[0], time.time()))
        return "250 OK"


@dataclass(frozen=True)
class MailServer:
    """One that runs; times are seconds since 1970."""

    port: int
    pid: int
    _pipe: Connection

    def arrivals(self) -> list[tuple[str, float]]:
        """Recipient and time of each mail since it was asked last."""
        self._pipe.send("arrivals")
        return self._pipe.recv()

    def cpu_seconds(self) -> float:
        """What it has used so far."""
        times = psutil.Process(self.pid).cpu_times()
        return times.user + times.system


@contextmanager
def running() -> Iterator[MailServer]:
    """A server on a free port of 127.0.0.1 for as long as the block lasts."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,))
    process.start()
    assert process.pid is not None
    yield MailServer(ours.recv(), process.pid, ours)
    ours.send("stop")
    process.join()


def _serve(pipe: Connection) -> None:
    asyncio.run(_serve_until_told(pipe))


async def _serve_until_told(pipe: Connection) -> None:
    desk, loop = _Desk(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(desk, hostname="mail.test", loop=loop), "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    stopped = asyncio.Event()

    def answer() -> None:
        if pipe.recv() == "stop":
            stopped.set()
            return
        pipe.send(desk.arrivals)
        desk.arrivals = []

    loop.add_reader(pipe.fileno(), answer)
    await stopped.wait()
    server.close()
