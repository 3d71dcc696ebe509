"""The operator's commands that send: `serve`, `serve --no-worker`, `worker`, `mail-test`; and `/metrics`."""

import asyncio
import email
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from health_services.access.tokens import Tokens
from tests.cli.commands import SECRET, Command, eventually, run, serving, stop
from tests.cli.conftest import Databases
from tests.cli.test_start import two_urls
from tests.factories import World, booking
from tests.outgoing.smtp_servers import Desk, smtp_server

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
    return httpx.get(client.base_url.join("/metrics"))


@pytest.fixture
async def place(databases: Databases, directory: Path) -> AsyncIterator[Place]:
    """Nothing is on its way yet."""
    database = await databases(migrate=True)
    owner = await asyncpg.connect(database.owner_url)
    world = World(owner, Tokens(SECRET.encode(), timedelta(hours=1)))
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


async def test_what_is_under_way_is_finished(place: Place):
    """The worker is told to stop while the mail server still thinks."""
    with serving("--no-worker", **place.environment) as (_, client):
        told = await place.book(client)
    async with smtp_server(SlowDesk()) as desk:
        assert isinstance(desk, SlowDesk)
        worker = Command("worker", **place.environment, HEALTH_SMTP_URL=f"smtp://127.0.0.1:{desk.port}")
        try:
            async with asyncio.timeout(120):
                while not desk.is_in_data:
                    await asyncio.sleep(0.01)
            worker.terminate()
            assert await place.states() == [("queued", 1)]
            desk.released.set()
            done = await asyncio.to_thread(worker.wait, 60)
        finally:
            stop(worker)
    assert done.code == 0, done.err
    assert [arrived.recipients for arrived in desk.arrived] == [[told]]
    assert await place.states() == [("sent", 1)]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_figures_that_are_switched_off_are_not_shown(place: Place, workers: str):
    with serving("--workers", workers, **place.environment, HEALTH_METRICS="off") as (_, client):
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


def test_a_test_mail_into_the_folder(directory: Path):
    done = run("mail-test", "somebody@example.org", HEALTH_DATA_DIR=directory)
    assert (done.code, done.out) == (0, "")
    folder = directory / "mail"
    sentence = f"No mail server is set (HEALTH_SMTP_URL); the mail is a file in {folder}."
    assert done.err.splitlines()[-1] == sentence
    (file,) = folder.iterdir()
    assert str(message_of(file.read_bytes())["To"]) == "somebody@example.org"
    assert [path.name for path in directory.iterdir()] == ["mail"]


async def test_a_test_mail_to_a_server(directory: Path):
    settings = {"HEALTH_DATA_DIR": directory, "HEALTH_MAIL_FROM": "Clinic <clinic@example.org>"}
    async with smtp_server(Desk(at_recipient={"nobody@example.org": "550 no such box"})) as desk:
        url = f"smtp://127.0.0.1:{desk.port}"
        done = await asyncio.to_thread(run, "mail-test", "somebody@example.org", HEALTH_SMTP_URL=url, **settings)
        refused = await asyncio.to_thread(run, "mail-test", "nobody@example.org", HEALTH_SMTP_URL=url, **settings)
    assert done.code == 0
    sentence = "The mail server took the test mail from clinic@example.org to somebody@example.org."
    assert done.err.splitlines()[-1] == sentence
    assert [(arrived.sender, arrived.recipients) for arrived in desk.arrived] == [
        ("clinic@example.org", ["somebody@example.org"])
    ]
    assert refused.refusal == "The test mail was not sent: refused by the mail server (550)."
    assert list(directory.iterdir()) == []


def test_a_test_mail_that_is_not_sent_says_why(directory: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = {"HEALTH_DATA_DIR": directory}
    unreachable = f"smtp://clinic:a-password@127.0.0.1:{port}"
    refusal = run("mail-test", "somebody@example.org", HEALTH_SMTP_URL=unreachable, **settings).refusal
    assert refusal == "The test mail was not sent: the mail server cannot be reached."
    assert run("mail-test", "nonsense", **settings).refusal == "The test mail was not sent: the address is not usable."
    wrong = run("mail-test", "somebody@example.org", HEALTH_SMTP_URL="mail.example.org", **settings).refusal
    assert wrong.startswith("HEALTH_SMTP_URL: must be a URL such as smtp://")
    assert list(directory.iterdir()) == []


def test_without_an_address_the_command_line_is_off(directory: Path):
    assert run("mail-test", HEALTH_DATA_DIR=directory).code == 2
    assert run("worker", "everything", HEALTH_DATA_DIR=directory).code == 2
    assert list(directory.iterdir()) == []


def test_a_worker_that_cannot_start_says_why(directory: Path):
    refusal = run("worker", DATABASE_URL="postgresql://localhost:1/none", HEALTH_DATA_DIR=directory).refusal
    assert refusal.startswith("HEALTH_SECRET_KEY must be set when DATABASE_URL is")
    malformed = {"HEALTH_VAPID_PRIVATE_KEY": "no key", "HEALTH_DATA_DIR": directory}
    assert run("worker", **malformed).refusal.startswith("HEALTH_VAPID_PRIVATE_KEY must be a P-256 private key")
