"""The region that is asked: its doctors, its slots, and patients who are signed in."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp
import asyncpg

DOCTORS, CLINICS, PATIENTS = 500, 20, 50
# Twenty a day from 8 o'clock on, from the day after tomorrow; a week of a doctor is more than one page.
FILL = """
    INSERT INTO clinics (name, time_zone, city)
    SELECT 'Clinic ' || n, 'Europe/Berlin', 'City ' || n % 7 FROM generate_series(1, {clinics}) n;
    WITH accounts AS (INSERT INTO users (name, role)
                      SELECT 'Doctor ' || n, 'doctor' FROM generate_series(1, {doctors}) n RETURNING id)
    INSERT INTO doctors (user_id, clinic_id, specialty, license_number, max_patients_per_day)
    SELECT id, 1 + id % {clinics}, (ARRAY['Dermatology', 'Cardiology', 'Pediatrics', 'Neurology'])[1 + id % 4],
           'L' || id, 1000 FROM accounts;
    INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, duration_minutes)
    SELECT d.id, d.clinic_id,
           date_trunc('day', now()) + interval '2 days 8 hours'
               + n / 20 * interval '1 day' + n % 20 * interval '30 minutes', 30
    FROM generate_series(0, {slots} / {doctors} - 1) n, doctors d;
    CREATE TABLE yardstick_slots (LIKE appointment_slots INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS);
    INSERT INTO yardstick_slots (id, doctor_id, clinic_id, slot_datetime, duration_minutes, capacity, booked_count,
                                 is_active, local_date)
    SELECT id, doctor_id, clinic_id, slot_datetime, duration_minutes, 1000, 0, true, local_date
    FROM appointment_slots;
    ALTER TABLE yardstick_slots ADD PRIMARY KEY (id);
    CREATE TABLE yardstick_appointments (LIKE appointments INCLUDING ALL)"""


@dataclass(frozen=True)
class Patient:
    """Somebody who is signed in."""

    id: int
    token: str


async def fill(owner_url: str, url: str, slots: int) -> list[Patient]:
    """Make everything; the patients register over HTTP."""
    owner = await asyncpg.connect(owner_url)
    await owner.execute(FILL.format(clinics=CLINICS, doctors=DOCTORS, slots=slots), timeout=3600)
    await owner.execute("VACUUM ANALYZE", timeout=3600)
    await owner.close()
    patients = []
    async with aiohttp.ClientSession() as http:
        for n in range(PATIENTS):
            account = {"name": f"Ada {n}", "email": f"ada{n}@example.org", "password": "three blue teapots"}
            async with http.post(f"{url}/api/v1/auth/register", json=account) as answer:
                made = await answer.json()
                patients.append(Patient(made["user"]["patient_id"], made["access_token"]))
    return patients


def line(method: str, path: str, patient: Patient | None = None, key: str = "", body: object = None) -> str:
    """A request as requests.lua reads it."""
    token = patient.token if patient else ""
    return "\t".join((method, path, token, key, json.dumps(body) if body is not None else ""))


def weeks(path: str) -> list[str]:
    """A list of slots for each doctor and each of four weeks."""
    today = datetime.now(UTC).date()
    return [
        line(
            "GET",
            f"{path}?doctor_id={doctor}&date_from={since}T00:00:00Z&date_to={since + timedelta(days=7)}T00:00:00Z",
        )
        for since in (today + timedelta(days=2 + 7 * week) for week in range(4))
        for doctor in range(1, DOCTORS + 1)
    ]


async def bookings(owner_url: str, patients: list[Patient], prefix: str, since: int, count: int) -> list[str]:
    """Requests that book distinct free slots, each for the next patient; those up to `since` are left out."""
    owner = await asyncpg.connect(owner_url)
    rows = await owner.fetch(
        "SELECT id, doctor_id, clinic_id FROM appointment_slots WHERE id > $1 ORDER BY id LIMIT $2", since, count
    )
    await owner.close()
    lines = []
    for place, (slot, doctor, clinic) in enumerate(rows):
        patient = patients[place % len(patients)]
        body = {"patient_id": patient.id, "doctor_id": doctor, "clinic_id": clinic, "slot_id": slot}
        lines.append(line("POST", f"{prefix}/appointments/book", patient, f"key-{slot}", body))
    return lines
