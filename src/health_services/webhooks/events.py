"""What other systems are told: one JSON text for each event."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from health_services.webhooks.models import Event

# Clinical text of an appointment, which leaves the system in no event; its fields are there, and null.
WITHOUT = frozenset({"reason_for_visit", "notes", "cancelled_reason"})


def body_of(event: Event, at: datetime, data: Mapping[str, Any]) -> str:
    """The body of an event that happened at this instant, as compact JSON: `type`, `timestamp` and `data`.

    `data` is the resource as the API shows it; what is named in WITHOUT becomes null. Instants are RFC 3339 with Z.
    """
    shown = {name: None if name in WITHOUT else value for name, value in data.items()}
    content = {"type": event, "timestamp": at.astimezone(UTC), "data": shown}
    return orjson.dumps(content, option=orjson.OPT_UTC_Z).decode()
