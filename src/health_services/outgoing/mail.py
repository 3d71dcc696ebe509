"""Mail: what one is, how it is written down, and the two ways it goes: to a mail server, or into a folder."""

import asyncio
import os
import re
import ssl
import tempfile
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from health_services.outgoing.errors import NotNow, Undeliverable
from health_services.outgoing.smtp import SmtpConnections, SmtpServer
from health_services.settings import Settings
from health_services.written_forms import is_address

TIMEOUT_SECONDS = 30.0
LONGEST_FILE_NAME = 200
# RFC 5322, 2.1.1 allows lines of 998 characters; the rest is for the header's name.
LONGEST_VERBATIM = 900

log = structlog.get_logger("health_services.mail")

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_UNSAFE_IN_ID = re.compile(r"[^A-Za-z0-9.@_+=-]")
# Seven bits pass every mail server.
_POLICY = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True, repr=False)
class Mail:
    """One message to one person.

    `message_id` has no angle brackets and is the same at every attempt. `calendar` is an iCalendar object, and
    `calendar_method` the METHOD that stands in it: "REQUEST" or "CANCEL".
    """

    to: str
    subject: str
    text: str
    html: str
    message_id: str
    language: str
    calendar: bytes | None = None
    calendar_method: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def message(self, sender: Address, now: datetime) -> EmailMessage:
        """As it is sent, in seven-bit ASCII: text, HTML and invitation are alternatives, `invite.ics` is attached.

        Line breaks and control characters in a header become spaces. Raises Undeliverable for an address that is no
        ASCII address, and for a header that cannot be written.
        """
        if not is_address(self.to):
            raise Undeliverable("the address is not usable")
        try:
            return self._message(sender, now)
        except ValueError:  # for example a header that may stand there only once
            raise Undeliverable("the message cannot be written as a mail") from None

    def _message(self, sender: Address, now: datetime) -> EmailMessage:
        message = EmailMessage(_POLICY)
        message["From"] = sender
        message["To"] = _address(self.to)
        _add_text(message, "Subject", _one_line(self.subject))
        message["Date"] = now
        _add(message, "Message-ID", f"<{_plain_id(self.message_id)}>")
        message["Auto-Submitted"] = "auto-generated"
        for name, value in self.headers.items():
            _add(message, name, _one_line(value))
        message.set_content(_encodable(self.text))
        message.add_alternative(_encodable(self.html), subtype="html")
        if self.calendar is not None:
            method = {"method": _one_line(self.calendar_method)} if self.calendar_method else {}
            message.add_alternative(
                self.calendar, maintype="text", subtype="calendar", params={**method, "charset": "utf-8"}
            )
            # The name that Gmail gives it: a second text/calendar would be a second invitation to some programs.
            message.add_attachment(self.calendar, maintype="application", subtype="ics", filename="invite.ics")
        message["Content-Language"] = _one_line(self.language)  # earlier, it would have moved into the first part
        return message


class Mailer(Protocol):
    """Sends mails."""

    async def send(self, mail: Mail) -> None:
        """Returns once somebody else has taken the mail over; raises Undeliverable, NotNow."""

    async def close(self) -> None:
        """Lets go of whatever is open."""


class SmtpMailer:
    """Hands mails to the server at `url` over at most `connections` connections.

    `smtp://` uses STARTTLS where the server offers it, with any certificate; `smtp+starttls://` and `smtps://`
    insist on TLS and a certificate that `context`, or else the system, trusts. A login is never sent in the clear
    except to this machine. One send takes at most `timeout` seconds. Raises ValueError for another kind of URL.
    """

    def __init__(
        self,
        url: str,
        sender: Address,
        *,
        connections: int,
        timeout: float = TIMEOUT_SECONDS,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._sender = sender
        server = SmtpServer.at(url)
        self._smtp = SmtpConnections(
            server, sender.addr_spec, connections=connections, timeout=timeout, context=context
        )

    async def send(self, mail: Mail) -> None:
        """Returns once the server has taken the mail over; raises Undeliverable, NotNow."""
        await self._smtp.send(mail.to, mail.message(self._sender, datetime.now(UTC)).as_bytes())

    async def close(self) -> None:
        """Takes leave of the server."""
        await self._smtp.close()


class MailFolder:
    """Keeps each mail as `<message_id>.eml` in a folder that only this user can read; the log says so once."""

    def __init__(self, path: Path, sender: Address) -> None:
        self._path = path
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        """Returns once the file is there, in place of an earlier one of this mail; raises Undeliverable, NotNow."""
        content = mail.message(self._sender, datetime.now(UTC)).as_bytes()
        name = f"{_plain_id(mail.message_id)[:LONGEST_FILE_NAME]}.eml"
        try:
            await asyncio.to_thread(_write, self._path, name, content)
        except OSError:
            raise NotNow("the folder of mails cannot be written") from None
        _tell(self._path)

    async def close(self) -> None:
        """Nothing is open."""


def mailer_of(settings: Settings) -> Mailer:
    """The mail server where one is set, else the folder `mail` of the data directory."""
    sender = sender_of(settings)
    if settings.smtp_url is None:
        return MailFolder(folder_of_mails(settings), sender)
    return SmtpMailer(settings.smtp_url.get_secret_value(), sender, connections=settings.worker_concurrency)


def folder_of_mails(settings: Settings) -> Path:
    """Where mails are kept as files while no mail server is set, and may still be afterwards."""
    return settings.data_dir / "mail"


def sender_of(settings: Settings) -> Address:
    """Whom mails come from: `mail_from`, else no-reply@ the public host, or @localhost where that has no ASCII name."""
    if settings.mail_from is None:
        address = f"no-reply@{urlsplit(settings.public_url or '').hostname or 'localhost'}"
        return _address(address if is_address(address) else "no-reply@localhost")
    name, _, address = settings.mail_from.removesuffix(">").rpartition("<")
    return _address(address, re.sub(r'^"(.*)"$', r"\1", _one_line(name)))


def _address(address: str, name: str = "") -> Address:
    local, _, domain = address.rpartition("@")
    return Address(name, local, domain)


class _Verbatim(str):
    """The value of a header that is written as it is."""

    name: str

    def fold(self, *, policy: EmailPolicy) -> str:
        return f"{self.name}: {self}{policy.linesep}"


def _add(message: EmailMessage, name: str, value: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("not a header")
    if value.isascii() and len(value) <= LONGEST_VERBATIM:
        # The library would break a long URL into encoded words, which are no URL any more, and a long Message-ID
        # would begin in the second line, where not everybody looks for it.
        _write_as_it_is(message, name, value)
    else:
        message[name] = value


def _add_text(message: EmailMessage, name: str, text: str) -> None:
    """In encoded words where it is not ASCII; those of the message's own folding lose and double spaces."""
    if text.isascii():
        _add(message, name, text)
    else:
        _write_as_it_is(message, name, Header(text, "utf-8", header_name=name).encode(linesep="\r\n"))


def _write_as_it_is(message: EmailMessage, name: str, value: str) -> None:
    verbatim = _Verbatim(value)
    verbatim.name = name
    message[name] = verbatim


def _one_line(text: str) -> str:
    """Without line breaks, control characters and half characters."""
    return " ".join("".join(" " if unicodedata.category(c) in {"Cc", "Cs"} else c for c in text).split())


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _plain_id(message_id: str) -> str:
    return _UNSAFE_IN_ID.sub("-", message_id)


def _write(folder: Path, name: str, content: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".")  # readable by its owner alone
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).replace(folder / name)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


@cache
def _tell(folder: Path) -> None:
    log.info("mail is kept as files", directory=str(folder))
