"""Running sqlmap and wapiti, each in a process of its own, and reading what they found."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service import Caller
from targets import MARK, Request

BIN = Path(sys.executable).parent.parent / "security" / "bin"
AT_ONCE = os.cpu_count() or 2
INJECTION = "SQL injection"
# For finding what there is to attack, and for each module.
WAPITI_SECONDS = 60
# Those that ask nobody else on the Internet; injections into statements that only time shows are sqlmap's.
MODULES = "cookieflags,crlf,csp,exec,file,htaccess,http_headers,methods,permanentxss,redirect,sql,xss"
# Would end the attacker's session, or erase people whom the next request needs.
SPARED = ("auth/logout-all", "users/*/sessions", "users/*/second-factors", "patients/*/erase", "auth/sessions/*")


@dataclass(frozen=True, order=True)
class Finding:
    """What a scanner found, and where."""

    scanner: str
    kind: str
    place: str

    def __str__(self) -> str:
        return f"{self.scanner}: {self.kind} at {self.place}"

    def is_meant_by(self, entry: dict[str, Any]) -> bool:
        """Whether an entry of accepted.toml is about this one."""
        is_kind = (entry["scanner"], entry["kind"]) == (self.scanner, self.kind)
        return is_kind and re.fullmatch(entry["place"], self.place) is not None


def sqlmap(requests: Iterable[Request], directory: Path) -> Iterator[Finding]:
    """Findings in these requests; one that could not be tested, twice, is a finding too."""

    def run(request: Request) -> Finding | None:
        verdict = _verdict(request.raw, directory)
        if verdict and verdict != INJECTION:
            verdict = _verdict(request.raw, directory)
        return Finding("sqlmap", verdict, request.name) if verdict else None

    threads = ThreadPoolExecutor(AT_ONCE)
    try:
        yield from (finding for finding in threads.map(run, requests) if finding)
    finally:
        threads.shutdown(cancel_futures=True)


def _verdict(raw: str, directory: Path) -> str | None:
    """What is wrong; None where sqlmap tried everything and found nothing."""
    name = f"{abs(hash(raw)):x}"
    file = directory / f"{name}.request"
    file.write_text(raw, encoding="utf-8", newline="")
    said = subprocess.run(  # noqa: S603
        [
            *(
                str(BIN / "sqlmap"),
                "-r",
                str(file),
                "--batch",
                "--disable-coloring",
                "--flush-session",
                "--dbms",
                "PostgreSQL",
            ),
            *("--level", "1", "--risk", "1", "--time-sec", "3", "--timeout", "20", "--retries", "1"),
            *("--ignore-code", "*", "--drop-set-cookie", "--output-dir", str(directory / f"{name}.sqlmap")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    ).stdout
    if "identified the following injection point" in said:
        return INJECTION
    if "all tested parameters do not appear to be injectable" in said:
        return None
    return "not tested: " + " ".join(said.split())[-300:]


def wapiti(url: str, caller: Caller | None, directory: Path) -> Iterator[Finding]:
    """Findings at every operation of the document, or, for no caller, at what is linked from the first page."""
    report = directory / f"wapiti-{caller.role if caller else 'control'}.json"
    header = ["-H", f"Authorization: Bearer {caller.token}", "--swagger", f"{url}/openapi.json"] if caller else []
    spared = [part for path in SPARED for part in ("-x", f"{url}/api/v1/{path}")]
    done = subprocess.run(  # noqa: S603
        [
            *(str(BIN / "wapiti"), "-u", f"{url}/", *header, *spared, "-m", MODULES, "-f", "json", "-o", str(report)),
            *("--flush-session", "--no-bugreport", "-v", "0"),
            *("--max-scan-time", str(WAPITI_SECONDS), "--max-attack-time", str(WAPITI_SECONDS)),
            *("--store-session", str(directory / "wapiti"), "--store-config", str(directory / "wapiti")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=WAPITI_SECONDS * 30,
    )
    if not report.exists():
        yield Finding("wapiti", "did not run", done.stdout[-300:])
        return
    found = json.loads(report.read_text(encoding="utf-8"))
    for group in ("vulnerabilities", "anomalies"):
        for kind, places in found[group].items():
            for place in places:
                yield Finding("wapiti", kind, f"{place['method']} {place['path']}: {place['info'][:200]}")


def finds_holes(scanner: str, url: str, directory: Path) -> int:
    """How many holes the scanner finds in a service that has some; it is of no use where it finds none."""
    if scanner == "sqlmap":
        raw = f"GET /?name=x{MARK} HTTP/1.1\r\nHost: {url.removeprefix('http://')}\r\n\r\n"
        count = int(_verdict(raw, directory) == INJECTION)
    else:
        count = sum(
            finding.kind in {"SQL Injection", "Reflected Cross Site Scripting"}
            for finding in wapiti(url, None, directory)
        )
    if not count:
        raise SystemExit(f"{scanner} does not even find the holes of the control")
    return count
