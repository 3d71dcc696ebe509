"""The operator's commands as processes of their own, forked from one that has imported everything already."""

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.cli.child import become
from tests.servers import NO_TLS

ROOT = Path(__file__).parents[2]
SECRET = "a secret of tests, and long enough"
KEYS = '{"test": "dGVzdHMsIHRlc3RzLCBub3RoaW5nIGJ1dCB0ZXN0cyE"}'
PASSWORD = "a password of tests"
# Loaded once: a command's own start takes longer than what it does.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "health_services.cli",
        "health_services.main",
        "health_services.lanes",
        "health_services.sending",
        "uvicorn.server",
        "health_services.demo.region",
    ]
)
_KEPT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
# Tests call more often than anybody should.
_UNLIMITED = {"HEALTH_RATE_LIMITS": "off"}
_CHEAP = {"HEALTH_PASSWORD_MEMORY_KIB": "19456", "HEALTH_PASSWORD_TIME_COST": "2"}


@contextmanager
def _no_main() -> Iterator[None]:
    """Let a new process not import pytest, which is the main module here."""
    ours = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = ours


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """Its error: one sentence, exit code 1, and no word of how the program is made."""
        assert self.code == 1, (self.code, self.err)
        assert self.out == ""
        line = self.err.strip().splitlines()[-1]
        assert line.startswith("Error: "), self.err
        assert "Traceback" not in self.err
        return line.removeprefix("Error: ")


class Command:
    """A command that runs; `terminal` is the path of a terminal to run on."""

    def __init__(self, *arguments: str, terminal: str | None = None, **environment: Any) -> None:
        self._kept = Path(tempfile.mkdtemp(prefix="hs-command-"))
        out, err = self._kept / "out", self._kept / "err"
        out.touch()
        err.touch()
        files = (terminal,) * 3 if terminal else ("/dev/null", str(out), str(err))
        given = _KEPT | _CHEAP | _UNLIMITED | {name: str(value) for name, value in environment.items()}
        self.process = _context.Process(target=become, args=(arguments, given, files, "/"))
        with _no_main():
            self.process.start()
        assert self.process.pid
        self.pid = self.process.pid

    @property
    def err(self) -> str:
        return (self._kept / "err").read_text()

    def wait(self, seconds: float = 120) -> Done:
        self.process.join(seconds)
        if self.process.exitcode is None:
            for process in self.family():
                process.kill()
            pytest.fail(f"still running after {seconds} s: {self.err}")
        try:
            return Done(self.process.exitcode, (self._kept / "out").read_text(), self.err)
        finally:
            self.process.close()
            shutil.rmtree(self._kept)

    def interrupt(self) -> None:
        """Ctrl-C: the terminal tells every process of the foreground."""
        os.killpg(self.pid, signal.SIGINT)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def family(self) -> list[psutil.Process]:
        """It and its worker processes."""
        found = psutil.Process(self.pid)
        return [found, *found.children(recursive=True)]

    def port(self, scheme: str = "http") -> int:
        """Where it serves, once it says so."""
        ready = f"Ready on {scheme}://127.0.0.1:"
        assert eventually(lambda: ready in self.err or not self.process.is_alive(), 120), self.err
        assert self.process.is_alive(), self.err
        return int(self.err.partition(ready)[2].split()[0])


def run(*arguments: str, **environment: Any) -> Done:
    """A command from its start to its end."""
    return Command(*arguments, **environment).wait()


@contextmanager
def serving(*arguments: str, **environment: Any) -> Iterator[tuple[Command, httpx.Client]]:
    """A server that answers, and a client of its API."""
    command = Command("serve", "--port", "0", *arguments, **environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{command.port()}/api/v1", verify=NO_TLS, timeout=60) as client:
            yield command, client
    finally:
        stop(command)


def stop(command: Command) -> None:
    """End it in good order, if it has not ended yet; by force if it does not."""
    try:
        alive = command.process.is_alive()
    except ValueError:  # waited for already
        return
    if alive:
        command.terminate()
    command.wait(60)


def sign_in(client: httpx.Client, email: str, password: str = PASSWORD) -> httpx.Response:
    return client.post("/auth/login", json={"email": email, "password": password})


def header(client: httpx.Client, email: str, password: str = PASSWORD) -> dict[str, str]:
    """The header of somebody who has signed in."""
    answer = sign_in(client, email, password)
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether it becomes true before patience ends."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
