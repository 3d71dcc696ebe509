"""Users of the embedded server as processes of their own, so that they can be killed."""

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import health_services
from health_services.database.connection import libpq_environment
from health_services.database.embedded import Cluster
from health_services.database.keeper import arguments, pid_in
from health_services.database.processes import RunAs

SOURCE = Path(health_services.__file__).parents[1]
HOLD = """
import json, sys
from pathlib import Path
from health_services.database.embedded import running
from health_services.errors import OperatorError
try:
    with running(Path(sys.argv[1])) as c:
        urls = {"app_url": c.app_url, "owner_url": c.owner_url, "admin_url": c.admin_url}
        print(json.dumps(urls | {"bin_dir": str(c.bin_dir), "pgdata": str(c.pgdata)}), flush=True)
        sys.stdin.readline()
except OperatorError as error:
    print(json.dumps({"error": str(error)}), flush=True)
    sys.exit(1)
"""


class RefusedError(Exception):
    """What the user was told."""


class User:
    """A process that uses the server until it is ended or killed."""

    def __init__(self, data_dir: Path, *, user: int | None = None, python: str = sys.executable) -> None:
        paths = [str(SOURCE), *(entry for entry in sys.path if entry.endswith("site-packages"))]
        other: RunAs = {}
        if user is not None:
            other = {"user": user, "group": pwd.getpwuid(user).pw_gid, "extra_groups": []}
        self.process = subprocess.Popen(
            [python, "-c", HOLD, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(paths)},
            **other,
        )

    def ready(self) -> Cluster:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            _, messages = self.process.communicate(timeout=30)
            raise AssertionError(messages)
        said = json.loads(line)
        if "error" in said:
            raise RefusedError(said["error"])
        return Cluster(
            **{name: said[name] for name in ("app_url", "owner_url", "admin_url")},
            bin_dir=Path(said["bin_dir"]),
            pgdata=Path(said["pgdata"]),
        )

    def end(self) -> str:
        _, messages = self.process.communicate("\n", timeout=60)
        return str(messages)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)

    def __enter__(self) -> "User":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


def sql(url: str, statement: str, bin_dir: Path) -> str:
    done = subprocess.run(
        [bin_dir / "psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-c", statement],
        env=libpq_environment(url),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout.strip()


@dataclass(frozen=True)
class Processes:
    postmaster: int
    keeper: int


def processes(pgdata: Path) -> Processes:
    postmaster = pid_in(pgdata)
    assert postmaster
    status = Path(f"/proc/{postmaster}/status").read_text()
    keeper = int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])
    assert "health_services.database.keeper" in arguments(keeper)
    return Processes(postmaster, keeper)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def is_stopped(pgdata: Path) -> bool:
    return not (pgdata / "postmaster.pid").exists()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
