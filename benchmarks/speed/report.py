"""What a run found: tables printed and saved after each part, with the machine on which it was."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
from figures import Row, table

from health_services.database.account import server_account
from health_services.database.binaries import server_programs
from health_services.database.processes import call


def say(text: str = "") -> None:
    """Print at once: a run takes minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def machine() -> dict[str, str]:
    """What it was measured on, and when."""
    programs, _ = server_programs(None, server_account())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{os.cpu_count()} × {_processor()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "PostgreSQL": call([programs / "postgres", "--version"]).stdout.strip().rpartition(" ")[2],
        "health-services": version("health-services"),
    }


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


@dataclass
class Report:
    """The tables of one run, in `<name>.md` and `<name>.json` of a directory."""

    name: str
    directory: Path
    machine: dict[str, str] = field(default_factory=machine)
    _tables: list[tuple[str, Sequence[Row]]] = field(default_factory=list)

    def add(self, title: str, rows: Sequence[Row]) -> None:
        """Print a table, and save all there are."""
        self._tables.append((title, rows))
        say(f"\n## {title}\n\n{table(rows)}")
        self.directory.mkdir(parents=True, exist_ok=True)
        head = "\n".join(f"- {name}: {what}" for name, what in self.machine.items())
        tables = "\n".join(f"\n## {about}\n\n{table(shown)}" for about, shown in self._tables)
        (self.directory / f"{self.name}.md").write_text(f"# {self.name}\n\n{head}\n{tables}\n", encoding="utf-8")
        found = {
            "machine": self.machine,
            "tables": {about: [r.as_json() for r in shown] for about, shown in self._tables},
        }
        (self.directory / f"{self.name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    def plot(self, name: str, title: str, x_label: str, curves: Mapping[str, Sequence[tuple[float, Row]]]) -> None:
        """Draw latency (p50, p95, p99) against something, one panel for each curve, as `<name>.png`."""
        import plots  # noqa: PLC0415 - needs what only plots need

        plots.latency(self.directory / f"{name}.png", title, x_label, curves)

    def faults(self) -> list[str]:
        """Everything that was not as it has to be."""
        return [f"{row.name}: {fault}" for _, rows in self._tables for row in rows for fault in row.faults]

    def missed(self) -> list[str]:
        """The goals that were not reached."""
        return [f"{row.name}: {row.told(goal)}" for _, rows in self._tables for row in rows for goal in row.missed()]
