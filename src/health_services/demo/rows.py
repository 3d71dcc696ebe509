"""Writing the region: a few statements of thousands of rows each, with the application's rights."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.appointment_slots.models import AppointmentSlot
from health_services.appointments.models import Appointment
from health_services.clinics.models import Clinic, ClinicStaff
from health_services.database.base import Base
from health_services.database.sealing import Sealed, sealed
from health_services.demo.geography import SITES
from health_services.demo.people import STAFF_PER_CLINIC
from health_services.demo.plan import Region
from health_services.doctors.models import Doctor
from health_services.patients.models import Patient
from health_services.users.models import User

AT_ONCE = 4000

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_NEXT_IDS = text(
    """SELECT nextval(pg_get_serial_sequence(CAST(:table AS text), 'id'))
       FROM generate_series(1, CAST(:count AS integer))"""
)

Progress = Callable[[str, int, int], None]


class Writer:
    """Inserts rows of one session and tells how far it is."""

    def __init__(self, session: AsyncSession, total: int, progress: Progress) -> None:
        self._session, self._total, self._progress = session, total, progress
        self._written = 0

    async def insert(self, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Insert rows that have the same columns; the answer is their ids in the order of the rows."""
        table = cast(Table, model.__table__)
        what = table.name.replace("_", " ").capitalize()
        ids: list[int] = []
        for begin in range(0, len(rows), AT_ONCE):
            self._progress(what, self._written, self._total)
            chunk = rows[begin : begin + AT_ONCE]
            ids += await self._insert(table, chunk)
            self._written += len(chunk)
        self._progress(what, self._written, self._total)
        return ids

    async def _insert(self, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        columns = [name for name in rows[0] if isinstance(table.c[name].type, Sealed)]
        if not columns:
            return await self._write(table, rows, "")
        # A sealed text is bound to its row's id, which has to be known before.
        drawn = {"table": table.name, "count": len(rows)}
        ids = sorted((await self._session.execute(_NEXT_IDS, drawn)).scalars())
        numbered = [
            {"id": row_id, **sealed(self._session, table.name, columns, row_id, row)}
            for row_id, row in zip(ids, rows, strict=True)
        ]
        return await self._write(table, numbered, "OVERRIDING SYSTEM VALUE")

    async def _write(self, table: Table, rows: Sequence[Mapping[str, Any]], overriding: str) -> list[int]:
        names = ", ".join(rows[0])
        arrays = ", ".join(f"CAST(:{name} AS {table.c[name].type.compile(_DIALECT)}[])" for name in rows[0])
        # The names are those of our own models.
        statement = text(
            f"INSERT INTO {table.name} ({names}) {overriding} SELECT {names} "  # noqa: S608
            f"FROM unnest({arrays}) WITH ORDINALITY AS given ({names}, place) ORDER BY place "
            f"RETURNING {next(iter(table.primary_key)).name}"
        )
        values = {name: [row[name] for row in rows] for name in rows[0]}
        # Ids are drawn in the order of the SELECT, but RETURNING promises none.
        return sorted((await self._session.execute(statement, values)).scalars())


async def write(session: AsyncSession, region: Region, hashes: Mapping[str, str], progress: Progress) -> None:
    """Insert the whole region; `hashes` are the passwords of the e-mail addresses that can sign in."""
    writer = Writer(session, region.rows, progress)
    clinics = await writer.insert(Clinic, _clinics(region))
    users = await writer.insert(User, _users(region, hashes))
    at_desks = [
        {"clinic_id": clinics[place // STAFF_PER_CLINIC], "user_id": users[person]}
        for place, person in enumerate(region.staff)
    ]
    await writer.insert(ClinicStaff, at_desks)
    doctors = await writer.insert(Doctor, _doctors(region, users, clinics))
    patients = await writer.insert(Patient, _patients(region, users))
    slots = await writer.insert(AppointmentSlot, _slots(region, doctors, clinics))
    await writer.insert(Appointment, _appointments(region, users, clinics, doctors, patients, slots))


def _clinics(region: Region) -> list[dict[str, Any]]:
    return [
        {
            "name": site.name,
            "address": site.address,
            "phone": phone,
            "email": site.email,
            "city": site.city.name,
            "state": site.city.state,
            "zip_code": site.zip_code,
            "time_zone": site.city.time_zone,
        }
        for site, phone in zip(SITES, region.clinic_phones, strict=True)
    ]


def _users(region: Region, hashes: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "name": person.name,
            "email": person.email,
            "password_hash": hashes.get(person.email or ""),
            "role": person.role,
            "is_verified": person.is_verified,
            "mobile_no": person.mobile_no,
            "address": person.address,
        }
        for person in region.people
    ]


def _doctors(region: Region, users: list[int], clinics: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "user_id": users[doctor.person],
            "clinic_id": clinics[doctor.clinic],
            "specialty": doctor.specialty.name,
            "license_number": doctor.license_number,
            "qualifications": doctor.qualifications,
            "experience_years": doctor.experience_years,
            "max_patients_per_day": limit,
        }
        for doctor, limit in zip(region.doctors, region.limits, strict=True)
    ]


def _patients(region: Region, users: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "user_id": users[patient.person],
            "date_of_birth": patient.date_of_birth,
            "blood_group": patient.blood_group,
            "allergies": patient.allergies,
            "emergency_contact": patient.emergency_contact,
            "sex": patient.sex,
            "preferred_language": patient.preferred_language,
            "is_active": patient.is_active,
        }
        for patient in region.patients
    ]


def _slots(region: Region, doctors: list[int], clinics: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "doctor_id": doctors[slot.doctor],
            "clinic_id": clinics[region.doctors[slot.doctor].clinic],
            "slot_datetime": slot.starts_at,
            "duration_minutes": slot.minutes,
            "capacity": slot.capacity,
        }
        for slot in region.slots
    ]


def _appointments(
    region: Region, users: list[int], clinics: list[int], doctors: list[int], patients: list[int], slots: list[int]
) -> list[dict[str, Any]]:
    rows = []
    for visit in region.visits:
        doctor = region.slots[visit.slot].doctor
        rows.append(
            {
                "patient_id": patients[visit.patient],
                "doctor_id": doctors[doctor],
                "clinic_id": clinics[region.doctors[doctor].clinic],
                "slot_id": slots[visit.slot],
                "status": visit.status,
                "reason_for_visit": visit.reason,
                "notes": visit.notes,
                "cancelled_at": visit.cancelled_at,
                "cancelled_reason": visit.cancelled_reason,
                "booked_by_user_id": users[visit.booked_by],
                "is_agreed": visit.is_agreed,
            }
        )
    return rows
