"""The data: one region in which everything about a slot follows from its number, and what must hold in it."""

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg

DOCTORS = 500
CLINICS = 50
PATIENTS = 20_000
SLOTS_A_DAY = 20

# Slot n is of doctor 1 + (n - 1) % DOCTORS, and the doctor of clinic 1 + (doctor - 1) % CLINICS.
FILL = (
    """INSERT INTO users (name, role) SELECT 'Person ' || n, 'doctor' FROM generate_series(1, {doctors}) n""",
    """INSERT INTO users (name) SELECT 'Person ' || n FROM generate_series(1, {patients}) n""",
    """INSERT INTO clinics (name, time_zone) SELECT 'Clinic ' || n, 'Europe/Berlin'
       FROM generate_series(1, {clinics}) n""",
    """INSERT INTO doctors (user_id, clinic_id, specialty, license_number, max_patients_per_day)
       SELECT n, 1 + (n - 1) % {clinics}, 'Dermatology', 'L' || n, {slots_a_day}
       FROM generate_series(1, {doctors}) n""",
    """INSERT INTO patients (user_id) SELECT {doctors} + n FROM generate_series(1, {patients}) n""",
    """INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, duration_minutes)
       SELECT 1 + (n - 1) % {doctors}, 1 + ((n - 1) % {doctors}) % {clinics},
              date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' + interval '1 day 8 hours'
              + make_interval(days => nth / {slots_a_day}, mins => nth % {slots_a_day} * 20), 20
       FROM (SELECT n, (n - 1) / {doctors} AS nth FROM generate_series(1, {slots}) n) AS numbered ORDER BY n""",
)

BROKEN = {
    "booked_count is the number of appointments not cancelled": """
        SELECT count(*) FROM appointment_slots s WHERE booked_count <> (
            SELECT count(*) FROM appointments WHERE slot_id = s.id AND status <> 'cancelled')""",
    "0 <= booked_count <= capacity, is_booked follows": """
        SELECT count(*) FROM appointment_slots
        WHERE booked_count NOT BETWEEN 0 AND capacity OR is_booked <> (booked_count >= capacity)""",
    "one live appointment of a patient on a slot": """
        SELECT count(*) FROM (SELECT FROM appointments WHERE status IN ('pending', 'confirmed')
                              GROUP BY slot_id, patient_id HAVING count(*) > 1) AS twice""",
}
BROKEN_DAYS = {
    "the doctor's day is counted and within its limit": """
        SELECT count(*) FROM (
            SELECT s.doctor_id, s.local_date, count(*) AS n FROM appointments a
            JOIN appointment_slots s ON s.id = a.slot_id WHERE a.status <> 'cancelled' GROUP BY 1, 2) AS day
        FULL JOIN doctor_days d USING (doctor_id, local_date)
        WHERE COALESCE(n, 0) <> COALESCE(d.booked_count, 0)
           OR n > (SELECT max_patients_per_day FROM doctors WHERE id = doctor_id)""",
}


@dataclass(frozen=True)
class Place:
    """What a booking names besides the patient."""

    slot: int
    doctor: int
    clinic: int

    @classmethod
    def of(cls, slot: int) -> "Place":
        """Doctor and clinic of slot `slot`."""
        doctor = 1 + (slot - 1) % DOCTORS
        return cls(slot, doctor, 1 + (doctor - 1) % CLINICS)


def at(url: str, database: str) -> str:
    """The same login to another database of the server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


async def fill(owner_url: str, slots: int) -> None:
    """Fill the migrated, empty database."""
    owner = await asyncpg.connect(owner_url)
    try:
        for statement in FILL:
            numbers = {"doctors": DOCTORS, "clinics": CLINICS, "patients": PATIENTS}
            await owner.execute(statement.format(**numbers, slots_a_day=SLOTS_A_DAY, slots=slots))
        await owner.execute("VACUUM ANALYZE")
    finally:
        await owner.close()


async def broken(owner_url: str, *, counts_days: bool) -> list[str]:
    """The invariants that do not hold, in words."""
    owner = await asyncpg.connect(owner_url)
    try:
        checks = BROKEN | (BROKEN_DAYS if counts_days else {})
        found = [(name, await owner.fetchval(check)) for name, check in checks.items()]
    finally:
        await owner.close()
    return [f"{name}: {count} rows" for name, count in found if count]
