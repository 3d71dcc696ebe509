"""Load by native programs, so that what sends takes little of the machine: wrk for HTTP, pgbench for PostgreSQL."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from health_services.database.account import server_account
from health_services.database.binaries import server_programs

SCRIPTS = Path(__file__).parent


@dataclass(frozen=True)
class Measured:
    """Answers a second, how long they took (ms), and how many there were of each status."""

    rate: float
    p50: float = 0
    p95: float = 0
    p99: float = 0
    statuses: Mapping[str, int] | None = None


def require_wrk() -> None:
    """Install wrk where it is missing and that can be done; raises SystemExit."""
    if shutil.which("wrk") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "wrk"], check=False, capture_output=True)  # noqa: S607 - the system's own
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; install it (Debian: apt install wrk).")


def wrk(url: str, script: str, *, clients: int, seconds: float, **environment: str) -> Measured:
    """What a server answers to so many clients; raises SystemExit where wrk fails."""
    done = subprocess.run(  # noqa: S603 - a list of arguments that we made
        ["wrk", "-t1", f"-c{clients}", f"-d{max(round(seconds), 1)}", "--timeout", "30", "-s", script, url],  # noqa: S607
        env={"PATH": os.environ["PATH"], **environment},
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        raise SystemExit(f"wrk {url}: {done.stdout[-500:]}{done.stderr[-1000:]}")
    told = json.loads(found[1])
    broken = {name: count for name, count in told.pop("errors").items() if count}
    return Measured(**told | {"statuses": told["statuses"] | broken})


def pgbench(url: str, script: str, slots: int, seconds: float) -> Measured:
    """Transactions a second of 16 clients that run a script on slots 1 to `slots`, with prepared statements."""
    programs, _ = server_programs(None, server_account())
    options = ["-n", "-M", "prepared", "-c", "16", "-j", "1", "-D", f"slots={slots}", "-T", str(max(round(seconds), 1))]
    done = subprocess.run(  # noqa: S603 - the same
        [programs / "pgbench", *options, "-f", SCRIPTS / script, url], capture_output=True, text=True, check=True
    )
    return Measured(float(re.findall(r"tps = ([\d.]+)", done.stdout)[-1]))
