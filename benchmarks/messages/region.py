"""Rows to send: patients with a visit in a month, and a reminder of it in the ledger, due when it is asked for."""

import asyncpg
from mail_server import REFUSED

# So many patients has a slot, and its doctor.
SLOT = 1000
EMPTY = (
    "TRUNCATE notifications, webhook_deliveries, webhooks, appointments, appointment_slots, doctor_days, doctors, "
    "patients, clinics, users RESTART IDENTITY CASCADE"
)
# The doctors are the first users; person n is patient n, in slot 1 + (n - 1) / SLOT; one of a hundred is refused.
FILL = """
    INSERT INTO clinics (name, time_zone, address, phone) VALUES ('Clinic', 'Europe/Berlin', '1 High Street', '12345');
    INSERT INTO users (name, role) SELECT 'Doctor ' || n, 'doctor' FROM generate_series(1, {slots}) n;
    INSERT INTO doctors (user_id, clinic_id, specialty, license_number, max_patients_per_day)
    SELECT n, 1, 'Dermatology', 'L' || n, {slot} FROM generate_series(1, {slots}) n;
    INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, duration_minutes, capacity)
    SELECT n, 1, date_trunc('hour', now()) + interval '30 days', 20, {slot} FROM generate_series(1, {slots}) n;
    INSERT INTO users (name, email)
    SELECT 'Person ' || n, CASE n % 100 WHEN 0 THEN '{refused}' ELSE 'person' END || n || '@example.org'
    FROM generate_series(1, {people}) n;
    INSERT INTO patients (user_id) SELECT {slots} + n FROM generate_series(1, {people}) n;
    INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id, is_agreed)
    SELECT n, 1 + (n - 1) / {slot}, 1, 1 + (n - 1) / {slot}, true FROM generate_series(1, {people}) n"""
REMIND = """
    INSERT INTO notifications (kind, channel, user_id, appointment_id, subject, lead_minutes, starts_at, expires_at,
                               due_at, next_attempt_at)
    SELECT 'appointment_reminder', 'email', user_id, id, 'appointment:' || id, 1440, starts_at, starts_at, due, due
    FROM (SELECT a.id, p.user_id, s.slot_datetime AS starts_at, now() + (1 + $1 * random()) * interval '1 second' AS due
          FROM appointments a JOIN patients p ON p.id = a.patient_id JOIN appointment_slots s ON s.id = a.slot_id) v"""


async def fill(owner: asyncpg.Connection, people: int) -> None:
    """Make so many patients with their visits; nothing is left of what was there."""
    await owner.execute(EMPTY)
    await owner.execute(FILL.format(people=people, slots=1 + (people - 1) // SLOT, slot=SLOT, refused=REFUSED))
    await owner.execute("VACUUM ANALYZE")


async def remind(owner: asyncpg.Connection, within_seconds: float, *, held: bool = False) -> None:
    """Put everybody's reminder into the ledger, due at random instants from the next second on.

    Held, until `release`.
    """
    await owner.execute(REMIND, float(within_seconds))
    if held:
        await owner.execute("UPDATE notifications SET next_attempt_at = now() + interval '1 day'")
    await owner.execute("VACUUM ANALYZE notifications")


async def release(owner: asyncpg.Connection) -> None:
    """Let what is held be due."""
    await owner.execute("UPDATE notifications SET next_attempt_at = now()")
