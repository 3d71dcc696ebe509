"""What a mail is when it is read again, that nobody can write headers into it, and the folder that ships."""

import email.policy
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from health_services.outgoing import mail as module
from health_services.outgoing.errors import NotNow, Undeliverable
from health_services.outgoing.mail import Mail, MailFolder, SmtpMailer, mailer_of, sender_of
from health_services.settings import Settings
from tests.outgoing.smtp_servers import Desk, smtp_server

SENDER = Address("Clínica Norte, Zürich", "no-reply", "clinic.example.org")
NOW = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
ID = "notification-5.7f3a8f0e-1111-4222-8333-444455556666@clinic.example.org"
INVITATION = "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nSUMMARY:Grüße\r\nEND:VCALENDAR\r\n".encode()
LINE_BREAKS = ["\r\n", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x00"]


def mail(**changes: Any) -> Mail:
    fields: dict[str, Any] = {
        "to": "jane@example.org", "subject": "Your appointment", "text": "Hello", "html": "<p>Hello</p>",
        "message_id": ID, "language": "en",
    }  # fmt: skip
    return Mail(**fields | changes)


def written(given: Mail, sender: Address = SENDER) -> bytes:
    return given.message(sender, NOW).as_bytes()


def read(content: bytes) -> EmailMessage:
    """As a program for mail reads it, which finds nothing wrong with it."""
    message = message_from_bytes(content, policy=email.policy.default)
    for part in message.walk():
        assert not part.defects
        assert [(name, value.defects) for name, value in part.items() if value.defects] == []
    return message


def shape(message: Any) -> Any:
    """The types of the parts, as they are nested."""
    kind = message.get_content_type()
    return (kind, [shape(part) for part in message.iter_parts()]) if message.is_multipart() else kind


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def test_headers():
    message = read(written(mail(subject="Termin in München", language="de")))
    assert {name: str(value) for name, value in message.items() if name not in {"Content-Type", "From"}} == {
        "To": "jane@example.org", "Subject": "Termin in München", "Date": "Sun, 01 Mar 2026 10:30:00 +0000",
        "Message-ID": f"<{ID}>", "Auto-Submitted": "auto-generated", "Content-Language": "de", "MIME-Version": "1.0",
    }  # fmt: skip
    (sender,) = message["From"].addresses
    assert (sender.display_name, sender.addr_spec) == ("Clínica Norte, Zürich", "no-reply@clinic.example.org")


def test_text_and_html_are_alternatives():
    text, html = "नमस्ते\n.\nمرحبا " + "x" * 2000, "<p>Grüße</p>"
    message = read(written(mail(text=text, html=html)))
    assert shape(message) == ("multipart/alternative", ["text/plain", "text/html"])
    assert (body(message, "plain"), body(message, "html")) == (text + "\n", html + "\n")


@pytest.mark.parametrize("method", ["REQUEST", "CANCEL"])
def test_an_invitation_is_an_alternative_and_attached(method: str):
    message = read(written(mail(calendar=INVITATION, calendar_method=method)))
    assert shape(message) == (
        "multipart/mixed",
        [("multipart/alternative", ["text/plain", "text/html", "text/calendar"]), "application/ics"],
    )
    calendar = list(message.walk())[4]
    assert dict(calendar["Content-Type"].params) == {"method": method, "charset": "utf-8"}
    assert calendar.get_content_disposition() is None
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content_disposition()) == ("invite.ics", "attachment")
    assert calendar.get_payload(decode=True) == attached.get_payload(decode=True) == INVITATION
    assert message["Content-Language"] == "en"


@pytest.mark.parametrize(
    "subject",
    [
        "आपकी अपॉइंटमेंट: सोमवार, 23 नवंबर 2026, 9:00 am (उत्तरी अमेरिकी पूर्वी मानक समय)",
        "Erinnerung an Ihren Termin: Montag, 23. November 2026, 09:00 (Nordamerikanische Ostküsten-Normalzeit)",
        "Your appointment on Monday, 23 November 2026 at 9:00 am (Eastern Standard Time) is booked",
    ],
)
def test_a_subject_arrives_as_it_was_written(subject: str):
    """Also with programs that know nothing of this one's ways to write it."""
    plain = message_from_bytes(written(mail(subject=subject)))
    assert str(make_header(decode_header(str(plain["Subject"]).replace("\r\n", "")))) == subject


