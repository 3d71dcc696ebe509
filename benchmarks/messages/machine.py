"""What else the machine did during a measurement."""

import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Machine:
    """Its clocks at one instant."""

    at: float
    busy: float
    withheld: float

    @classmethod
    def now(cls) -> "Machine":
        """As they stand."""
        times = psutil.cpu_times()
        return cls(time.monotonic(), times.user + times.nice + times.system, getattr(times, "steal", 0.0))

    def since(self) -> str:
        """How many cores were busy since then, with this and everything else, and how many the host withheld."""
        now = self.now()
        seconds = now.at - self.at
        busy, withheld = (now.busy - self.busy) / seconds, (now.withheld - self.withheld) / seconds
        return f"of {psutil.cpu_count()} cores {busy:.1f} were busy and {withheld:.1f} withheld by the host"
