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
_HOST = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")


def is_address(text: str) -> bool:
    """Whether `text` is a mail address and nothing else, in ASCII, without quotes and comments."""
    return len(text) <= LONGEST_ADDRESS and _ADDRESS.fullmatch(text) is not None


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
