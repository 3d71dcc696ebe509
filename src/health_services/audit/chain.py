"""What the links of the audit's chain are made over; no clock, no database."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from health_services.access.trail import canonical
from health_services.database.base import AnyRow
from health_services.database.sealing import Vault

ENTRY, SEAL, CHECKPOINT = b"audit", b"audit seal", b"audit checkpoint"


@dataclass(frozen=True)
class Link:
    """Where the chain stands: the number and mac of its last seal, and the id below which no entry can come."""

    seq: int = 0
    mac: bytes = b""
    floor: int = 0

    def sealed(self, entry_id: int, entry_mac: bytes, floor: int) -> bytes:
        """The bytes that the next seal is made over."""
        return orjson.dumps([self.mac.hex(), self.seq + 1, entry_id, entry_mac.hex(), floor])

    def signed(self) -> bytes:
        """The bytes that a checkpoint in this place is signed over."""
        return orjson.dumps([self.seq, self.mac.hex(), self.floor])


def links(vault: Vault, last: Link, entries: Iterable[AnyRow], floor: int) -> Sequence[dict[str, Any]]:
    """The seals of these entries, which come after `last` in this order; only with the last one the floor rises."""
    rows: list[dict[str, Any]] = []
    waiting = list(entries)
    for place, entry in enumerate(waiting, start=1):
        floor_now = floor if place == len(waiting) else last.floor
        key_id, mac = vault.authenticate(SEAL, last.sealed(entry.id, entry.mac, floor_now))
        last = Link(last.seq + 1, mac, floor_now)
        rows.append({"seq": last.seq, "entry_id": entry.id, "floor": floor_now, "key_id": key_id, "mac": mac})
    return rows


def is_entry_authentic(vault: Vault, row: AnyRow) -> bool | None:
    """Whether an entry is as a holder of its key wrote it; None where the key is missing."""
    return vault.is_authentic(ENTRY, canonical(row._asdict()), row.key_id, row.mac)
