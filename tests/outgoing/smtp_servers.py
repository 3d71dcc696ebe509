"""Mail servers on this machine, one that keeps what it is sent and scripted ones, and how mail gets there."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from health_services.outgoing.errors import NotNow
from health_services.outgoing.mail import Mail, SmtpMailer

SENDER = Address("Clinic", "no-reply", "clinic.example.org")
Dialogue = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Arrived:
    """One message, as the server took it."""

    sender: str
    recipients: list[str]
    content: bytes
    is_encrypted: bool
    login: str | None


@dataclass
class Desk:
    """What a server is told to do, and what it saw."""

    # What is answered to RCPT of these addresses, to DATA for them, and to the nth MAIL of a connection (from 1).
    at_recipient: dict[str, str] = field(default_factory=dict)
    at_data: dict[str, str] = field(default_factory=dict)
    at_mail: dict[int, str] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)
    hangs_up_after_mail: bool = False
    stops_after_data: bool = False

    port: int = 0
    arrived: list[Arrived] = field(default_factory=list)
    seen: bytearray = field(default_factory=bytearray)
    connections: int = 0
    open: int = 0
    most_open: int = 0
    is_in_data: bool = False

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: "_Conversation", session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        server.mails += 1
        if server.mails in self.at_mail:
            return self.at_mail[server.mails]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: "_Conversation", session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.at_recipient:
            return self.at_recipient[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: "_Conversation", session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.is_in_data = True
        if self.stops_after_data:
            await asyncio.Event().wait()
        if envelope.rcpt_tos[0] in self.at_data:
            return self.at_data[envelope.rcpt_tos[0]]
        is_encrypted = server.transport.get_extra_info("sslcontext") is not None
        login = session.auth_data if session.authenticated else None
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        self.arrived.append(Arrived(envelope.mail_from or "", envelope.rcpt_tos, content, is_encrypted, login))
        if self.hangs_up_after_mail:
            asyncio.get_running_loop().call_soon(server.transport.close)
        return "250 OK"

    def authenticate(
        self, server: Any, session: Session, envelope: Envelope, mechanism: str, given: LoginPassword
    ) -> AuthResult:
        login = given.login.decode()
        is_known = self.accounts.get(login) == given.password.decode()
        return AuthResult(success=is_known, handled=False, auth_data=login)

    @property
    def commands(self) -> list[str]:
        """The first words of what was said in the clear or is decrypted, messages included."""
        return [line.split(" ")[0].upper() for line in self.seen.decode("latin-1").split("\r\n") if line]


class _Conversation(SMTP):
    """One connection."""

    transport: Any

    def __init__(self, desk: Desk, **options: Any) -> None:
        super().__init__(desk, hostname="mail.test", loop=asyncio.get_running_loop(), **options)
        self.desk = desk
        self.mails = 0
        self.wire: Any = None
        self.is_counted = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.wire is None:  # once more after STARTTLS, with another transport
            self.wire = transport
            self.is_counted = True
            self.desk.connections += 1
            self.desk.open += 1
            self.desk.most_open = max(self.desk.most_open, self.desk.open)

    def data_received(self, data: bytes) -> None:
        self.desk.seen += data
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.is_counted:
            self.is_counted = False
            self.desk.open -= 1
        super().connection_lost(error)


@asynccontextmanager
async def smtp_server(
    desk: Desk, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Desk]:
    """A server for `desk` on 127.0.0.1; afterwards no conversation is left."""
    conversations: list[_Conversation] = []

    def converse() -> _Conversation:
        login = {"authenticator": desk.authenticate, "auth_require_tls": False} if desk.accounts else {}
        without = [] if desk.accounts else ["LOGIN", "PLAIN"]
        new = _Conversation(desk, tls_context=starttls, auth_exclude_mechanism=without, **login)
        conversations.append(new)
        return new

    server = await asyncio.get_running_loop().create_server(converse, "127.0.0.1", 0, ssl=tls)
    desk.port = server.sockets[0].getsockname()[1]
    try:
        yield desk
    finally:
        server.close()
        for conversation in conversations:
            if conversation.wire is not None:  # none where TLS came to nothing
                conversation.wire.abort()
        tasks = [c._handler_coroutine for c in conversations if c._handler_coroutine is not None]
        for task in tasks:  # aiosmtpd waits for ever where the client gave up TLS
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def scripted_server(dialogue: Dialogue) -> AsyncIterator[int]:
    """A server on 127.0.0.1 that says what `dialogue` says; its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await dialogue(reader, writer)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def mail(to: str = "jane@example.org", text: str = "Hello") -> Mail:
    return Mail(to, "Your appointment", text, "<p>Hello</p>", f"notification-1.{to}", "en")


@asynccontextmanager
async def mailer(
    url: str, connections: int = 4, timeout: float = 60, context: ssl.SSLContext | None = None
) -> AsyncIterator[SmtpMailer]:
    opened = SmtpMailer(url, SENDER, connections=connections, timeout=timeout, context=context)
    try:
        yield opened
    finally:
        await opened.close()


async def refusal(url: str, to: str = "jane@example.org", context: ssl.SSLContext | None = None) -> str:
    """Why a mail is not sent now."""
    async with mailer(url, context=context) as to_server:
        with pytest.raises(NotNow) as caught:
            await to_server.send(mail(to))
    return caught.value.reason


async def say(writer: asyncio.StreamWriter, *lines: str) -> None:
    writer.write("".join(f"{line}\r\n" for line in lines).encode())
    await writer.drain()


async def until(condition: Callable[[], bool]) -> None:
    """Returns when it holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Certificate:
    """A certificate for one server: its context, and that of a client which trusts it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def certificate(directory: Path, *names: str) -> Certificate:
    """Self-signed, for these host names or addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a mail server of tests")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return Certificate(server, ssl.create_default_context(cafile=str(file)))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
