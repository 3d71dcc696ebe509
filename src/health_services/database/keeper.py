"""The process that keeps the embedded server: starts it, restarts it, stops it when its last user is gone.

It is nobody's child and belongs to no terminal. Signals do not end it, since its life is bound to the users'
locks: whoever wants the server stopped ends its users. When it is killed itself, the server shuts down, and a
user that is left starts a new keeper. Standard library only; the plan comes as JSON on standard input.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from health_services.database.locks import Lock
from health_services.database.processes import CLEAN_ENVIRONMENT, RunAs, call

IS_LINUX = sys.platform == "linux"
POLL_SECONDS = 0.1
LONGEST_PAUSE = 10.0
RETRY_SECONDS = 60.0
STOP_SECONDS = 60.0
LOG_BYTES = 8 * 2**20
# A server that was killed may leave children that finish their statement before they notice.
PASSING = ("is still in use", "already exists")


class NobodyLeftError(Exception):
    """No user is left; the lock on the users is ours."""


class NoStartError(Exception):
    """The server does not start, and trying again would not help."""


class Keeper:
    """Runs one server until its users are gone."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.home = Path(plan["home"])
        self.users = Lock(self.home / "users.lock")
        self.log = self.home / "postgres.log"
        self.server: subprocess.Popen[bytes] | None = None
        self.mark = 0
        self.was_ready = False

    def run(self) -> int:
        """The exit status: 0 once the users are gone and the server has stopped."""
        try:
            self._supervise()
        except NobodyLeftError:
            self.report("stopping")
            if self.server:
                stop(self.server.pid, lambda: self.server is not None and self.server.poll() is None)
            with suppress(OSError):  # it may be outside the data directory, where nothing shall be left
                Path(self.plan["socket"]).rmdir()
            return 0
        except (NoStartError, OSError) as error:
            if self.server and self.server.poll() is None:
                stop(self.server.pid, lambda: self.server is not None and self.server.poll() is None)
            self.report("failed", str(error))
            return 1
        return 0

    def _supervise(self) -> None:
        began = time.monotonic()
        pause = POLL_SECONDS
        while True:
            self._stop_orphan()
            self._start()
            started = time.monotonic()
            self._watch()
            cause = self._cause()
            if not self.was_ready and (time.monotonic() - began > RETRY_SECONDS or not _passes(cause)):
                raise NoStartError(cause)
            pause = POLL_SECONDS if time.monotonic() - started > RETRY_SECONDS else min(2 * pause, LONGEST_PAUSE)
            self.report("restarting", cause)
            self._rest(pause)

    def _start(self) -> None:
        self.report("starting")
        self.mark = self.log.stat().st_size
        environment = dict(CLEAN_ENVIRONMENT)
        stale = pid_in(Path(self.plan["pgdata"]))
        if stale and not is_postmaster(stale, self.plan["pgdata"]):
            # PostgreSQL ignores a pid file that names its grandparent, and checks all else itself, as it
            # could not if the file were removed. A number in use again must neither stop us nor cost that.
            environment["PG_GRANDPARENT_PID"] = str(stale)
        as_other = self.plan["uid"] != os.geteuid()
        run_as: RunAs = {"user": self.plan["uid"], "group": self.plan["gid"], "extra_groups": []}
        self.server = subprocess.Popen(  # noqa: S603 - arguments that we made
            self.plan["command"], stdin=subprocess.DEVNULL, cwd="/", env=environment, umask=0o077,
            start_new_session=True,
            preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - this process has one thread
            **(run_as if as_other else {}),
        )  # fmt: skip

    def _watch(self) -> None:
        """Returns when the server has ended; raises NobodyLeftError when its users have."""
        is_ready = False
        server = self.server
        while server and server.poll() is None:
            if not is_ready and _is_ready(Path(self.plan["pgdata"]), server.pid):
                is_ready = self.was_ready = True
                self.report("ready")
            if is_ready:
                self._show_life()
            self._rest(POLL_SECONDS if is_ready else POLL_SECONDS / 5)
            self._bound_log()

    def _show_life(self) -> None:
        """Tells users that arrive from a keeper that was killed and has only left its last word."""
        with suppress(OSError):
            os.utime(self.home / "status.json")

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            if self.users.try_exclusive():
                raise NobodyLeftError
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, POLL_SECONDS))

    def _stop_orphan(self) -> None:
        """A server whose keeper was killed makes place; one that is not ours is left alone and refused."""
        pgdata = self.plan["pgdata"]
        pid = pid_in(Path(pgdata))
        if not pid or not is_postmaster(pid, pgdata):
            return
        if "cluster_name=health-services" not in arguments(pid):
            raise NoStartError(f"PostgreSQL (process {pid}) runs on {pgdata} already, and we did not start it: stop it")
        stop(pid, lambda: is_postmaster(pid, pgdata))

    def _cause(self) -> str:
        """What the server's log says of its end."""
        with self.log.open("rb") as log:
            log.seek(self.mark)
            lines = log.read(LOG_BYTES).decode("utf-8", "replace").splitlines()
        telling = [line for line in lines if "FATAL:" in line or "PANIC:" in line] or lines
        status = self.server.returncode if self.server else None
        return telling[-1].strip() if telling else f"PostgreSQL ended with status {status} and said nothing"

    def _bound_log(self) -> None:
        with suppress(OSError):  # a full disk must not stop the server that is running
            if self.log.stat().st_size > LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_name("postgres.log.1"))
                os.truncate(self.log, 0)
                self.mark = 0

    def report(self, state: str, detail: str = "") -> None:
        """Tells the users; a full disk is fatal only while nobody knows yet that the server is there."""
        plan = {key: self.plan[key] for key in ("pgdata", "socket", "bin_dir")}
        text = json.dumps({"state": state, "detail": detail, **plan})
        temporary = self.home / "status.json.new"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.home / "status.json")
        except OSError:
            if state == "starting" and not self.was_ready:
                raise


