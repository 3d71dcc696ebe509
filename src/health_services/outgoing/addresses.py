"""Which addresses belong to the public internet, and which of them a name has.

A file of its own, without the HTTP client: where URLs are registered, nothing is sent.
"""

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

NAME_TIMEOUT_SECONDS = 3.0

_IPV6_IN_USE = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Public by number only: protocol assignments (clouds put metadata there), 6to4 relays, Azure's wire server,
# documentation. Not every supported Python knows the first and the last.
_SPECIAL = tuple(
    ipaddress.ip_network(network) for network in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20")
)

# Of their own: a name that somebody registers, again and again perhaps, may be slow to resolve, and must hold up the
# threads of nothing else, not even those of what is sent.
_REGISTERING_THREADS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="names_to_register")


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


async def addresses_of(host: str, threads: ThreadPoolExecutor, family: int = socket.AF_UNSPEC) -> list[tuple[int, str]]:
    """The address families and numeric addresses that the name has now; raises OSError or UnicodeError."""
    found = await asyncio.get_running_loop().run_in_executor(
        threads, lambda: socket.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM)
    )
    return [(kind, str(address[0])) for kind, _, _, _, address in found]


async def resolves_to_private(host: str) -> bool:
    """Whether any address that this name (or address) has now is not public, for the moment of registration.

    False where the name is unknown or takes more than 3 seconds, its wait for a thread included: each sending judges
    again.
    """
    try:
        async with asyncio.timeout(NAME_TIMEOUT_SECONDS):
            found = await addresses_of(host, threads=_REGISTERING_THREADS)
    except (OSError, UnicodeError):
        return False
    return not all(is_public(address) for _, address in found)
