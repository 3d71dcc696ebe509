"""Speaking SMTP: where the server is, a few connections that are kept, and what its answers mean for us."""

import asyncio
import ipaddress
import os
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote, urlsplit

import aiosmtplib

from health_services.outgoing.errors import NotNow, SendingFailed, Undeliverable

DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
IDLE_SECONDS = 30.0
LEAVE_SECONDS = 2.0
# Read from the top: the first that fits speaks.
REASONS: tuple[tuple[type[Exception], str], ...] = (
    (ssl.SSLCertVerificationError, "the certificate of the mail server is not trusted"),
    (ssl.SSLError, "no TLS with the mail server"),
    (TimeoutError, "the mail server did not answer in time"),
    (aiosmtplib.SMTPAuthenticationError, "the mail server refused the login"),
    (aiosmtplib.SMTPSenderRefused, "the mail server refused the sender"),
    (aiosmtplib.SMTPResponseException, "put off by the mail server"),
    (aiosmtplib.SMTPServerDisconnected, "the mail server hung up"),
    (OSError, "the mail server cannot be reached"),
    (ValueError, "the mail server cannot be reached"),  # a host name that is none
    (aiosmtplib.SMTPException, "the mail server offers no login that we know"),
)


@dataclass(frozen=True, repr=False)
class SmtpServer:
    """Where mail is handed over, how the way there is encrypted, and as whom."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: str

    @classmethod
    def at(cls, url: str) -> "SmtpServer":
        """What an `smtp://`, `smtp+starttls://` or `smtps://` URL says; raises ValueError for any other."""
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError("not the URL of a mail server")
        user = unquote(parts.username) if parts.username else None
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname, port, user, unquote(parts.password or ""))

    @property
    def is_loopback(self) -> bool:
        """Whether the name alone says that nothing leaves this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    def context(self) -> ssl.SSLContext:
        """Verifies the certificate, unless the alternative to this encryption is none at all.

        With a password the alternative is to send nothing, so that only who is who he says he is hears it.
        """
        context = ssl.create_default_context()
        if self.scheme == "smtp" and (not self.user or self.is_loopback):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class SmtpConnections:
    """Hands messages to one server over at most `connections` connections, which are kept for the next message.

    One that is unused for `idle` seconds is closed, and one that went wrong at once. A whole `send`, waiting for a
    connection included, takes at most `timeout` seconds.
    """

    def __init__(
        self,
        server: SmtpServer,
        sender: str,
        *,
        connections: int,
        timeout: float,
        idle: float = IDLE_SECONDS,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._server = server
        self._sender = sender
        self._timeout = timeout
        self._idle = idle
        self._context = context or server.context()
        self._places = asyncio.Semaphore(connections)
        self._kept: dict[aiosmtplib.SMTP, asyncio.TimerHandle] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def send(self, recipient: str, content: bytes) -> None:
        """Hand over one message; raises Undeliverable, NotNow."""
        try:
            async with asyncio.timeout(self._timeout), self._places:
                await self._send(recipient, content)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            # What the server said may name the person: no traceback shows it, only `words_about` finds it.
            raise _meaning(error) from None

    async def close(self) -> None:
        """Take leave of the server; a message under way is finished, and its connection is not kept."""
        self._is_closed = True
        for smtp in list(self._kept):
            self._retire(smtp)
        await asyncio.gather(*self._leaving)

    async def _send(self, recipient: str, content: bytes) -> None:
        smtp = await self._begin()
        is_usable = False
        try:
            await smtp.rcpt(recipient)
            await smtp.data(content)
            is_usable = True
        except (aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError):
            with suppress(aiosmtplib.SMTPException):
                await smtp.rset()
                is_usable = True
            raise
        finally:
            if is_usable:
                self._keep(smtp)
            else:
                _drop(smtp)

    async def _begin(self) -> aiosmtplib.SMTP:
        """A connection on which the sender was accepted.

        What goes wrong this early on a kept one may be due to its age, and nothing was sent yet: a new one decides.
        """
        while (kept := self._take()) is not None:
            with suppress(aiosmtplib.SMTPException):
                return await self._announce(kept)
        return await self._announce(await self._open())

    async def _announce(self, smtp: aiosmtplib.SMTP) -> aiosmtplib.SMTP:
        try:
            await smtp.mail(self._sender)
        except BaseException:
            _drop(smtp)
            raise
        return smtp

    async def _open(self) -> aiosmtplib.SMTP:
        server = self._server
        smtp = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.scheme == "smtps",
            tls_context=self._context,
            # The machine's own name may take the resolver long to find, and is often none that others know.
            local_hostname=self._sender.rpartition("@")[2],
            timeout=None,
        )
        try:
            await smtp.connect()  # with STARTTLS where it is offered
            await self._log_in(smtp, is_encrypted=smtp.get_transport_info("sslcontext") is not None)
        except BaseException:
            _drop(smtp)
            raise
        return smtp

    async def _log_in(self, smtp: aiosmtplib.SMTP, *, is_encrypted: bool) -> None:
        server = self._server
        if server.scheme == "smtp+starttls" and not is_encrypted:
            raise NotNow("the mail server offers no STARTTLS")
        if server.user is None:
            return
        if not is_encrypted and not server.is_loopback:
            raise NotNow("the mail server offers no STARTTLS, and the login would be sent in the clear")
        await smtp.login(server.user, server.password)

    def _take(self) -> aiosmtplib.SMTP | None:
        if not self._kept:
            return None
        smtp, timer = self._kept.popitem()
        timer.cancel()
        return smtp

    def _keep(self, smtp: aiosmtplib.SMTP) -> None:
        if self._is_closed:
            _drop(smtp)
        else:
            self._kept[smtp] = asyncio.get_running_loop().call_later(self._idle, self._retire, smtp)

    def _retire(self, smtp: aiosmtplib.SMTP) -> None:
        self._kept.pop(smtp).cancel()
        task = asyncio.get_running_loop().create_task(_leave(smtp))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


