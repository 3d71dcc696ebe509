"""Servers as processes of their own, several workers each."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import psutil

from tests.servers import NO_TLS, TestDatabase

ROOT = Path(__file__).parents[2]
SECRET = "a secret of tests, and long enough"
COMMON = {
    "HEALTH_SECRET_KEY": SECRET,
    "HEALTH_ENCRYPTION_KEYS": '{"races": "cmFjZXMsIHJhY2VzLCBub3RoaW5nIGJ1dCByYWNlcyE"}',
    "HEALTH_PASSWORD_MEMORY_KIB": "19456",
    "HEALTH_PASSWORD_TIME_COST": "2",
    "HEALTH_LOG_LEVEL": "error",
    "HEALTH_RATE_LIMITS": "off",
    # Two busy cores and two hundred callers: patience, so that slowness is never mistaken for a lost race.
    "HEALTH_DATABASE_POOL_TIMEOUT": "60",
    "HEALTH_OVERLOAD_WAIT_SECONDS": "60",
    "HEALTH_LOCK_TIMEOUT_MS": "60000",
    "HEALTH_STATEMENT_TIMEOUT_MS": "60000",
}


class Server:
    """`health-services serve` in a process group of its own; what it says is kept in a file."""

    def __init__(self, environment: dict[str, str], *, workers: int, module: str = "health_services.cli") -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        launch = f"import sys; from {module} import main; sys.argv[0] = 'health-services'; main()"
        starter = ["-c", launch] if module == "health_services.cli" else ["-m", module]
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the server ends
        self.process = subprocess.Popen(
            [sys.executable, *starter, "serve", "--port", "0", "--workers", str(workers)],
            cwd=ROOT,
            env=kept | COMMON | {"PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=self.said,
            stderr=self.said,
            start_new_session=True,
        )
        self.port = 0

    async def ready(self) -> "Server":
        """Return once it answers that it can serve."""
        patience = time.monotonic() + 90
        async with httpx.AsyncClient(verify=NO_TLS) as client:
            while not (self.port and await self._is_ready(client)):
                assert self.process.poll() is None, self.output()
                assert time.monotonic() < patience, f"port {self.port}: {self.output()}"
                await asyncio.sleep(0.05)
                _, _, rest = self.output().partition("Ready on http://127.0.0.1:")
                self.port = int(rest.split()[0]) if " " in rest else 0
        return self

    async def _is_ready(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5)).status_code == 200
        except httpx.TransportError:
            return False

    def output(self) -> str:
        return os.pread(self.said.fileno(), 1 << 20, 0).decode(errors="replace")

    def workers(self) -> list[int]:
        """The processes that answer requests."""
        server = psutil.Process(self.process.pid)
        alive = [child for child in server.children() if child.status() != psutil.STATUS_ZOMBIE]
        return [child.pid for child in alive if child.cmdline() == server.cmdline()]  # forked

    def kill(self) -> None:
        """End every process of it at once, unheard."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)
        self.said.close()

    def stop(self) -> None:
        """End it in good order."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            finally:
                if self.process.poll() is None:
                    os.killpg(self.process.pid, signal.SIGKILL)
        self.said.close()


@asynccontextmanager
async def served(database: TestDatabase, directory: Path) -> AsyncIterator[int]:
    """The port of a service on this database, as an operator starts it."""
    environment = {
        "DATABASE_URL": database.app_url,
        "HEALTH_MIGRATION_DATABASE_URL": database.owner_url,
        "HEALTH_DATA_DIR": str(directory),
    }
    server = Server(environment, workers=1)
    try:
        yield (await server.ready()).port
    finally:
        server.stop()


async def all_workers_up(watcher: asyncpg.Connection, count: int) -> None:
    """Return once so many workers have opened a connection to the watcher's database, which each does at its start."""
    query = """SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'health-services'"""
    async with asyncio.timeout(90):
        while await watcher.fetchval(query) < count:
            await asyncio.sleep(0.05)
