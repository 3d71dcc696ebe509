"""Attacks a service of its own with scanners, and compares the times of answers that should tell nothing.

    python security/run.py [--only sqlmap,wapiti,timing] [--samples N]

Serves a believable region from a scratch directory, without limits. sqlmap tries every parameter in paths, queries and
JSON bodies as a patient and as an administrator, wapiti every operation of the document; a service with holes shows
first that both would find some. Then the times of signing in and of asking for a new password are compared for known
and unknown people. Ends with exit code 1 where a finding is left that accepted.toml does not name with its reason.
Takes 20 to 40 minutes on two cores.
"""

import argparse
import signal
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import control
import scanners
import targets
import timing
from scanners import Finding
from service import Service

ACCEPTED = Path(__file__).with_name("accepted.toml")
PARTS = ("sqlmap", "wapiti", "timing")


def say(line: str = "") -> None:
    """Print at once: a run takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run what was asked for, and say what stands."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the service ends with this
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help="which parts, with commas between them")
    parser.add_argument("--samples", type=int, default=300, help="answers of each kind that are timed (default 300)")
    options = parser.parse_args()
    parts = options.only.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--only takes some of {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="hs-security-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the database's user must be able to pass
        with Service.running(directory) as service:
            found = []
            for finding in _findings(service, directory, parts, options.samples):
                say(f"  {finding}")
                found.append(finding)
            found += [Finding("service", "crash", line) for line in service.crashes()]
    sys.exit(1 if _report(found) else 0)


def _findings(service: Service, directory: Path, parts: list[str], samples: int) -> Iterator[Finding]:
    if "timing" in parts:  # first, while there is nothing but the region
        yield from timing.findings(service, samples, say)
    scanning = [part for part in ("sqlmap", "wapiti") if part in parts]
    if scanning:
        with control.with_holes(service.database_url) as url:
            for scanner in scanning:
                say(f"{scanner} finds the holes of the control: {scanners.finds_holes(scanner, url, directory)}")
    for role in ("patient", "admin"):
        caller = service.sign_in(role)
        if "sqlmap" in parts:
            requests = targets.requests(service, caller)
            say(f"sqlmap as {role}: {len(requests)} requests, {sum(r.places for r in requests)} places")
            yield from scanners.sqlmap(requests, directory)
        if "wapiti" in parts:
            say(f"wapiti as {role}")
            yield from scanners.wapiti(service.url, caller, directory)


def _report(found: list[Finding]) -> int:
    """Print every finding; how many are not accepted."""
    accepted = tomllib.loads(ACCEPTED.read_text(encoding="utf-8")).get("finding", [])
    standing = 0
    for finding in sorted(set(found)):
        reasons = [entry["reason"] for entry in accepted if finding.is_meant_by(entry)]
        standing += not reasons
        say(f"{'accepted' if reasons else 'FINDING '}  {finding}{' – ' + reasons[0] if reasons else ''}")
    say(f"{standing} findings stand, {len(set(found)) - standing} are accepted")
    return standing


if __name__ == "__main__":
    main()
