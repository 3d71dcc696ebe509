"""Load by native programs, so that what sends takes little of the machine: wrk for HTTP, pgbench for PostgreSQL.

wrk keeps so many connections busy, each with one request at a time: what takes long is asked less often meanwhile.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from health_services.database.account import server_account
from health_services.database.binaries import server_programs

SCRIPTS = Path(__file__).parent
# How long what is under way is waited for, once nothing more is sent.
REST_SECONDS = 1


@dataclass(frozen=True)
class Measured:
    """Answers a second, how long they took (ms), and how many there were of each status; errors count as one."""

    rate: float
    p50: float = 0
    p95: float = 0
    p99: float = 0
    statuses: Mapping[str, int] = field(default_factory=dict)


def require_wrk() -> None:
    """Install wrk where it is missing and that can be done; raises SystemExit."""
    if shutil.which("wrk") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", "wrk"]):
            subprocess.run(["apt-get", *command], check=False, capture_output=True)  # noqa: S603, S607 - the system's own
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing; install it (Debian: apt install wrk).")


def get(url: str, *, clients: int, seconds: float) -> Measured:
    """What a server answers to one question, asked again and again."""
    return _wrk(url, "get.lua", clients, seconds)


def send(
    url: str, lines: Sequence[str], tokens: Path, *, clients: int, seconds: float, start: int = 0, once: bool = False
) -> Measured:
    """What a server answers to requests as `region.line` writes them, from the line `start` on, round and round.

    `once`: each line is sent once at most, and all that was sent is answered. Raises SystemExit where wrk fails.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".requests") as asked:
        asked.write("\n".join(lines))
        asked.flush()
        environment = {"REQUESTS": asked.name, "TOKENS": str(tokens), "START": str(start)}
        if once:
            environment["SECONDS"] = str(seconds)
        measured = _wrk(url, "requests.lua", clients, seconds + (REST_SECONDS if once else 0), environment)
    if once and sum(measured.statuses.values()) >= len(lines) - 1:  # the first one is made, and not sent
        raise SystemExit(f"{len(lines)} requests were too few for {seconds} s; choose shorter runs.")
    return measured


def _wrk(url: str, script: str, clients: int, seconds: float, environment: Mapping[str, str] | None = None) -> Measured:
    done = subprocess.run(  # noqa: S603 - a list of arguments that we made
        ["wrk", "-t1", f"-c{clients}", f"-d{max(round(seconds), 1)}", "--timeout", "30", "-s", script, url],  # noqa: S607
        env={"PATH": os.environ["PATH"], **(environment or {})},
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
    return Measured(**told | {"statuses": {name: n for name, n in told["statuses"].items() if n} | broken})


def pgbench(url: str, script: str, slots: int, seconds: float) -> Measured:
    """Transactions a second of 16 clients that run a script on slots 1 to `slots`, with prepared statements."""
    programs, _ = server_programs(None, server_account())
    options = ["-n", "-M", "prepared", "-c", "16", "-j", "1", "-D", f"slots={slots}", "-T", str(max(round(seconds), 1))]
    done = subprocess.run(  # noqa: S603 - the same
        [programs / "pgbench", *options, "-f", SCRIPTS / script, url], capture_output=True, text=True, check=True
    )
    return Measured(float(re.findall(r"tps = ([\d.]+)", done.stdout)[-1]))
