"""How addresses, URLs, networks and keys are written, where an operator writes them."""

import base64
import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

LONGEST_ADDRESS = 254
KEY_BYTES = 32
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_SENDER = re.compile(r"[^\r\n<>]+ <([^<>]+)>|([^<>]+)")
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_HOST = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")


def is_address(text: str) -> bool:
    """Whether `text` is a mail address and nothing else, in ASCII, without quotes and comments."""
    return len(text) <= LONGEST_ADDRESS and _ADDRESS.fullmatch(text) is not None


def is_sender(text: str) -> bool:
    """Whether `text` is such an address, alone or behind a name, as in Clinic <clinic@example.org>."""
    found = _SENDER.fullmatch(text)
    return found is not None and is_address(found[1] or found[2])


def is_origin(text: str) -> bool:
    """Whether `text` is what a browser calls an origin, as in https://app.example.org."""
    scheme, _, host = text.partition("://")
    return scheme in {"http", "https"} and host != "" and not any(c in host for c in "/*?# ")


def private_key(text: str) -> ec.EllipticCurvePrivateKey:
    """The P-256 key of these 43 characters of base64url; raises ValueError where they are no key."""
    raw = base64.b64decode(text.strip().rstrip("=") + "=", altchars=b"-_", validate=True)
    if len(raw) != KEY_BYTES:
        raise ValueError("not 32 bytes")
    return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())


def symmetric_key(text: str) -> bytes:
    """The 32 bytes of these 43 characters of base64url; raises ValueError where they are none."""
    try:
        raw = base64.b64decode(text.strip().rstrip("=") + "=", altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise ValueError("each key is 32 bytes as base64url, 43 characters")
    return raw


def ring_key(name: str, text: str) -> bytes:
    """The 32 bytes of a key of a ring; raises ValueError where they are none, or nothing can be called so."""
    if not _KEY_ID.fullmatch(name):
        raise ValueError("the ids are 1 to 32 letters, digits, - and _")
    return symmetric_key(text)


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """The network, or the one address, that is written so; raises ValueError where it is none."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"{text!r} is no network such as 10.0.0.0/8 or 2001:db8::/32") from None


def parts_of_url(url: str, *schemes: str) -> SplitResult | None:
    """The URL's parts; None unless it has one of these schemes, a host that can be one, and a port that can."""
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in schemes and _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:  # the port or the brackets
        return None
    return parts if is_fine and url.isprintable() and " " not in url else None


def _is_host(name: str) -> bool:
    if ":" in name:
        ipaddress.IPv6Address(name)
        return True
    return _HOST.fullmatch(name.encode("idna").decode()) is not None
