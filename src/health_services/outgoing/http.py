"""What every HTTP request to elsewhere shares: which addresses it may reach, how long it lasts, how much is read.

URLs come from people, so a name may lead into our own network, and may lead elsewhere a moment later. The guard
therefore stands where the socket is made, and judges the very address that is connected to.
"""

import base64
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from health_services.outgoing import addresses
from health_services.outgoing.addresses import is_public
from health_services.outgoing.errors import NotNow, Undeliverable

ANSWER_LIMIT_BYTES = 65_536
LONGEST_RETRY_AFTER_SECONDS = 86_400.0
USER_AGENT = "health-services"
# Of their own: names that strangers choose may be slow to resolve, and must hold up the threads of nothing else, nor
# pushes those of webhooks.
_SENDING_THREADS = 16


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
            for kind, address in await addresses.addresses_of(host, self._threads, family)
        ]

    async def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


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
