"""The embedded PostgreSQL: a real server that lives as long as somebody uses it.

A user holds a shared lock while it uses the server, and the kernel drops that lock however the user ends.
The keeper (`keeper.py`) takes the same lock exclusively to stop the server, so it can neither stop it under
a user nor miss one that arrives: who comes while it stops waits for its end and starts anew.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from health_services.errors import OperatorError

if sys.platform != "win32":
    from health_services.database.user import User


@dataclass(frozen=True)
class Cluster:
    """A running server: three logins to it, its programs and its files."""

    app_url: str
    owner_url: str
    admin_url: str
    bin_dir: Path
    pgdata: Path

    def __repr__(self) -> str:
        return f"Cluster(pgdata={str(self.pgdata)!r})"


def _tell(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


@contextmanager
def running(
    data_dir: Path,
    *,
    postgres_bin: Path | None = None,
    say: Callable[[str], None] = _tell,
    meanwhile: Callable[[], None] = lambda: None,
) -> Iterator[Cluster]:
    """A running server for as long as the block lasts, found or started; the last block to end stops it.

    `meanwhile` is done while a server starts that was not found.
    Raises OperatorError with a sentence that says what to do.
    """
    if sys.platform == "win32":
        raise OperatorError(
            "The embedded database does not run on Windows. Set DATABASE_URL to a PostgreSQL 15+ server, "
            "or use the Windows Subsystem for Linux."
        )
    user = User(data_dir, postgres_bin, say)
    try:
        server = user.arrive(meanwhile)
        yield Cluster(
            app_url=server.url("health_app", server.passwords.app, "health"),
            owner_url=server.url("health_owner", server.passwords.owner, "health"),
            admin_url=server.url("postgres", server.passwords.admin, "postgres"),
            bin_dir=server.bin_dir,
            pgdata=server.pgdata,
        )
    finally:
        user.leave()
