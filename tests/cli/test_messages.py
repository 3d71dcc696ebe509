"""The operator's commands that send: `serve`, `serve --no-worker`, `worker`; and `/metrics`."""

import asyncio
import email
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.policy import default
from inspect import signature
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from health_services.access.tokens import Tokens
from health_services.installation import STOPPING
from health_services.main import WORKER_GRACE_SECONDS
from health_services.outgoing.http import outgoing_session
from health_services.outgoing.mail import SmtpMailer
from health_services.outgoing.push import WebPush
from health_services.outgoing.sms import TwilioSms
from tests.cli.commands import SECRET, Command, eventually, run, serving, stop
from tests.cli.conftest import Databases
from tests.cli.test_serve import ended
from tests.cli.test_start import two_urls
from tests.factories import World, booking
from tests.outgoing.smtp_servers import Desk, smtp_server
from tests.servers import NO_TLS

WAITING = 'health_messages_due{channel="email",queue="notifications"} 2.0'
EMPTY = 'health_messages_due{channel="email",queue="notifications"} 0.0'
BOOKED = "kind = 'appointment_booked'"


@dataclass
class Place:
    """A database with a world in it, an empty data directory, and the environment of commands on both."""

    owner: asyncpg.Connection
    world: World
    environment: dict[str, Any]
    mails: Path

    def sent(self) -> list[EmailMessage]:
        """The mails in the folder."""
        files = sorted(self.mails.glob("*.eml"))
        return [message_of(file.read_bytes()) for file in files]

    async def book(self, client: httpx.Client) -> str:
        """Book over HTTP; the address that is to be told."""
        patient, doctor = await self.world.patient(), await self.world.doctor()
        body = booking(patient, doctor, await self.world.slot(doctor))
        booked = client.post("/appointments/book", json=body, headers=patient.headers)
        assert booked.status_code == 201, booked.text
        return patient.email

    async def states(self) -> list[tuple[str, int]]:
        """State and attempts of what tells of bookings."""
        rows = await self.owner.fetch(f"SELECT state, attempts FROM notifications WHERE {BOOKED} ORDER BY id")
        return [(row["state"], row["attempts"]) for row in rows]


