"""A process's use of the embedded server: arriving, watching over its keeper, leaving."""

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import health_services
from health_services.database import cluster
from health_services.database.locks import Lock
from health_services.database.places import Home, Passwords, explained, open_home
from health_services.database.processes import call
from health_services.errors import OperatorError

POLL_SECONDS = 0.02
PATIENCE_SECONDS = 3.0
TROUBLE_SECONDS = 30.0
LEAVE_SECONDS = 10.0
WATCH_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Server:
    """What the keeper tells about a server that is ready."""

    bin_dir: Path
    pgdata: Path
    socket: Path
    passwords: Passwords

    def url(self, role: str, password: str, database: str) -> str:
        """The URL of one login; with the port, so that PGPORT in the environment changes nothing."""
        host = quote(str(self.socket), safe="")
        return f"postgresql://{role}:{quote(password)}@/{database}?host={host}&port=5432"


class User:
    """One use of the server in a data directory, from `arrive` to `leave`."""

    def __init__(self, data_dir: Path, postgres_bin: Path | None, say: Callable[[str], None]) -> None:
        self._home: Home = open_home(data_dir)
        self._postgres_bin = postgres_bin
        self._say = say
        self._leaving = threading.Event()
        self._watcher: threading.Thread | None = None
        with explained(self._home.path):
            self._users = Lock(self._home.users_lock)

    def arrive(self, meanwhile: Callable[[], None] = lambda: None) -> Server:
        """The server, ready; it stays until `leave`. `meanwhile` is done while it starts, if it has to."""
        with self._starting():
            # While the keeper stops the server, it holds this lock alone: then its end is waited for.
            self._wait(self._users.try_shared, "The database is still shutting down; waiting for it …")
            server = self._ensure(meanwhile)
        self._watcher = threading.Thread(target=self._watch, name="embedded-postgres", daemon=True)
        self._watcher.start()
        return server

    def leave(self) -> None:
        """Stop using the server; the last user waits until it has stopped, but not for ever."""
        self._leaving.set()
        if self._watcher:
            self._watcher.join(LEAVE_SECONDS)
        try:
            self._users.release()
            with suppress(OSError):  # the data directory may be gone by now
                self._await_end()
        finally:
            self._users.close()

    def _await_end(self) -> None:
        end, seen = time.monotonic() + LEAVE_SECONDS, 0
        # Seen three times: another user that leaves at this moment takes the lock for an instant, as we do.
        while time.monotonic() < end and seen < 3 and self._has_keeper():
            seen = seen + 1 if self._sees_others() else 0
            time.sleep(POLL_SECONDS)

    def _sees_others(self) -> bool:
        if not self._users.try_shared():
            return False  # the keeper is stopping the server
        others = not self._users.try_exclusive()
        self._users.release()
        return others

    @contextmanager
    def _starting(self) -> Iterator[None]:
        with explained(self._home.path):
            lock = Lock(self._home.start_lock)
        try:
            self._wait(lock.try_exclusive, "Another command is starting the database; waiting for it …")
            yield
        finally:
            lock.close()

    def _wait(self, condition: Callable[[], bool], sentence: str) -> None:
        began, told = time.monotonic(), False
        while not condition():
            if not told and time.monotonic() - began > PATIENCE_SECONDS:
                self._say(sentence)
                told = True
            if self._leaving.wait(POLL_SECONDS):
                raise OperatorError("The command ended before the database was ready.")

    def _has_keeper(self) -> bool:
        lock = Lock(self._home.keeper_lock)
        try:
            return not lock.try_shared()
        finally:
            lock.close()

    def _ensure(self, meanwhile: Callable[[], None] = lambda: None) -> Server:
        """The server, ready; the caller holds the start lock and a share of the users' lock."""
        is_ours = self._begin_keeping()
        asked_at = time.time()
        if is_ours:
            meanwhile()
        last = self._await_decision(asked_at)
        # A keeper that was just killed holds its lock until it is quite dead: then ours follows it.
        while not is_ours and not self._has_keeper():
            is_ours = self._begin_keeping()
            last = self._await_decision(time.time())
        if last.get("state") != "ready" or not self._has_keeper():
            cause = last.get("detail") or f"its keeper ended without a word (is the disk of {self._home.path} full?)"
            cause = cluster.telling_line(cause).rstrip(".")
            raise OperatorError(f"The embedded database does not start: {cause}. Its log is {self._home.log}.")
        passwords = Passwords.read(self._home.passwords)
        if passwords is None:
            raise OperatorError(
                f"{self._home.passwords} is missing. End every command that uses the database; "
                "the next start gives it new passwords."
            )
        return Server(Path(last["bin_dir"]), Path(last["pgdata"]), Path(last["socket"]), passwords)

    def _await_decision(self, asked_at: float) -> dict[str, str]:
        """What the keeper said once the server was ready, or once it was clear that it does not start."""
        began = time.monotonic()
        last: dict[str, str] = {}

        def is_decided() -> bool:
            has_keeper = self._has_keeper()  # asked first: what it says last is read after its end
            last.clear()
            last.update(self._status())
            is_stuck = last.get("state") == "restarting" and time.monotonic() - began > TROUBLE_SECONDS
            return not has_keeper or is_stuck or (last.get("state") == "ready" and self._has_sign_of_life(asked_at))

        self._wait(is_decided, "The database is starting or recovering; waiting for it …")
        return last

    def _status(self) -> dict[str, str]:
        try:
            status: dict[str, str] = json.loads(self._home.status.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return status

    def _has_sign_of_life(self, asked_at: float) -> bool:
        """Whether the keeper has moved since: one that was just killed holds its lock until it is quite dead."""
        try:
            return self._home.status.stat().st_mtime >= asked_at
        except OSError:
            return False

    def _begin_keeping(self) -> bool:
        """Whether there was no keeper, and this process started one."""
        if self._has_keeper():
            return False
        with explained(self._home.path):
            lock = Lock(self._home.keeper_lock)
            try:
                # Others only ask, for an instant: whoever starts a keeper holds the start lock, as we do.
                self._wait(lock.try_exclusive, "Waiting for other commands to look at the database …")
                plan = cluster.prepare(self._home, self._postgres_bin, lock.fileno(), self._say)
                # What a killed keeper said last must not be taken for the new one's word.
                self._home.status.unlink(missing_ok=True)
                _spawn(plan)
            finally:
                lock.close()
        return True

    def _watch(self) -> None:
        """Brings a new keeper when ours was killed; the server is down in between."""
        pause = WATCH_SECONDS
        while not self._leaving.wait(pause):
            try:
                if self._has_keeper():
                    continue
                with self._starting():
                    self._ensure()
                logger.warning("The embedded database's keeper had ended; a new one has been started.")
                pause = WATCH_SECONDS
            except (OperatorError, OSError) as error:
                pause = min(2 * pause, TROUBLE_SECONDS)
                if not self._leaving.is_set():
                    logger.error("The embedded database is down: %s", error)  # noqa: TRY400 - one sentence is enough


def _spawn(plan: cluster.Plan) -> None:
    """Starts the keeper, which inherits the open file of its lock and nothing else."""
    package_root = str(Path(health_services.__file__).resolve().parents[1])
    environment = {name: value for name, value in os.environ.items() if name in {"LD_LIBRARY_PATH", "PYTHONHOME"}}
    started = call(
        # -S, -s, -P: our own package and the standard library, whatever else is installed or lies about.
        [sys.executable, "-SsP", "-m", "health_services.database.keeper"],
        environment=environment | {"PYTHONPATH": package_root, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=json.dumps(cluster.as_json(plan)),
        pass_fds=[plan.lock],
    )
    if started.returncode != 0:
        raise OperatorError(f"The embedded database's keeper does not start: {cluster.telling_line(started.stderr)}")
