"""A demonstration region in a database of its own, and all that it consists of."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from health_services.database.engine import Database
from health_services.database.sealing import Vault
from health_services.demo.people import Lead
from health_services.demo.region import LOGINS
from health_services.users.models import Role

# Two days before the clocks of the United States go forward.
NOW = datetime(2027, 3, 12, 15, 10, 27, 482_000, tzinfo=UTC)
LEADS = {Role(login.role): Lead(login.name, login.email) for login in LOGINS}

# All that the region consists of, without salted hashes and instants of insertion; ids only where texts are sealed.
CONTENT = {
    "users": """SELECT name, email, password_hash IS NULL, role, is_verified, is_active, last_login, mobile_no, address
                FROM users""",
    "clinics": "SELECT name, address, phone, email, city, state, zip_code, time_zone, is_active FROM clinics",
    "staff": """SELECT c.name, u.name
                FROM clinic_staff JOIN clinics c ON c.id = clinic_id JOIN users u ON u.id = user_id""",
    "doctors": """SELECT u.name, c.name, specialty, license_number, qualifications, experience_years,
                         max_patients_per_day, d.is_active
                  FROM doctors d JOIN users u ON u.id = user_id JOIN clinics c ON c.id = clinic_id""",
    "patients": """SELECT p.id, u.name, date_of_birth, blood_group, allergies, emergency_contact, sex,
                          preferred_language, p.is_active
                   FROM patients p JOIN users u ON u.id = user_id""",
    "slots": """SELECT license_number, c.name, slot_datetime, duration_minutes, capacity, s.is_active, booked_count,
                       local_date
                FROM appointment_slots s JOIN doctors d ON d.id = doctor_id JOIN clinics c ON c.id = s.clinic_id""",
    "appointments": """SELECT a.id, u.name, license_number, slot_datetime, status, reason_for_visit, notes,
                              cancelled_at, cancelled_reason, b.name, is_agreed, a.is_active
                       FROM appointments a JOIN appointment_slots s ON s.id = slot_id
                       JOIN doctors d ON d.id = a.doctor_id JOIN patients p ON p.id = patient_id
                       JOIN users u ON u.id = p.user_id JOIN users b ON b.id = booked_by_user_id""",
}

SEALED = {"patients": ("allergies", "emergency_contact"), "appointments": ("reason_for_visit", "notes")}


@dataclass(frozen=True)
class Place:
    database: Database
    owner: asyncpg.Connection
    vault: Vault

    async def digests(self) -> dict[str, str]:
        """What each table holds, whatever its ids are and however its sealed texts look."""
        found = {}
        for name, query in CONTENT.items():
            rows = sorted(str(self._opened(name, row)) for row in await self.owner.fetch(query))
            found[name] = hashlib.sha256("|".join(rows).encode()).hexdigest()
        return found

    def _opened(self, table: str, row: asyncpg.Record) -> list[Any]:
        values = []
        for name, value in row.items():
            if name in SEALED.get(table, ()) and value is not None:
                assert value.startswith("sealed:")
                values.append(self.vault.open(table, name, row["id"], value))
            elif name != "id":
                values.append(value)
        return values

    async def sizes(self) -> dict[str, int]:
        tables = ("users", "clinics", "clinic_staff", "doctors", "patients", "appointment_slots", "appointments")
        return {table: await self.owner.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


Places = Callable[[], Awaitable[Place]]