def message_of(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def addresses(messages: list[EmailMessage]) -> list[str]:
    return sorted(str(message["To"]) for message in messages)


def figures(client: httpx.Client) -> httpx.Response:
    """What Prometheus reads on this machine."""
    return httpx.get(client.base_url.join("/metrics"), verify=NO_TLS)


@pytest.fixture
async def place(databases: Databases, directory: Path) -> AsyncIterator[Place]:
    """Nothing is on its way yet."""
    database = await databases(migrate=True)
    owner = await asyncpg.connect(database.owner_url)
    world = World(owner, Tokens((SECRET.encode(),), timedelta(hours=1)))
    environment = {**two_urls(database), "HEALTH_DATA_DIR": directory, "HEALTH_WORKER_POLL_SECONDS": "0.05"}
    yield Place(owner, world, environment, directory / "mail")
    await owner.close()


async def test_a_server_sends_too(place: Place):
    with serving(**place.environment) as (_, client):
        told = [await place.book(client) for _ in range(3)]
        assert eventually(lambda: len(place.sent()) == 3)
        assert EMPTY in figures(client).text
    assert addresses(place.sent()) == sorted(told)
    assert await place.states() == [("sent", 1)] * 3


async def test_several_server_processes_send_each_mail_once(place: Place):
    with serving("--workers", "2", **place.environment) as (_, client):
        told = [await place.book(client) for _ in range(8)]
        assert eventually(lambda: len(place.sent()) == 8)
        assert all(EMPTY in figures(client).text for _ in range(8))
    assert addresses(place.sent()) == sorted(told)
    assert await place.states() == [("sent", 1)] * 8


@pytest.mark.parametrize(("workers", "end"), [("1", signal.SIGTERM), ("2", signal.SIGINT)])
async def test_a_server_without_a_worker_leaves_it_to_the_worker(place: Place, workers: str, end: signal.Signals):
    with serving("--no-worker", "--workers", workers, **place.environment) as (_, client):
        told = [await place.book(client) for _ in range(2)]
        for _ in range(20):  # a worker would have looked many times
            assert WAITING in figures(client).text
    assert await place.states() == [("queued", 0)] * 2
    assert place.sent() == []
    worker = Command("worker", **place.environment)
    try:
        assert eventually(lambda: len(place.sent()) == 2), worker.err
        assert "Sending messages as they come due; Ctrl-C stops." in worker.err
        if end is signal.SIGINT:
            worker.interrupt()
        else:
            worker.terminate()
        done = worker.wait(60)
    finally:
        stop(worker)
    assert (done.code, done.out) == (0, "")
    assert "Traceback" not in done.err
    assert addresses(place.sent()) == sorted(told)
    assert await place.states() == [("sent", 1)] * 2


class SlowDesk(Desk):
    """Takes a mail only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()

    async def handle_DATA(self, *conversation: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.is_in_data = True
        await self.released.wait()
        return await super().handle_DATA(*conversation)


@asynccontextmanager
async def under_way(line: str, place: Place) -> AsyncIterator[tuple[Command, SlowDesk, str]]:
    """The command while it sends one mail, the mail server that still thinks about it, and the address."""
    with serving("--no-worker", **place.environment) as (_, client):
        told = await place.book(client)
    async with smtp_server(SlowDesk()) as desk:
        assert isinstance(desk, SlowDesk)
        sender = Command(*line.split(), **place.environment, HEALTH_SMTP_URL=f"smtp://127.0.0.1:{desk.port}")
        try:
            async with asyncio.timeout(120):
                while not desk.is_in_data:
                    await asyncio.sleep(0.01)
            assert await place.states() == [("queued", 1)]
            yield sender, desk, told
        finally:
            desk.released.set()
            await asyncio.to_thread(stop, sender)


@pytest.mark.parametrize("line", ["worker", "serve --port 0"])
async def test_what_is_under_way_is_finished(line: str, place: Place):
    async with under_way(line, place) as (sender, desk, told):
        sender.terminate()
        assert await asyncio.to_thread(eventually, lambda: STOPPING in sender.err)
        desk.released.set()
        done = await asyncio.to_thread(sender.wait, 60)
    assert done.code in {0, 128 + signal.SIGTERM}, done.err
    assert [arrived.recipients for arrived in desk.arrived] == [[told]]
    assert await place.states() == [("sent", 1)]


def test_a_worker_that_nobody_listens_to_ends_all_the_same(place: Place):
    """Its terminal was closed, or who collected its log has ended."""
    command = [str(Path(sys.executable).with_name("health-services")), "worker"]
    environment = {**os.environ, **{name: str(value) for name, value in place.environment.items()}}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        while "Sending messages" not in worker.stderr.readline():
            assert worker.poll() is None
        worker.stderr.close()
        worker.terminate()
        try:
            worker.wait(60)
        finally:
            worker.kill()


def test_a_send_ends_before_patience_does():
    for gateway in (SmtpMailer, TwilioSms, WebPush, outgoing_session):
        assert signature(gateway).parameters["timeout"].default < WORKER_GRACE_SECONDS


@pytest.mark.parametrize("line", ["worker", "serve --port 0", "serve --port 0 --workers 2"])
async def test_ctrl_c_once_more_ends_it_at_once(line: str, place: Place):
    async with under_way(line, place) as (sender, desk, _):
        family = sender.family()
        sender.interrupt()
        assert await asyncio.to_thread(eventually, lambda: STOPPING in sender.err)
        sender.interrupt()
        done = await asyncio.to_thread(sender.wait, 60)
        assert eventually(lambda: ended(family))
        assert desk.arrived == []
    assert done.code in {0, 128 + signal.SIGINT}, done.err
    assert "Traceback" not in done.err
    # Given its time, it would have written down that the mail server did not answer.
    rows = await place.owner.fetch(f"SELECT state, last_error FROM notifications WHERE {BOOKED}")
    assert [(row["state"], row["last_error"]) for row in rows] == [("queued", None)]


async def test_figures_that_are_switched_off_are_not_shown(place: Place):
    with serving("--workers", "2", **place.environment, HEALTH_METRICS="off") as (_, client):
        assert figures(client).status_code == 404


async def test_figures_are_not_shown_at_an_open_address(place: Place):
    command = Command("serve", "--host", "0.0.0.0", "--port", "0", **place.environment)
    try:
        ready = "Ready on http://0.0.0.0:"
        assert eventually(lambda: ready in command.err, 120), command.err
        port = command.err.partition(ready)[2].split()[0]
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 404
    finally:
        stop(command)


def test_without_an_address_the_command_line_is_off(directory: Path):
    assert run("mail-test", HEALTH_DATA_DIR=directory).code == 2
    assert run("worker", "everything", HEALTH_DATA_DIR=directory).code == 2
    assert list(directory.iterdir()) == []


def test_a_worker_that_cannot_start_says_why(directory: Path):
    refusal = run("worker", DATABASE_URL="postgresql://localhost:1/none", HEALTH_DATA_DIR=directory).refusal
    assert refusal.startswith("HEALTH_SECRET_KEY must be set when DATABASE_URL is")
