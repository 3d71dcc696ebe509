"""Everybody who can stand before one and the same door, and a fingerprint of the database."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.factories import Person, World

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


@dataclass(frozen=True)
class Cast:
    """One appointment at one clinic, those concerned, those who are not, and the ids that stand in paths."""

    patient: Person
    other_patient: Person
    doctor: Person
    other_doctor: Person
    staff: Person
    other_staff: Person
    admin: Person
    new_doctor: Person
    new_staff: Person
    free_slot: int
    ids: dict[str, Any] = field(default_factory=dict)

    def caller(self, column: str) -> Person | None:
        """Who calls in this column of the table; None is nobody."""
        return {
            "anonymous": None,
            "patient concerned": self.patient,
            "other patient": self.other_patient,
            "doctor concerned": self.doctor,
            "other doctor": self.other_doctor,
            "staff of the clinic": self.staff,
            "staff of another clinic": self.other_staff,
            "administrator": self.admin,
        }[column]


async def make_cast(world: World, **of_appointment: Any) -> Cast:
    """A new region around one appointment, live unless the test says otherwise.

    The others are no strangers to appointments: the other doctor sees the other patient, at the same clinic.
    """
    doctor = await world.doctor()
    other_doctor = await world.doctor(doctor.clinic_id)
    patient, other_patient = await world.patient(), await world.patient()
    staff, other_staff = await world.staff(doctor.clinic_id), await world.staff()
    slot = await world.slot(doctor)
    appointment = await world.appointment(patient, doctor, slot, **of_appointment)
    await world.appointment(other_patient, other_doctor)
    ids = {
        "patient_id": patient.patient_id,
        "doctor_id": doctor.doctor_id,
        "clinic_id": doctor.clinic_id,
        "user_id": staff.user_id,
        "slot_id": slot,
        "appointment_id": appointment,
        **await _messages(world, patient, appointment),
    }
    return Cast(
        patient=patient,
        other_patient=other_patient,
        doctor=doctor,
        other_doctor=other_doctor,
        staff=staff,
        other_staff=other_staff,
        admin=await world.admin(),
        new_doctor=await world.user("doctor"),
        new_staff=await world.user("staff"),
        free_slot=await world.slot(doctor),
        ids=ids,
    )


async def _messages(world: World, patient: Person, appointment: int) -> dict[str, int]:
    """The patient's message that was given up and his browser, and a webhook with a delivery that was given up."""
    insert = world.owner.fetchval
    webhook = await insert(
        "INSERT INTO webhooks (url, events, secret) VALUES ('https://8.8.8.8/', '{slot.deleted}', '') RETURNING id"
    )
    return {
        "webhook_id": webhook,
        "delivery_id": await insert(
            """INSERT INTO webhook_deliveries (webhook_id, event, subject, body, state)
               VALUES ($1, 'slot.deleted', 'slot:1', '{}', 'failed') RETURNING id""",
            webhook,
        ),
        "notification_id": await insert(
            """INSERT INTO notifications (kind, channel, user_id, appointment_id, subject, state, due_at,
                                          next_attempt_at, is_unreachable)
               VALUES ('appointment_booked', 'email', $2, $3, $1, 'failed', now(), now(), true) RETURNING id""",
            *(f"appointment:{appointment}", patient.user_id, appointment),
        ),
        "key_id": await insert(
            """INSERT INTO api_keys (user_id, name, prefix, secret_hash, scopes)
               VALUES ($1, 'Kiosk', $2, '', '{slots:*}') RETURNING id""",
            *(patient.user_id, f"{patient.user_id:012}"),
        ),
        "subscription_id": await insert(
            "INSERT INTO push_subscriptions (user_id, endpoint, p256dh, auth) VALUES ($1, $2, '', '') RETURNING id",
            *(patient.user_id, f"https://8.8.8.8/{appointment}"),
        ),
    }


async def set_password(world: World, person: Person, password_hash: str | None) -> None:
    """Give somebody a password, or none, as if he had always had it: his sessions go on."""
    async with world.owner.transaction():
        await world.owner.execute("SET LOCAL app.is_rehash = 'on'")
        await world.owner.execute("UPDATE users SET password_hash = $1 WHERE id = $2", password_hash, person.user_id)


async def make_invited(world: World, cast: Cast) -> dict[str, Any]:
    """Somebody who has chosen no password yet, and the token of his invitation; the patient has no password either."""
    invited = await world.user("doctor", password_hash=None)
    token = f"invitation of {invited.user_id}"
    await world.owner.execute(
        """INSERT INTO one_time_tokens (token_hash, purpose, user_id, expires_at)
           VALUES ($1, 'invitation', $2, now() + interval '1 day')""",
        *(hashlib.sha256(token.encode()).digest(), invited.user_id),
    )
    await set_password(world, cast.patient, None)
    return {"user_id": invited.user_id, "token": token}


async def fingerprint(owner: asyncpg.Connection) -> dict[str, str]:
    """A digest of every row of every table, but for the audit, which tells of refusals too."""
    tables = [row["tablename"] for row in await owner.fetch(_TABLES) if not row["tablename"].startswith("audit_")]
    digests = " UNION ALL ".join(
        f"SELECT '{table}' AS name, md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) AS digest"
        f' FROM "{table}" AS t'
        for table in tables
    )
    return {row["name"]: row["digest"] for row in await owner.fetch(digests)}
