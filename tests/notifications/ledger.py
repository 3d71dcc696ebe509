"""The ledger for tests: its rows, a worker's hand to send them, and a carrier that only writes down what it carried."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI

from health_services.database.base import AnyRow
from health_services.database.sealing import Vault
from health_services.notifications.models import Channel
from health_services.notifications.sender import Sender
from tests.factories import Person, World, booking

REMINDER = "appointment_reminder"
BOOKED = "appointment_booked"
CANCELLED = "appointment_cancelled"


@dataclass
class Carrier:
    """Takes every message, but for those on which `refuse` raises."""

    refuse: Callable[[AnyRow], None] = lambda _: None
    carried: list[AnyRow] = field(default_factory=list)

    async def carry(self, row: AnyRow) -> None:
        """Write it down."""
        self.refuse(row)
        self.carried.append(row)

    def sent(self) -> list[tuple[str, int | None]]:
        """Kind and lead time of each."""
        return [(row.kind, row.lead_minutes) for row in self.carried]


def failing(error: Exception) -> Carrier:
    """A carrier whose gateway takes nothing."""

    def refuse(_: AnyRow) -> None:
        raise error

    return Carrier(refuse)


def vault_of_app(app: FastAPI) -> Vault:
    """The vault that the application seals with."""
    vault: Vault = app.state.database.writing().info["vault"]
    return vault


class Ledger:
    """Reads and changes rows through the owner's connection."""

    def __init__(self, owner: asyncpg.Connection, app: FastAPI) -> None:
        self.owner = owner
        self._app = app

    async def rows(self, **wanted: Any) -> list[asyncpg.Record]:
        """Rows by id, of those values only."""
        conditions = " AND ".join(f"{name} = ${place}" for place, name in enumerate(wanted, 1))
        query = f"SELECT * FROM notifications WHERE {conditions or 'true'} ORDER BY id"
        return list(await self.owner.fetch(query, *wanted.values()))

    async def row(self, notification_id: int) -> asyncpg.Record:
        """One row."""
        (found,) = await self.rows(id=notification_id)
        return found

    async def states(self, **wanted: Any) -> list[tuple[str, int | None, str, str]]:
        """Kind, lead time, channel and state of each."""
        return [(row["kind"], row["lead_minutes"], row["channel"], row["state"]) for row in await self.rows(**wanted)]

    async def waiting(self, appointment: int) -> dict[int, datetime]:
        """The reminders still to come: when each lead time is due."""
        rows = await self.rows(appointment_id=appointment, kind=REMINDER, state="queued")
        found = {row["lead_minutes"]: row["due_at"] for row in rows}
        assert len(found) == len(rows), "doubled"
        return found

    async def set(self, notification_id: int, **values: str) -> None:
        """Set columns to SQL expressions."""
        changes = ", ".join(f"{name} = {value}" for name, value in values.items())
        await self.owner.execute(f"UPDATE notifications SET {changes} WHERE id = $1", notification_id)

    async def make_due(self, *notification_ids: int) -> None:
        """As if the time had come, a moment ago."""
        for notification_id in notification_ids:
            moment = "now() - interval '1 second'"
            await self.set(notification_id, due_at=moment, next_attempt_at=moment)

    async def add_due_reminder(self, appointment: int) -> int:
        """The id of a reminder a day ahead, due now, as an earlier booking of this visit of tomorrow planned it."""
        query = """
            INSERT INTO notifications (kind, channel, user_id, appointment_id, subject, revision,
                                       lead_minutes, starts_at, expires_at, due_at, next_attempt_at)
            SELECT kind, channel, user_id, appointment_id, subject, revision,
                   1440, starts_at, expires_at, now(), now()
            FROM notifications WHERE appointment_id = $1 AND lead_minutes = 120 RETURNING id"""
        return int(await self.owner.fetchval(query, appointment))

    async def wish(self, person: Person, **columns: str) -> None:
        """Change preferences to SQL expressions, as a change does that has not seen a booking of the same moment."""
        made = "INSERT INTO notification_preferences (user_id) VALUES ($1) ON CONFLICT DO NOTHING"
        await self.owner.execute(made, person.user_id)
        changes = ", ".join(f"{name} = {value}" for name, value in columns.items())
        await self.owner.execute(f"UPDATE notification_preferences SET {changes} WHERE user_id = $1", person.user_id)

    def sender(self, carrier: Carrier, channel: Channel = Channel.EMAIL, luck: float = 0.5) -> Sender:
        """A worker's lane, whose retries come without chance."""
        return Sender(self._app.state.worker_database, channel, carrier, luck=lambda: luck)

    async def send(self, carrier: Carrier, channel: Channel = Channel.EMAIL, limit: int = 20) -> int:
        """Take what is due, once, and carry it out one after the other; how many were taken."""
        sender = self.sender(carrier, channel)
        taken = await sender.take(limit)
        for row in taken:
            await sender.carry_out(row)
        return len(taken)


async def book(
    api: httpx.AsyncClient, world: World, patient: Person, start: datetime, doctor: Person | None = None, **more: Any
) -> int:
    """The id of an appointment that the patient booked, at that instant; `more` is sent along."""
    doctor = doctor or await world.doctor()
    body = booking(patient, doctor, await world.slot(doctor, start), **more)
    booked = await api.post("/appointments/book", json=body, headers=patient.headers)
    assert booked.status_code == 201, booked.text
    return int(booked.json()["id"])


async def prefer(api: httpx.AsyncClient, person: Person, **preferences: Any) -> dict[str, Any]:
    """Change a person's preferences; what they are then."""
    answer = await api.put("/users/me/preferences", json=preferences, headers=person.headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body
