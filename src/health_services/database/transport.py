"""Whether the way to the database is safe: another host is spoken to by TLS that checks who answers, or not at all."""

import ipaddress
import os
from urllib.parse import parse_qs, urlsplit

from health_services.database.connection import host_and_port

# The only mode that checks the server's certificate and its name; verify-ca takes any that the authority has signed.
VERIFIED = "verify-full"


def is_verified(url: str) -> bool:
    """Whether each connection of this URL stays on the machine, or goes by TLS to a server whose name is checked.

    What the URL leaves open, PGHOST, PGSERVICE and PGSSLMODE say, as the driver reads them.
    """
    try:
        parts = urlsplit("postgresql://" + url.partition("://")[2])
    except ValueError:  # the brackets: nobody knows where this leads
        return False
    query = parse_qs(parts.query.replace("+", "%2B"))
    modes = query.get("sslmode") or [os.environ.get("PGSSLMODE", "")]
    # A service's file can name any host.
    has_service = "service" in query or bool(os.environ.get("PGSERVICE"))
    is_near = not has_service and all(map(_is_this_machine, _hosts(parts.netloc, query)))
    return is_near or set(modes) == {VERIFIED}


def _hosts(netloc: str, query: dict[str, list[str]]) -> list[str]:
    """Every host that is named anywhere; the directory of a socket is one, too."""
    # The driver looks for hosts behind the first @, whatever stands in a password that is not encoded.
    login, at, rest = netloc.partition("@")
    hosts = [host_and_port(host)[0] for host in (rest if at else login).split(",")]
    hosts += [host for name in ("host", "hostaddr") for value in query.get(name, []) for host in value.split(",")]
    return list(filter(None, hosts)) or os.environ.get("PGHOST", "localhost").split(",")


def _is_this_machine(host: str) -> bool:
    if host.startswith("/") or host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