async def _leave(smtp: aiosmtplib.SMTP) -> None:
    with suppress(aiosmtplib.SMTPException, TimeoutError):
        async with asyncio.timeout(LEAVE_SECONDS):
            await smtp.execute_command(b"QUIT")
    _drop(smtp)
    await asyncio.sleep(0)  # the transport lets go of its socket in the next round of the loop


def _drop(smtp: aiosmtplib.SMTP) -> None:
    """Closes at once: closed in good order, the rest of a message that counts as not sent would still be sent."""
    transport = cast("asyncio.WriteTransport | None", smtp.transport)
    if transport is not None:
        transport.abort()
    smtp.close()


def words_about(failure: SendingFailed) -> str:
    """What the mail server or the system said when a mail was not sent, on one line; empty where they said nothing.

    For the terminal of whoever tries the settings, and nothing that is kept: it may name the person.
    """
    error = failure.__context__
    cause = error.__cause__ if error is not None and isinstance(error.__cause__, OSError) else error
    if isinstance(cause, aiosmtplib.SMTPResponseException):
        said = f"{cause.code} {cause.message}" if cause.code > 0 else cause.message
    elif isinstance(cause, ssl.SSLError):
        known = cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else cause.reason
        said = (known or str(cause)).replace("_", " ").lower()
    elif isinstance(cause, OSError) and cause.errno and not isinstance(cause, socket.gaierror):
        said = os.strerror(cause.errno)  # asyncio's own text is of calls and tuples
    else:
        said = str(getattr(cause, "strerror", None) or cause or "")
    return " ".join("".join(c for c in said if c.isprintable() or c.isspace()).split()).rstrip(".")


def _meaning(error: Exception) -> SendingFailed:
    code = ""
    if isinstance(error, aiosmtplib.SMTPResponseException) and error.code > 0:  # -1 stands for what is no answer
        code = f" ({error.code})"
    if isinstance(error, aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError) and 500 <= error.code < 600:
        return Undeliverable(f"refused by the mail server{code}")
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    return NotNow(next(reason for kind, reason in REASONS if isinstance(cause, kind)) + code)
