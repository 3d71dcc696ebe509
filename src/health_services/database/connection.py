"""A database URL as PostgreSQL's own programs take it: in environment variables, never in arguments."""

import os
from urllib.parse import parse_qsl, unquote, urlsplit

from health_services.errors import OperatorError

# The parameters of a URL that libpq knows by an environment variable; others are the driver's or the pool's.
VARIABLES = {
    "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD",
    "dbname": "PGDATABASE", "database": "PGDATABASE", "passfile": "PGPASSFILE", "service": "PGSERVICE",
    "options": "PGOPTIONS", "connect_timeout": "PGCONNECT_TIMEOUT",
    "sslmode": "PGSSLMODE", "ssl": "PGSSLMODE",
    "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY", "sslrootcert": "PGSSLROOTCERT", "sslcrl": "PGSSLCRL",
    "channel_binding": "PGCHANNELBINDING", "gssencmode": "PGGSSENCMODE", "krbsrvname": "PGKRBSRVNAME",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}  # fmt: skip


def libpq_environment(url: str) -> dict[str, str]:
    """This process's environment with the connection of `url`, and with no other PG… variable."""
    scheme, separator, rest = url.partition("://")
    if not separator or not scheme.startswith("postgres"):
        raise OperatorError("The database URL must begin with postgresql://.")
    parts = urlsplit(f"postgresql://{rest}")
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    pairs = [host_and_port(host) for host in hosts.split(",")] if hosts else []
    given = {
        "host": ",".join(host for host, _ in pairs),
        "port": ",".join(port for _, port in pairs) if any(port for _, port in pairs) else "",
        "user": unquote(user),
        "password": unquote(password),
        "dbname": unquote(parts.path.removeprefix("/")),
    }
    # A plus sign is a plus sign to libpq and asyncpg, unlike in a form.
    given |= dict(parse_qsl(parts.query.replace("+", "%2B")))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    known = {VARIABLES[name]: value for name, value in given.items() if name in VARIABLES and value}
    if known.get("PGSSLMODE") == "true":  # as asyncpg understands ssl=true
        known["PGSSLMODE"] = "verify-full"
    return environment | known | {"LC_ALL": "C", "PGAPPNAME": "health-services backup"}


def host_and_port(text: str) -> tuple[str, str]:
    """The host and the port of one of the URL's servers; the port may be empty, and the host too."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = text.partition(":")
    return unquote(host), port
