"""The service under attack: the real one, on a scratch directory, filled with the demo's region."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

from health_services.demo.region import LOGINS

PASSWORDS = {login.role: (login.email, login.password) for login in LOGINS}


@dataclass(frozen=True)
class Caller:
    """Somebody who is signed in."""

    role: str
    token: str
    user: dict[str, Any]


class Service:
    """`health-services serve` as a process, and who can be signed in to it."""

    def __init__(self, url: str, database_url: str, log: Path) -> None:
        self.url = url
        self.database_url = database_url
        self._log = log
        self.client = httpx.Client(base_url=f"{url}/api/v1", timeout=60)

    @classmethod
    @contextmanager
    def running(cls, directory: Path) -> Iterator[Self]:
        """Make the region and serve it, until the block ends."""
        command = [str(Path(sys.executable).with_name("health-services"))]
        environment = {
            "PATH": os.environ["PATH"],
            "HEALTH_DATA_DIR": str(directory / "data"),
            "HEALTH_RATE_LIMITS": "off",
            "HEALTH_ACCESS_TOKEN_MINUTES": "240",
            # what is compared is whether the same is done, not how dear it is
            "HEALTH_PASSWORD_MEMORY_KIB": "19456",
            "HEALTH_PASSWORD_TIME_COST": "2",
            "HEALTH_LOG_FORMAT": "json",
        }
        subprocess.run([*command, "demo"], env=environment, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        log = directory / "log"
        serve = [*command, "serve", "--no-worker", "--port", "0"]
        with log.open("w") as said, subprocess.Popen(serve, env=environment, stdout=said, stderr=said) as process:  # noqa: S603
            try:
                url = _address(process, log)
                found = subprocess.run(  # noqa: S603
                    [*command, "database-url", "--owner"],
                    env=environment,
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                yield cls(url, found.stdout.strip(), log)
            finally:
                process.send_signal(signal.SIGTERM)

    def sign_in(self, role: str) -> Caller:
        """A new session of the demo's person of this role."""
        email, password = PASSWORDS[role]
        answer = self.client.post("/auth/login", json={"email": email, "password": password})
        answer.raise_for_status()
        return Caller(role, answer.json()["access_token"], answer.json()["user"])

    def document(self) -> dict[str, Any]:
        """The OpenAPI document."""
        found: dict[str, Any] = httpx.get(f"{self.url}/openapi.json").json()
        return found

    def crashes(self) -> set[str]:
        """Where requests crashed, by the last line of code of ours; none may."""
        events = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return {f"{event['error'][0]} at {event['frames'][-1]}" for event in events if event["event"] == "crash"}


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        ready = re.search(r"Ready on (http://127\.0\.0\.1:\d+)", log.read_text())
        if ready:
            return ready[1]
        time.sleep(0.2)
    raise SystemExit(f"the service did not start:\n{log.read_text()}")
