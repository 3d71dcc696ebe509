"""A person with a row in every table that can tell of him, and a mark in every column that can hold a text.

Tables and columns come from the database's catalogue: what is new there is marked too, or cannot be written and fails.
"""

import json
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
from fastapi import FastAPI

from health_services.database.base import Base
from health_services.database.resealing import sealed_tables
from health_services.database.sealing import Vault
from tests.factories import Person, World

BORN = date(1977, 7, 17)
_COLUMNS = """
    SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type, a.attnotnull AND NOT a.atthasdef AS is_needed,
           a.attidentity <> '' AS is_identity
    FROM pg_attribute a WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attgenerated = ''"""
SEALED = {table.name: table.columns for table in sealed_tables(Base.metadata)}


@dataclass(frozen=True)
class Seeded:
    """The person, and the mark by which everything of his is known."""

    person: Person
    mark: str
    appointment_id: int
    notification_id: int


def vault_of(app: FastAPI) -> Vault:
    """What opens sealed columns."""
    vault: Vault = app.state.database.writing().info["vault"]
    return vault


def _filled(mark: str, column: asyncpg.Record, place: str) -> Any:
    """A value of this type; with the mark where it can hold one. None where it may be left out."""
    marked = f"{mark} {place}"
    by_type: dict[str, Any] = {
        "character varying": marked,
        "text": marked,
        "character varying[]": [marked],
        "jsonb": json.dumps({"mark": marked}),
        "bytea": marked.encode(),
    }
    if column["type"] in by_type:
        return by_type[column["type"]]
    if not column["is_needed"]:
        return None
    needed: dict[str, Any] = {
        "timestamp with time zone": datetime.now(UTC) + timedelta(days=1),
        "bigint": 1, "integer": 1, "smallint": 200, "boolean": False, "uuid": uuid.uuid4(),
    }  # fmt: skip
    return needed[column["type"]]


async def insert(owner: asyncpg.Connection, app: FastAPI, mark: str, table: str, **fixed: Any) -> int:
    """A row of this table with a mark wherever `fixed` does not say otherwise; its id, 0 where it has none."""
    values: dict[str, Any] = {}
    for column in await owner.fetch(_COLUMNS, table):
        name = column["name"]
        value = fixed[name] if name in fixed else _filled(mark, column, f"{table}.{name}")
        if column["is_identity"]:
            value = await owner.fetchval("SELECT nextval(pg_get_serial_sequence($1, $2))", table, name)
        if value is not None:
            values[name] = value
    row_id = values.get("id", 0)
    for column in SEALED.get(table, ()):
        if column in values:
            key = row_id or values["user_id"]
            values[column] = str(vault_of(app).seal(table, column, key, values[column]))
    names, marks = ", ".join(values), ", ".join(f"${n}" for n in range(1, len(values) + 1))
    await owner.execute(f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({marks})", *values.values())
    return int(row_id)


async def seed(owner: asyncpg.Connection, app: FastAPI, world: World, mark: str, **of_user: Any) -> Seeded:
    """A patient of whom every table tells, but for the audit, in which his own requests stand."""
    person = await world.patient(user=of_user, date_of_birth=BORN, blood_group="B-", sex="female")
    doctor = await world.doctor()
    await _mark_person(owner, app, person, mark)
    # a changed password has ended the first session
    person = replace(person, headers=await world.sign_in(person.user_id))
    own = {"user_id": person.user_id}
    slot = await world.slot(doctor)
    place = {"doctor_id": doctor.doctor_id, "clinic_id": doctor.clinic_id}
    visit = {**place, "slot_id": slot, "status": "completed", "booked_by_user_id": person.user_id}
    appointment = await insert(owner, app, mark, "appointments", patient_id=person.patient_id, **visit)
    emergency = {"patient_id": person.patient_id, "doctor_id": doctor.doctor_id}
    await insert(owner, app, mark, "emergency_accesses", **emergency)
    await insert(owner, app, mark, "clinic_staff", **own, clinic_id=doctor.clinic_id)
    notice = {"kind": "security_notice", "channel": "email", "state": "failed", "subject": f"account:{person.user_id}"}
    notification = await insert(
        owner, app, mark, "notifications", **own, **notice, appointment_id=None, is_unreachable=True
    )
    webhook = await insert(owner, app, "neutral", "webhooks", created_by_user_id=person.user_id, events=[])
    told = {"webhook_id": webhook, "subject": f"appointment:{appointment}", "event": "appointment.booked"}
    await insert(owner, app, mark, "webhook_deliveries", **told, state="sent", last_error=None)
    now = datetime.now(UTC)
    session = await insert(owner, app, mark, "sessions", **own, ended_at=now)
    await insert(owner, app, mark, "refresh_tokens", **own, session_id=session, used_at=now)
    await insert(owner, app, mark, "one_time_tokens", **own, purpose="password_reset")
    await insert(owner, app, mark, "totp_authenticators", **own, confirmed_at=now)
    for table in (
        "notification_preferences", "push_subscriptions", "calendar_feeds", "recovery_codes", "passkeys", "api_keys",
        "idempotency_keys",
    ):  # fmt: skip
        await insert(owner, app, mark, table, **own)
    return Seeded(person, mark, appointment, notification)


async def _mark_person(owner: asyncpg.Connection, app: FastAPI, person: Person, mark: str) -> None:
    """The columns of the account and the record that can hold any text."""
    email = f"{mark.lower()}@example.org"
    await owner.execute(
        "UPDATE users SET name = $2, email = $3, password_hash = $2, mobile_no = $2, address = $2 WHERE id = $1",
        *(person.user_id, f"{mark} users", email),
    )
    vault, number = vault_of(app), person.patient_id
    await owner.execute(
        """UPDATE patients SET allergies = $2, emergency_contact = $3, preferred_language = $4 WHERE id = $1""",
        number,
        *(vault.seal("patients", column, number, f"{mark} {column}") for column in ("allergies", "emergency_contact")),
        mark,
    )


async def traces(owner: asyncpg.Connection, app: FastAPI, mark: str) -> set[str]:
    """The tables in which anything bears the mark, opened where it is sealed, and bytes as text."""
    found = set()
    tables = await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        for row in await owner.fetch(f'SELECT t::text AS whole, to_jsonb(t) AS columns FROM "{table}" t'):
            said = [row["whole"].lower()]
            columns = json.loads(row["columns"])
            for column in SEALED.get(table, ()):
                if columns[column] is not None:
                    key = columns.get("id") or columns["user_id"]
                    said.append(vault_of(app).open(table, column, key, columns[column]).lower())
            needles = (mark.lower(), mark.encode().hex(), mark.lower().encode().hex())
            if any(needle in text for text in said for needle in needles):
                found.add(table)
    return found
