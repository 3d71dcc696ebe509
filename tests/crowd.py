"""A region in a database of its own, with so many rows that it matters how they are found. Nothing in it is random."""

import asyncpg

from health_services.database import embedded
from tests.servers import TestDatabase, create_database

# Without triggers and foreign keys, which would take most of the time; what they would have written is in the values.
# Person n is a doctor up to {doctors}, then a patient. Doctor n is of clinic 1 + n % {clinics}. Each doctor has {each}
# slots: half of them are over and were booked, and of those to come two of three are.
FILL = """
SET session_replication_role = replica;
SET synchronous_commit = off;
INSERT INTO users (name, email, role)
    SELECT 'Person ' || n, 'crowd' || n || '@example.org',
           CASE WHEN n <= {doctors} THEN 'doctor' ELSE 'patient' END::user_role
    FROM generate_series(1, {doctors} + {patients}) n;
INSERT INTO clinics (name, city) SELECT 'Clinic ' || n, 'City ' || n % 10 FROM generate_series(1, {clinics}) n;
INSERT INTO doctors (user_id, clinic_id, specialty, license_number, name)
    SELECT n, 1 + n % {clinics}, 'Specialty ' || n % 20, 'L' || n, 'Person ' || n FROM generate_series(1, {doctors}) n;
INSERT INTO patients (user_id) SELECT {doctors} + n FROM generate_series(1, {patients}) n;
INSERT INTO sessions (user_id, expires_at)
    SELECT n, now() + interval '30 days' FROM generate_series(1, {doctors} + {patients}) n;
INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, booked_count)
    SELECT 1 + n % {doctors}, 1 + (1 + n % {doctors}) % {clinics}, at, (at < now() OR nth % 3 > 0)::integer
    FROM (SELECT n, n / {doctors} AS nth,
                 date_trunc('hour', now()) + (n / {doctors} - {each} / 2) * interval '1 hour'
                 + n % 60 * interval '1 minute' AS at
          FROM generate_series(0, {doctors} * {each} - 1) n) s;
INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id, is_agreed, status)
    SELECT 1 + id % {patients}, doctor_id, clinic_id, id, true,
           CASE WHEN slot_datetime > now() THEN CASE id % 2 WHEN 0 THEN 'pending' ELSE 'confirmed' END
                WHEN id % 10 = 0 THEN 'cancelled' ELSE 'completed' END::appointment_status
    FROM appointment_slots WHERE booked_count > 0 ORDER BY id;
INSERT INTO notifications (kind, channel, user_id, appointment_id, subject, state, due_at, next_attempt_at)
    SELECT CASE a.id % 50 WHEN 0 THEN 'appointment_cancelled' ELSE 'appointment_reminder' END, 'email',
           {doctors} + a.patient_id, a.id, 'appointment:' || a.id,
           CASE a.status WHEN 'completed' THEN 'sent' WHEN 'cancelled' THEN 'skipped' ELSE 'queued' END,
           s.slot_datetime, s.slot_datetime - (a.id % 50 = 1)::integer * interval '1 day'
    FROM appointments a JOIN appointment_slots s ON s.id = a.slot_id ORDER BY a.id;
INSERT INTO notifications (kind, channel, user_id, subject, state, is_unreachable, due_at, next_attempt_at)
    SELECT 'security_notice', CASE n % 2 WHEN 0 THEN 'sms' ELSE 'email' END, n, 'account', 'failed', n % 5 = 0,
           now(), now()
    FROM generate_series(1, {doctors}) n;
INSERT INTO webhooks (url, events, secret)
    SELECT 'https://8.8.8.8/' || n, '{{appointment.booked}}', '' FROM generate_series(1, 2) n;
INSERT INTO webhook_deliveries (webhook_id, event, subject, body, state)
    SELECT 1 + n % 2, 'appointment.booked', 'appointment:' || n, '',
           CASE n % 500 WHEN 0 THEN 'failed' WHEN 1 THEN 'queued' ELSE 'sent' END
    FROM generate_series(1, {each} * {doctors} / 4) n;
INSERT INTO audit_log (nonce, at, user_id, action, patient_ids, outcome, status, request_id, key_id, mac)
    SELECT gen_random_uuid(), now() - ({each} * {doctors} / 2 - n) * interval '1 minute', 1 + n % {doctors},
           CASE n % 1000 WHEN 0 THEN 'erase_patient' ELSE 'get_patient' END,
           CASE n % 100 WHEN 0 THEN ARRAY[n % {patients}, 1] ELSE ARRAY[n % {patients}] END,
           CASE n % 200 WHEN 0 THEN 'refused' ELSE 'success' END, 200, 'r', 'k', ''
    FROM generate_series(1, {each} * {doctors} / 2) n;
INSERT INTO idempotency_keys (user_id, key_hash, request_hash, status, answer)
    SELECT {doctors} + n, '', '', 201, '' FROM generate_series(1, {patients}) n;
RESET session_replication_role;
"""


def filling(*, doctors: int, each: int, patients: int, clinics: int) -> str:
    """The statements that fill a migrated, empty database; a superuser's."""
    return FILL.format(doctors=doctors, each=each, patients=patients, clinics=clinics)


async def make_crowd(cluster: embedded.Cluster, name: str) -> TestDatabase:
    """A new database with so many of everything that none of its big tables is read whole for a few rows."""
    made = await create_database(cluster, name)
    superuser = await asyncpg.connect(made.admin_url)
    try:
        await superuser.execute(filling(doctors=1000, each=20, patients=4000, clinics=20))
        await superuser.execute("VACUUM ANALYZE")
    finally:
        await superuser.close()
    return made
