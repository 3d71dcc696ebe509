"""One version of the service, as an operator starts it."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import asyncpg
import psutil

ACCOUNT = {"name": "Ada Wong", "password": "three blue teapots"}
COMMAND = "from health_services.cli import main; main()"
# Slot n is doctor n's, so that no doctor's day is ever full.
FILL = """
    INSERT INTO clinics (name, time_zone) VALUES ('Clinic', 'Europe/Berlin');
    WITH accounts AS (INSERT INTO users (name, role) SELECT 'Doctor ' || n, 'doctor' FROM generate_series(1, {slots}) n
                      RETURNING id)
    INSERT INTO doctors (user_id, clinic_id, specialty, license_number)
    SELECT id, 1, 'Dermatology', 'L' || id FROM accounts;
    INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, duration_minutes)
    SELECT n, 1, date_trunc('hour', now()) + interval '30 days', 20 FROM generate_series(1, {slots}) n"""

# What becomes of the schema of a version, to see what a part of it costs.
WITHOUT_POLICIES = """
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT relname FROM pg_class WHERE relrowsecurity LOOP
            EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', name);
        END LOOP;
    END $$"""
WITHOUT_AUDIT_ROWS = """
    CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
    CREATE TRIGGER a_nothing BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION nothing()"""


@dataclass(frozen=True)
class Service:
    """A server that runs, the owner's URL of its database, and its processes: the server's and the database's first.

    `ready_seconds` after its command was begun it said that it was ready, and was.
    """

    url: str
    owner_url: str
    processes: tuple[psutil.Process, psutil.Process]
    ready_seconds: float

    @classmethod
    @contextmanager
    def running(
        cls, source: Path, directory: Path, *arguments: str, settings: Mapping[str, str] | None = None
    ) -> Iterator[Self]:
        """Serve the version of this checkout from a directory until the block ends."""
        directory.mkdir(mode=0o755, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(source / "src"),
            "HEALTH_DATA_DIR": str(directory / "data"),
            "HEALTH_RATE_LIMITS": "off",
            "HEALTH_ACCESS_TOKEN_MINUTES": "240",
            "HEALTH_LOG_LEVEL": "warning",
            **(settings or {}),
        }
        command = [sys.executable, "-c", COMMAND]
        log, began = directory / "log", time.monotonic()
        with (
            log.open("w") as said,
            subprocess.Popen(  # noqa: S603 - a list of arguments that we made
                [*command, "serve", "--no-worker", "--port", "0", *arguments], env=environment, stdout=said, stderr=said
            ) as process,
        ):
            try:
                url = _ready(process, log)
                ready_seconds = time.monotonic() - began
                found = subprocess.run(  # noqa: S603 - the same
                    [*command, "database-url", "--owner"], env=environment, capture_output=True, text=True, check=True
                )
                postmaster = (directory / "data/postgres/data/postmaster.pid").read_text().split()[0]
                processes = psutil.Process(process.pid), psutil.Process(int(postmaster))
                yield cls(url, found.stdout.strip(), processes, ready_seconds)
            finally:
                process.send_signal(signal.SIGTERM)

    def processor_seconds(self) -> float:
        """What the server and its database have used of processors so far."""
        server, postmaster = self.processes
        times = [one.cpu_times() for one in (server, postmaster, *postmaster.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    async def fill(self, slots: int, change: str) -> None:
        """Make so many slots that can be booked, and change the schema by these statements."""
        owner = await asyncpg.connect(self.owner_url)
        await owner.execute(FILL.format(slots=slots))
        await owner.execute(change)
        await owner.execute("VACUUM ANALYZE")
        await owner.close()


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    while process.poll() is None:
        found = re.search(r"Ready on (http://\S+)", log.read_text())
        if found:
            urllib.request.urlopen(f"{found[1]}/readyz").close()  # noqa: S310 - our own server; raises for 503
            return found[1]
        time.sleep(0.02)
    raise SystemExit(log.read_text()[-2000:])
