"""What every HTTP request to elsewhere shares: which addresses it may reach, how long it lasts, how much is read.

URLs come from people, so a name may lead into our own network, and may lead elsewhere a moment later. The guard
therefore stands where the socket is made, and judges the very address that is connected to.
"""

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from health_services.outgoing.errors import NotNow, Undeliverable

ANSWER_LIMIT_BYTES = 65_536
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
NAME_TIMEOUT_SECONDS = 3.0
USER_AGENT = "health-services"

_IPV6_IN_USE = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Public by number only: protocol assignments (clouds put metadata there), 6to4 relays, Azure's wire server,
# documentation. Not every supported Python knows the first and the last.
_SPECIAL = tuple(
    ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20")
)

# Of their own: names that strangers choose may be slow to resolve, and must hold up the threads of nothing else; those
# that somebody registers, again and again perhaps, not even those of what is sent, nor pushes those of webhooks.
_SENDING_THREADS = 16
_REGISTERING_THREADS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="names_to_register")


class PrivateAddress(Undeliverable):
    """The URL leads to an address that is not public."""

    def __init__(self) -> None:
        super().__init__("the address is not public")


class NoAnswer(NotNow):
    """Nobody was reached, or nobody answered in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `retry_after` in seconds where a time was named, `body` as sent, cut at 64 KiB."""

    status: int
    retry_after: float | None
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 2xx."""
        return 200 <= self.status < 300


def is_public(address: str) -> bool:
    """Whether this numeric address belongs to the public internet, as does any IPv4 address inside it.

    Text that is not the canonical form of an address, and one with a zone, is not public.
    """
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(number, ipaddress.IPv6Address):
        inner = _ipv4_inside(number)
        if inner is not None:
            return is_public(str(inner))
        if number.scope_id is not None or number not in _IPV6_IN_USE:
            return False
    if any(number in network for network in _SPECIAL):
        return False
    # Teredo (2001::/32) is never global: whatever it carries is refused with it.
    return number.is_global and not (number.is_multicast or number.is_reserved or number.is_unspecified)


def _ipv4_inside(number: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if number.scope_id is not None:
        return None
    if number in _NAT64:
        return ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
    return number.ipv4_mapped or number.sixtofour


class _NotPublicError(OSError):
    """Refused before it is connected to; an OSError, so that aiohttp treats it as any connection that failed."""


def _public_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        # always the same words: a name with several such addresses still ends in this error
        raise _NotPublicError("not public")
    return socket.socket(family=family, type=kind, proto=protocol)


class _Names(AbstractResolver):
    """Resolves names in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=_SENDING_THREADS, thread_name_prefix="names_to_send_to")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=kind,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, address in await _addresses(host, self._threads, family)
        ]

    async def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _addresses(host: str, threads: ThreadPoolExecutor, family: int = socket.AF_UNSPEC) -> list[tuple[int, str]]:
    """The address families and numeric addresses that the name has now; raises OSError or UnicodeError."""
    found = await asyncio.get_running_loop().run_in_executor(
        threads, lambda: socket.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM)
    )
    return [(kind, str(address[0])) for kind, _, _, _, address in found]


def outgoing_session(*, allow_private: bool, timeout: float = 20) -> aiohttp.ClientSession:
    """A session for `post`, of the running event loop; whoever asks for it closes it.

    Unless `allow_private`, it connects to public addresses only. A whole request, its answer included, lasts
    `timeout` seconds at most. It keeps no cookies, reads no proxy or .netrc of the environment, unpacks nothing.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=None if allow_private else _Names(),
            use_dns_cache=False,
            socket_factory=None if allow_private else _public_socket,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=timeout),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )


async def post(
    session: aiohttp.ClientSession,
    url: str,
    *,
    data: bytes,
    headers: Mapping[str, str],
    auth: tuple[str, str] | None = None,
    reads_body: bool = False,
) -> Answer:
    """Send one POST and give what was answered, whatever the status; redirects are answers, too.

    `auth` is a user and a password. The status is what counts: the body is not waited for unless `reads_body`, and one
    that breaks off or does not end is cut where it is. Raises PrivateAddress, Undeliverable where the URL cannot be
    used, NoAnswer.
    """
    sent = dict(headers)
    if auth is not None:
        sent["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
    try:
        async with session.post(url, data=data, headers=sent, allow_redirects=False) as response:
            body = await _beginning(response.content) if reads_body else b""
            retry_after = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            return Answer(response.status, retry_after, body)
    # the errors of aiohttp name the address: none of them is passed on
    except TimeoutError:
        raise NoAnswer("no answer in time") from None
    except aiohttp.ClientConnectorDNSError:
        raise NoAnswer("the name could not be resolved") from None
    except (aiohttp.ClientConnectorSSLError, aiohttp.ClientConnectorCertificateError):
        raise NoAnswer("no trustworthy TLS connection") from None
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, _NotPublicError):
            raise PrivateAddress from None
        raise NoAnswer("no connection") from None
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, UnicodeError):
        raise Undeliverable("the URL cannot be used") from None
    except (aiohttp.ClientError, OSError):
        raise NoAnswer("the connection broke") from None


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """At most 64 KiB of a body: less where it ends, breaks off or takes too long."""
    body = bytearray()
    try:
        while len(body) < ANSWER_LIMIT_BYTES and (chunk := await content.read(ANSWER_LIMIT_BYTES - len(body))):
            body += chunk
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    return bytes(body)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks to wait from `now` on: 0 to a day; None where it says nothing."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), LONGEST_RETRY_AFTER_SECONDS)


async def resolves_to_private(host: str) -> bool:
    """Whether any address that this name (or address) has now is not public, for the moment of registration.

    False where the name is unknown or takes more than 3 seconds, its wait for a thread included: each sending judges
    again.
    """
    try:
        async with asyncio.timeout(NAME_TIMEOUT_SECONDS):
            found = await _addresses(host, threads=_REGISTERING_THREADS)
    except (OSError, UnicodeError):
        return False
    return not all(is_public(address) for _, address in found)