def test_it_passes_every_mail_server():
    content = written(mail(subject="ü" * 500, text="Grüße\n" * 500, html="x" * 5000, calendar=INVITATION * 50))
    lines = content.split(b"\r\n")
    assert content.isascii()
    assert b"\n" not in b"".join(lines)
    assert b"\r" not in b"".join(lines)
    assert max(len(line) for line in lines) < 200


def test_further_headers_are_written_as_they_are():
    url = f"<https://clinic.example.org/api/v1/unsubscribe/{'x' * 300}>"
    given = {"List-Unsubscribe": url, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "X-Place": "Zürich"}
    content = written(mail(headers=given))
    message = read(content)
    assert {name: str(message[name]) for name in given} == given
    assert f"\r\nList-Unsubscribe: {url}\r\n".encode() in content
    assert f"\r\nMessage-ID: <{ID}>\r\n".encode() in content


@pytest.mark.parametrize("line_break", LINE_BREAKS)
def test_nobody_writes_headers_or_a_body(line_break: str):
    attack = f"Jane{line_break}Bcc: victim@example.org{line_break}{line_break}<script>"
    flat = "Jane Bcc: victim@example.org <script>"
    given = mail(
        subject=attack, language=attack, message_id=attack, headers={"X-Name": attack, "X-Nom": f"é{attack}"},
        calendar=INVITATION, calendar_method=f"REQUEST{line_break}X-Evil: yes",
    )  # fmt: skip
    sender = sender_of(Settings(mail_from=f"Clinic{line_break}" * (line_break not in "\r\n") + "North <a@b.example>"))
    content = written(given, sender)
    message = read(content)
    assert set(message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Name", "X-Nom", "MIME-Version",
        "Content-Type", "Content-Language",
    }  # fmt: skip
    assert (message["Subject"], message["X-Name"], message["X-Nom"]) == (flat, flat, f"é{flat}")
    assert [address.addr_spec for address in message["From"].addresses] == ["a@b.example"]
    assert not re.search(rb"^(bcc|x-evil):", content, re.IGNORECASE | re.MULTILINE)
    assert len(list(message.walk())) == 6


def test_half_characters_are_no_obstacle():
    message = read(written(mail(subject="a\ud800b", text="a\ud800b", html="a\udfffb")))
    assert (message["Subject"], body(message, "plain"), body(message, "html")) == ("a b", "a?b\n", "a?b\n")


@pytest.mark.parametrize("headers", [
    {"Bad Name": "x"}, {"X-Evil\r\nBcc": "x"}, {"": "x"}, {"X:": "x"}, {"Subject": "another"}, {"Überschrift": "x"},
])  # fmt: skip
def test_a_header_that_cannot_be_written(headers: dict[str, str]):
    with pytest.raises(Undeliverable, match=r"^the message cannot be written as a mail$"):
        written(mail(headers=headers))


ADDRESSES = [
    "", "jane", "@example.org", "jane@", "jane@@example.org", "jane@example.org\r\nRCPT TO:<x@example.org>",
    "jane@example.org\n", "jane doe@example.org", "Jane <jane@example.org>", "jane@example.org, x@example.org",
    "jäne@example.org", "jane@exämple.org", '"jane"@example.org', "jane@[127.0.0.1]", "jane..doe@example.org",
    ".jane@example.org", "jane@example..org", "jane@-example.org", "jane@example-.org",
    "jane@example.org> SIZE=1", "a" * 243 + "@example.org",
]  # fmt: skip


