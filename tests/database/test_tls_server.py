"""What sslmode=verify-full is worth, on a real PostgreSQL with TLS: only the right name is spoken to."""

import os
import pwd
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.pool import NullPool

from health_services.database.engine import make_engine
from health_services.database.processes import RunAs
from tests.certificates import Authority
from tests.database.conftest import make_open_directory

# The embedded server is built without TLS; Debian's is not.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
pytestmark = pytest.mark.skipif(
    not PROGRAMS, reason="there is no PostgreSQL with TLS in /usr/lib/postgresql (Debian: apt install postgresql)"
)


@dataclass(frozen=True)
class Server:
    """A PostgreSQL that takes TLS connections only, with a certificate for localhost."""

    port: int
    authority: Path

    def url(self, host: str, mode: str) -> str:
        return f"postgresql://me@{host}:{self.port}/postgres?sslmode={mode}&sslrootcert={self.authority}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    directory = make_open_directory()
    authority = Authority(directory)
    chain, key = authority.sign("localhost")
    other: RunAs = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        for path in (directory, key):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        other = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    programs, data = PROGRAMS[-1].parent, directory / "data"
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])

    def call(*command: object) -> None:
        done = subprocess.run([*map(str, command)], cwd="/", capture_output=True, text=True, check=False, **other)
        assert done.returncode == 0, done.stdout + done.stderr

    call(programs / "initdb", "-D", data, "-U", "me", "--auth=trust", "--no-sync")
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
    options = f"-p {port} -h 127.0.0.1 -k '' -c ssl=on -c ssl_cert_file={chain} -c ssl_key_file={key} -c fsync=off"
    call(programs / "pg_ctl", "-D", data, "-w", "-l", directory / "log", "-o", options, "start")
    yield Server(port, authority.certificate)
    call(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(directory)


async def is_encrypted(url: str) -> bool:
    engine = make_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            found = await connection.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    finally:
        await engine.dispose()
    return bool(found)


async def test_the_right_name_is_spoken_to(server: Server):
    assert await is_encrypted(server.url("localhost", "verify-full"))


async def test_the_wrong_name_is_not(server: Server):
    with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.1"):
        await is_encrypted(server.url("127.0.0.1", "verify-full"))
    assert await is_encrypted(server.url("127.0.0.1", "verify-ca")), "this is why verify-ca is not enough"


async def test_another_authority_is_not_believed(server: Server, tmp_path: Path):
    other = Server(server.port, Authority(tmp_path).certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        await is_encrypted(other.url("localhost", "verify-full"))
