"""Where a request comes from: the caller's address and scheme, also behind proxies that are trusted."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from health_services.written_forms import network

Address = IPv4Address | IPv6Address

# Who hung up before he was asked for his address has none any more.
_UNKNOWN = IPv4Address(0)
# So many peers' addresses are remembered.
_PEERS = 4096
_BRACKETED = re.compile(r"\[([^\]]*)\](?::\d{1,5})?")


def address_of(source: HTTPConnection | Scope) -> str:
    """The caller's IP address, for a request or its scope; 0.0.0.0 where it is not known.

    It is the peer's, or what the outermost of the trusted proxies says; nobody else is believed.
    """
    return str(source["state"]["address"])


class Origin:
    """Finds out the caller's address (`address_of`) and scheme (`scope["scheme"]`) of each request.

    `trusted`: the networks of the proxies. Of X-Forwarded-For the rightmost address counts that is no trusted proxy's,
    since each proxy adds on the right whom it was called by, and what stands left of that anybody may have written. Of
    X-Forwarded-Proto the rightmost word counts. Both are ignored from a peer who is not trusted.
    """

    def __init__(self, app: ASGIApp, trusted: Iterable[str]) -> None:
        self._app = app
        self._trusted = [network(text) for text in trusted]
        # A peer has many requests. Only what the socket says is remembered, which nobody can make up or make long.
        self._judged = lru_cache(_PEERS)(self._judge)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] == "http":
            client = scope.get("client")
            peer, address, is_trusted = self._judged(client[0] if client else None)
            if is_trusted:
                address = str(self._outermost(peer, _listed(scope, b"x-forwarded-for")))
                schemes = [word for word in _listed(scope, b"x-forwarded-proto")[-1:] if word in {"http", "https"}]
                scope["scheme"] = schemes[0] if schemes else scope["scheme"]
            scope.setdefault("state", {})["address"] = address
        await self._app(scope, receive, send)

    def _judge(self, host: str | None) -> tuple[Address, str, bool]:
        """A peer's address, how it is written, and whether it is a trusted proxy's."""
        peer = (_read(host) if host else None) or _UNKNOWN
        return peer, str(peer), self._trusts(peer)

    def _trusts(self, address: Address) -> bool:
        return any(address in known for known in self._trusted)

    def _outermost(self, peer: Address, forwarded: list[str]) -> Address:
        """The first address from the right that is not trusted; the last one before anything that is no address."""
        address = peer
        for text in reversed(forwarded):
            named = _read(text) if self._trusts(address) else None
            if named is None:
                break
            address = named
        return address


def _listed(scope: Scope, header: bytes) -> list[str]:
    """The words of a header, from all its lines in their order."""
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == header]
    return [word.strip().lower() for word in ",".join(lines).split(",")] if lines else []


def _read(text: str) -> Address | None:
    """An address as proxies write it, bare or with a port; IPv4 in IPv6's clothes is IPv4, and a zone is left out."""
    bracketed = _BRACKETED.fullmatch(text)
    host = bracketed[1] if bracketed else text.partition(":")[0] if text.count(":") == 1 else text
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