async def test_an_unusable_address_is_not_tried(tmp_path: Path):
    async with smtp_server(Desk()) as desk:
        mailers = SmtpMailer(f"smtp://127.0.0.1:{desk.port}", SENDER, connections=1), MailFolder(tmp_path, SENDER)
        for mailer in mailers:
            for address in ADDRESSES:
                with pytest.raises(Undeliverable, match=r"^the address is not usable$"):
                    await mailer.send(mail(to=address))
            await mailer.send(mail(to="o'neill+a_b!#$%&*/=?^`{|}~-.x@a-b.example"))
    assert [arrived.recipients for arrived in desk.arrived] == [["o'neill+a_b!#$%&*/=?^`{|}~-.x@a-b.example"]]
    (file,) = tmp_path.iterdir()
    assert read(file.read_bytes())["To"] == "o'neill+a_b!#$%&*/=?^`{|}~-.x@a-b.example"


def test_nothing_of_a_person_is_in_its_repr():
    assert "jane" not in repr(mail())


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What is logged."""
    before = structlog.get_config()
    structlog.reset_defaults()  # another test may have asked for warnings only
    monkeypatch.setattr(module, "log", structlog.get_logger("health_services.mail"))
    with capture_logs() as lines:
        yield lines
    structlog.configure(**before)


async def test_the_folder(tmp_path: Path, log: list[Any]):
    folder = tmp_path / "data" / "mail"
    keeper = MailFolder(folder, SENDER)
    await keeper.send(mail(text="first"))
    await keeper.send(mail(text="second"))
    await MailFolder(folder, SENDER).send(mail(message_id="../../escaped/5@host", text="third"))
    await keeper.close()
    assert sorted(path.name for path in folder.iterdir()) == ["..-..-escaped-5@host.eml", f"{ID}.eml"]
    assert [path.name for path in tmp_path.rglob("*.eml") if path.parent != folder] == []
    assert body(read((folder / f"{ID}.eml").read_bytes()), "plain") == "second\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert log == [{"event": "mail is kept as files", "directory": str(folder), "log_level": "info"}]


async def test_a_folder_that_others_may_read_is_closed_to_them(tmp_path: Path):
    tmp_path.chmod(0o755)
    await MailFolder(tmp_path, SENDER).send(mail(message_id="x" * 1000))
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 200 + ".eml"]


async def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "mail").write_text("in the way")
    (tmp_path / f"{ID}.eml").mkdir()
    for folder in (tmp_path / "mail", tmp_path):
        with pytest.raises(NotNow, match=r"^the folder of mails cannot be written$"):
            await MailFolder(folder, SENDER).send(mail())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mail", f"{ID}.eml"]


@pytest.mark.parametrize(("mail_from", "public_url", "name", "address"), [
    (None, None, "", "no-reply@localhost"),
    (None, "https://health.example.org:8443/base", "", "no-reply@health.example.org"),
    (None, "https://gesünder.example", "", "no-reply@localhost"),
    (None, "http://[::1]:8000", "", "no-reply@localhost"),
    ("clinic@example.org", "https://health.example.org", "", "clinic@example.org"),
    ("Clínica Norte, Sur <clinic@example.org>", None, "Clínica Norte, Sur", "clinic@example.org"),
    ('"Clinic, North" <clinic@example.org>', None, "Clinic, North", "clinic@example.org"),
])  # fmt: skip
def test_the_sender(mail_from: str | None, public_url: str | None, name: str, address: str):
    sender = sender_of(Settings(mail_from=mail_from, public_url=public_url))
    assert (sender.display_name, sender.addr_spec) == (name, address)
    (parsed,) = read(written(mail(), sender))["From"].addresses
    assert (parsed.display_name, parsed.addr_spec) == (name, address)


async def test_the_mailer_of_the_settings(tmp_path: Path):
    kept = mailer_of(Settings(data_dir=tmp_path, public_url="https://health.example.org"))
    await kept.send(mail())
    (file,) = (tmp_path / "mail").iterdir()
    assert read(file.read_bytes())["From"] == "no-reply@health.example.org"
    async with smtp_server(Desk()) as desk:
        settings = Settings(smtp_url=f"smtp://127.0.0.1:{desk.port}", mail_from="Clinic <clinic@example.org>")
        mailer = mailer_of(settings)
        await mailer.send(mail())
        await mailer.close()
    (arrived,) = desk.arrived
    assert arrived.sender == "clinic@example.org"
    assert read(arrived.content)["From"] == "Clinic <clinic@example.org>"
    assert read(arrived.content)["Date"].datetime.utcoffset() is not None