def _passes(cause: str) -> bool:
    return any(part in cause for part in PASSING)


def stop(pid: int, is_alive: Any) -> None:
    """Ends a server in good order, or by force when it takes more than a minute."""
    for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 15.0), (signal.SIGKILL, 5.0)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not is_alive():
                return
            time.sleep(0.02)


def pid_in(pgdata: Path) -> int | None:
    """The process that `postmaster.pid` names, alive or not."""
    try:
        return int((pgdata / "postmaster.pid").read_text(errors="replace").split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _is_ready(pgdata: Path, pid: int) -> bool:
    try:
        lines = (pgdata / "postmaster.pid").read_text(errors="replace").splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def arguments(pid: int) -> list[str]:
    """The command line of a process; empty when there is no such process."""
    try:
        if IS_LINUX:  # readable for everybody, unlike its other links, also in a container
            return Path(f"/proc/{pid}/cmdline").read_text(errors="surrogateescape").split("\0")
        return call(["/bin/ps", "-ww", "-o", "args=", "-p", pid]).stdout.strip().split(" ")
    except OSError:
        return []


def is_postmaster(pid: int, pgdata: str) -> bool:
    """Whether `pid` is a live server of this cluster; a server whose cluster cannot be told counts as one."""
    found = arguments(pid)
    if Path(found[0]).name not in {"postgres", "postmaster"} if found else True:
        return False
    named = [after for option, after in pairwise(found) if option == "-D"]
    if not IS_LINUX or not named:  # elsewhere, arguments with spaces come apart
        return True
    return os.path.realpath(named[0]) == os.path.realpath(pgdata)


def _die_with(parent: int) -> Any:
    """What a child does before it becomes the server: ask to be shut down when its keeper dies."""
    if not IS_LINUX:
        return None
    import ctypes  # noqa: PLC0415 - Linux only; loaded before the fork, since nothing may be loaded after it

    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def bind() -> None:
        prctl(1, int(signal.SIGINT), 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return bind


def main() -> int:
    """Detach from whoever started us, and keep the server."""
    plan: dict[str, Any] = json.load(sys.stdin)
    os.set_inheritable(plan["lock"], False)
    os.umask(0o077)
    log = os.open(Path(plan["home"]) / "postgres.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    nothing = os.open(os.devnull, os.O_RDWR)
    if os.fork():  # so that no user has a child to wait for
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    return Keeper(plan).run()


if __name__ == "__main__":
    sys.exit(main())
