"""The programs of a service on several machines, all on this one: PostgreSQL twice, PgBouncer, Redis, servers."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from health_services.database.account import Account, server_account
from health_services.database.binaries import server_programs
from health_services.database.processes import call

COMMAND = "import sys; sys.argv[0] = 'health-services'; from health_services.cli import main; main()"
PATH = f"{os.environ['PATH']}:/usr/sbin"
PASSWORD = "a password of this run alone"  # noqa: S105 - for servers that end with it
POOLER = """
[databases]
health = host=127.0.0.1 port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = transaction
default_pool_size = 12
"""
PATIENCE_SECONDS = 60


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def eventually(is_so: Callable[[], bool], otherwise: str) -> None:
    """Wait until it is so; raises SystemExit where that takes too long."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > end:
            raise SystemExit(otherwise)
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@dataclass
class Program:
    """A program in a session of its own; what it says is kept in a file."""

    command: Sequence[object]
    log: Path
    account: Account | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ends_by: int = signal.SIGTERM
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Begin it, also again."""
        with self.log.open("a") as said:
            self.process = subprocess.Popen(  # noqa: S603 - a list of arguments that we made
                [str(part) for part in self.command],
                env={"PATH": PATH, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                start_new_session=True,
                **(self.account.run_as if self.account else {}),
            )

    def end(self, by: int = 0) -> None:
        """End it by this signal, or in good order."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(by or self.ends_by)
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def said(self) -> str:
        """All that it has said so far."""
        return self.log.read_text(errors="replace")

    @contextmanager
    def running(self) -> Iterator["Program"]:
        """Run it for as long as the block lasts."""
        self.start()
        try:
            yield self
        finally:
            self.end()


class PostgreSQL:
    """A server with a port of its own, as the user whom an embedded one runs as."""

    def __init__(self, directory: Path, name: str) -> None:
        self.account = server_account()
        self.bin_dir, _ = server_programs(None, self.account)
        self.directory = directory / name
        self.directory.mkdir(mode=0o700)
        os.chown(self.directory, self.account.uid, self.account.gid)
        self.data, self.port = self.directory / "data", free_port()
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self.directory}"]
        settings += ["fsync=on", "synchronous_commit=on", "full_page_writes=on", "max_connections=100"]
        options = [part for setting in settings for part in ("-c", setting)]
        command = [self.bin_dir / "postgres", "-D", self.data, *options]
        self.program = Program(command, directory / f"{name}.log", self.account, ends_by=signal.SIGINT)

    def url(self, user: str, database: str = "health") -> str:
        """How this user reaches it, with the password that all have."""
        return f"postgresql://{user}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def initialise(self) -> None:
        """Make an empty cluster."""
        password = self.directory / "password"
        password.write_text(PASSWORD)
        os.chown(password, self.account.uid, self.account.gid)
        self._run("initdb", "-D", self.data, "--username=postgres", "--encoding=UTF8", "--locale=C",
                  "--auth=scram-sha-256", f"--pwfile={password}")  # fmt: skip

    def follow(self, primary: "PostgreSQL") -> None:
        """Be the replica of another, from now on."""
        self._run("pg_basebackup", "-D", self.data, "-d", primary.url("postgres", "postgres"), "-R", "-X", "stream",
                  "--checkpoint=fast")  # fmt: skip

    def is_ready(self) -> bool:
        """Whether it lets anybody in."""
        return call([self.bin_dir / "pg_isready", "-h", "127.0.0.1", "-p", self.port]).returncode == 0

    def ask(self, query: str, database: str = "health") -> str:
        """What psql answers to the superuser."""
        command = [self.bin_dir / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", self.url("postgres", database), "-c", query]
        done = call(command)
        if done.returncode:
            raise SystemExit(done.stderr)
        return done.stdout.strip()

    def _run(self, program: str, *arguments: object) -> None:
        done = call([self.bin_dir / program, *arguments], run_as=self.account.run_as)
        if done.returncode:
            raise SystemExit(f"{program}: {done.stderr}")


def pooler(directory: Path, primary: PostgreSQL, users: Sequence[str]) -> tuple[Program, int]:
    """PgBouncer in transaction mode in front of the primary, and its port."""
    program = shutil.which("pgbouncer", path=PATH)
    if program is None:
        raise SystemExit("pgbouncer is missing (Debian: apt install pgbouncer).")
    listen, own = free_port(), directory / "pooler"
    own.mkdir(mode=0o700)
    (own / "users").write_text("".join(f'"{user}" "{PASSWORD}"\n' for user in users))
    (own / "ini").write_text(POOLER.format(port=primary.port, listen=listen, users=own / "users"))
    for path in (own, *own.iterdir()):
        os.chown(path, primary.account.uid, primary.account.gid)
    return Program([program, "-q", own / "ini"], directory / "pooler.log", primary.account), listen


def redis(directory: Path) -> tuple[Program, int] | None:
    """A Redis or Valkey without a disk, and its port; None where there is none here."""
    program = shutil.which("redis-server", path=PATH) or shutil.which("valkey-server", path=PATH)
    if program is None:
        return None
    port = free_port()
    options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory]
    return Program([program, *options], directory / "redis.log"), port


class Server(Program):
    """`health-services serve` with a data directory of its own."""

    def __init__(self, directory: Path, name: str, environment: Mapping[str, str]) -> None:
        own = {"HEALTH_DATA_DIR": str(directory / name), **environment}
        self._program = [sys.executable, "-c", COMMAND]
        super().__init__([*self._program, "serve", "--port", "0"], directory / f"{name}.log", None, own)
        self.name = name

    def command_of(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Another command on the same machine, ended."""
        return call([*self._program, *arguments], environment={"PATH": PATH, **self.environment})

    @property
    def url(self) -> str:
        """Where it answers, once it is ready."""
        found = re.search(r"Ready on (http://\S+)", self.said())
        return found[1] if found else ""

    def is_ready(self) -> bool:
        """Whether it is; raises SystemExit where it has ended."""
        if self.process is None or self.process.poll() is not None:
            raise SystemExit(f"{self.name} did not start:\n{self.said()}")
        return bool(self.url)
