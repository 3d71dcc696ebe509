"""`mail-test`: what it tells the operator, in the mail server's own words."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests.cli.commands import run
from tests.cli.test_messages import message_of
from tests.outgoing.smtp_servers import Desk, certificate, scripted_server, smtp_server
from tests.outgoing.test_smtp import refuse_everybody

TO = "somebody@example.org"


async def refused(url: str, directory: Path, to: str = TO) -> str:
    """What follows the server's name in the refusal."""
    place = url.rpartition("@")[2].rpartition("//")[2]
    done = await asyncio.to_thread(run, "mail-test", to, HEALTH_SMTP_URL=url, HEALTH_DATA_DIR=directory)
    assert list(directory.iterdir()) == []
    begins = f"The test mail was not sent ({place.replace(':', ', port ')}): "
    assert done.refusal.startswith(begins)
    assert len(done.err.splitlines()) == 1
    return done.refusal.removeprefix(begins)


def test_into_the_folder(directory: Path):
    done = run("mail-test", TO, HEALTH_DATA_DIR=directory)
    assert (done.code, done.out) == (0, "")
    folder = directory / "mail"
    sentence = f"No mail server is set (HEALTH_SMTP_URL); the mail is a file in {folder}."
    assert done.err.splitlines()[-1] == sentence
    (file,) = folder.iterdir()
    assert str(message_of(file.read_bytes())["To"]) == TO
    assert [path.name for path in directory.iterdir()] == ["mail"]


def test_into_a_folder_that_cannot_be_written(directory: Path):
    (directory / "mail").touch()
    refusal = run("mail-test", TO, HEALTH_DATA_DIR=directory).refusal
    assert refusal == "The test mail was not sent: the folder of mails cannot be written: File exists."


async def test_to_a_server(directory: Path):
    settings = {"HEALTH_DATA_DIR": directory, "HEALTH_MAIL_FROM": "Clinic <clinic@example.org>"}
    async with smtp_server(Desk()) as desk:
        url = f"smtp://127.0.0.1:{desk.port}"
        done = await asyncio.to_thread(run, "mail-test", TO, HEALTH_SMTP_URL=url, **settings)
    assert done.code == 0
    assert done.err.splitlines()[-1] == f"The mail server took the test mail from clinic@example.org to {TO}."
    assert [(arrived.sender, arrived.recipients) for arrived in desk.arrived] == [("clinic@example.org", [TO])]
    assert list(directory.iterdir()) == []


async def test_to_a_server_that_refuses(directory: Path):
    desk = Desk(
        at_recipient={TO: "550 5.1.1 <somebody@example.org>: no such box", "late@example.org": "451 \x1b[31mlater\x07"},
        accounts={"clinic": "right"},
    )
    async with smtp_server(desk) as desk:
        url = f"smtp://clinic:right@127.0.0.1:{desk.port}"
        told = [
            await refused(url, directory),
            await refused(url, directory, "late@example.org"),
            await refused(url.replace("right", "wrong"), directory),
        ]
    assert told == [
        "refused by the mail server (550): 550 5.1.1 <somebody@example.org>: no such box.",
        "put off by the mail server (451): 451 [31mlater.",
        "the mail server refused the login (535): 535 5.7.8 Authentication credentials invalid.",
    ]


async def test_to_a_server_that_talks_to_nobody(directory: Path):
    async with scripted_server(refuse_everybody) as port:
        told = await refused(f"smtp://127.0.0.1:{port}", directory)
    assert told == "put off by the mail server (554): 554 not for you."


async def test_to_nobody(directory: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told = await refused(f"smtp://clinic:a-password@127.0.0.1:{port}", directory)
    assert told == "the mail server cannot be reached: Connection refused."
    told = await refused("smtp://nowhere.invalid:25", directory)
    begins = "the mail server cannot be reached: "
    assert told.startswith(begins)
    assert "ame" in told.removeprefix(begins)  # as the resolver says it: name not known, temporary failure in name …


async def test_without_the_tls_that_is_asked_for(directory: Path, tmp_path: Path):
    async with smtp_server(Desk()) as plain:
        told = await refused(f"smtps://127.0.0.1:{plain.port}", directory)
        assert told.lower() == "no tls with the mail server: wrong version number."
        told = await refused(f"smtp+starttls://127.0.0.1:{plain.port}", directory)
        assert told == "the mail server offers no STARTTLS."
    itself = certificate(tmp_path, "localhost")
    for scheme, kind in (("smtps", "tls"), ("smtp+starttls", "starttls")):
        async with smtp_server(Desk(), **{kind: itself.server}) as own:
            told = await refused(f"{scheme}://localhost:{own.port}", directory)
        assert told == "the certificate of the mail server is not trusted: self-signed certificate."


@pytest.mark.parametrize(("to", "environment", "refusal"), [
    ("nonsense", {}, "The test mail was not sent: the address is not usable."),
    (TO, {"HEALTH_SMTP_URL": "mail.example.org"}, "HEALTH_SMTP_URL: must be a URL such as smtp://"),
])  # fmt: skip
def test_what_cannot_be_tried(to: str, environment: dict[str, str], refusal: str, directory: Path):
    assert run("mail-test", to, HEALTH_DATA_DIR=directory, **environment).refusal.startswith(refusal)
    assert list(directory.iterdir()) == []
