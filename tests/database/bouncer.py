"""PgBouncer in front of the tests' server: after each transaction a connection is somebody else's."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from health_services.database.account import server_account

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin") or ""
CONFIGURATION = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/users
pool_mode = {mode}
default_pool_size = {size}
ignore_startup_parameters = {ignored}
"""


@contextmanager
def bouncer(*urls: str, mode: str = "transaction", size: int = 4, ignored: str = "") -> Iterator[list[str]]:
    """The same URLs, for as long as the block lasts, through a PgBouncer with `size` connections for each login."""
    first = urlsplit(urls[0])
    socket_directory = parse_qs(first.query)["host"][0]
    listen = _free_port()
    directory = Path(tempfile.mkdtemp(prefix="hs", dir="/tmp"))
    users = {unquote(parts.username or ""): unquote(parts.password or "") for parts in map(urlsplit, urls)}
    (directory / "users").write_text("".join(f'"{name}" "{password}"\n' for name, password in users.items()))
    (directory / "ini").write_text(
        CONFIGURATION.format(
            host=socket_directory, port=5432, listen=listen, directory=directory, mode=mode, size=size, ignored=ignored
        )
    )
    account = server_account()  # whom the server's socket belongs to; and root is nobody PgBouncer would run as
    for path in (directory, *directory.iterdir()):
        os.chown(path, account.uid, account.gid)
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [PROGRAM, "-q", directory / "ini"], stdout=log, stderr=log, cwd="/", **account.run_as
        )
        try:
            _wait_for(listen, process, directory / "log")
            yield [url.replace("@/", f"@127.0.0.1:{listen}/").partition("?")[0] for url in urls]
        finally:
            process.terminate()
            process.wait(30)
            shutil.rmtree(directory)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())
