"""People, places and slots for tests, written straight into the database; only what a test names is fixed."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from health_services.access.tokens import Tokens

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Person:
    """An account with its records, and the header that signs its requests."""

    user_id: int
    email: str
    headers: dict[str, str]
    patient_id: int = 0
    doctor_id: int = 0
    clinic_id: int = 0


class World:
    """Makes rows through the owner's connection."""

    def __init__(self, owner: asyncpg.Connection, tokens: Tokens, *, has_sessions: bool = True) -> None:
        """Without sessions, on a schema of before there were any, nobody is signed in."""
        self.owner = owner
        self.tokens = tokens
        self._has_sessions = has_sessions
        self._sessions: dict[int, int] = {}

    async def _insert(self, table: str, **values: Any) -> int:
        names, marks = ", ".join(values), ", ".join(f"${i}" for i in range(1, len(values) + 1))
        query = f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id"
        return int(await self.owner.fetchval(query, *values.values()))

    def headers(self, user_id: int, role: str = "patient") -> dict[str, str]:
        """A valid token of this user's session, as a header."""
        token = self.tokens.issue(user_id, role, self._sessions[user_id], datetime.now(UTC))
        return {"Authorization": f"Bearer {token}"}

    async def sign_in(self, user_id: int, role: str = "patient", **values: Any) -> dict[str, str]:
        """A session of this user, just begun unless the test says otherwise, and a token of it as a header."""
        values = {"expires_at": datetime.now(UTC) + timedelta(days=90), **values}
        self._sessions[user_id] = await self._insert("sessions", user_id=user_id, **values)
        return self.headers(user_id, role)

    async def user(self, role: str = "patient", **values: Any) -> Person:
        """An account; its password works for nobody."""
        n = next(_numbers)
        email = values.pop("email", f"person{n}@example.org")
        values = {"name": f"Person {n}", "password_hash": "!", **values}
        user_id = await self._insert("users", email=email, role=role, **values)
        return Person(user_id, email, await self.sign_in(user_id, role) if self._has_sessions else {})

    async def admin(self) -> Person:
        """An administrator."""
        return await self.user("admin")

    async def patient(self, *, user: dict[str, Any] | None = None, **values: Any) -> Person:
        """A patient with an account and a record."""
        person = await self.user("patient", **(user or {}))
        patient_id = await self._insert("patients", user_id=person.user_id, **values)
        return Person(person.user_id, person.email, person.headers, patient_id=patient_id)

    async def patients(self, count: int) -> list[Person]:
        """So many patients, in one statement."""
        rows = await self.owner.fetch(
            """WITH accounts AS (
                   INSERT INTO users (name, email, password_hash)
                   SELECT 'Person ' || n, 'one-of-many-' || n || '@example.org', '!' FROM unnest($1::int[]) AS n
                   RETURNING id, email)
               , records AS (INSERT INTO patients (user_id) SELECT id FROM accounts RETURNING id, user_id)
               , signed AS (INSERT INTO sessions (user_id, expires_at)
                            SELECT id, now() + interval '90 days' FROM accounts RETURNING id, user_id)
               SELECT a.id, a.email, r.id AS patient_id, s.id AS session_id
               FROM accounts a JOIN records r ON r.user_id = a.id JOIN signed s ON s.user_id = a.id""",
            [next(_numbers) for _ in range(count)],
        )
        self._sessions.update((row["id"], row["session_id"]) for row in rows)
        return [Person(row["id"], row["email"], self.headers(row["id"]), patient_id=row["patient_id"]) for row in rows]

    async def clinic(self, time_zone: str = "UTC", **values: Any) -> int:
        """A clinic's id."""
        return await self._insert("clinics", **{"name": f"Clinic {next(_numbers)}", "time_zone": time_zone, **values})

    async def doctor(self, clinic_id: int | None = None, **values: Any) -> Person:
        """A doctor with an account and a record, at a clinic of his own unless one is given."""
        clinic_id = clinic_id or await self.clinic()
        person = await self.user("doctor")
        values = {"specialty": "Cardiology", "license_number": f"LIC{next(_numbers)}", **values}
        doctor_id = await self._insert("doctors", user_id=person.user_id, clinic_id=clinic_id, **values)
        return Person(person.user_id, person.email, person.headers, doctor_id=doctor_id, clinic_id=clinic_id)

    async def staff(self, clinic_id: int | None = None) -> Person:
        """Somebody at a clinic's desk."""
        clinic_id = clinic_id or await self.clinic()
        person = await self.user("staff")
        await self.owner.execute(
            "INSERT INTO clinic_staff (clinic_id, user_id) VALUES ($1, $2)", clinic_id, person.user_id
        )
        return Person(person.user_id, person.email, person.headers, clinic_id=clinic_id)

    async def slot(self, doctor: Person, start: datetime | None = None, **values: Any) -> int:
        """A slot's id; without a start it lies after every other one that was made so."""
        start = start or soon() + timedelta(hours=next(_numbers))
        return await self._insert(
            "appointment_slots",
            doctor_id=doctor.doctor_id,
            clinic_id=doctor.clinic_id,
            slot_datetime=start,
            **values,
        )

    async def appointment(self, patient: Person, doctor: Person, slot_id: int | None = None, **values: Any) -> int:
        """An appointment's id; booked by the patient unless the test says otherwise."""
        return await self._insert(
            "appointments",
            patient_id=patient.patient_id,
            doctor_id=doctor.doctor_id,
            clinic_id=doctor.clinic_id,
            slot_id=slot_id or await self.slot(doctor),
            **{"is_agreed": True, **values},
        )


def soon() -> datetime:
    """Tomorrow at this full hour, UTC."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=1)


def booking(patient: Person, doctor: Person, slot_id: int, **more: Any) -> dict[str, Any]:
    """The body of POST /appointments/book."""
    return {
        "patient_id": patient.patient_id,
        "doctor_id": doctor.doctor_id,
        "clinic_id": doctor.clinic_id,
        "slot_id": slot_id,
        **more,
    }
