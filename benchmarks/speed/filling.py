"""Filling the table of slots with millions of rows in minutes, without leaving out any of its guards.

The owner takes the table's indexes, foreign keys and exclusion off, inserts, and puts the same back, in one
transaction: building an index at once is quicker than row by row, and adding a constraint checks all rows. What the one
trigger would compute (the slot's day at its clinic) is inserted, and compared afterwards.
"""

import time
from datetime import date

import asyncpg

# Of so many rows is one INSERT.
CHUNK = 1_000_000
SLOTS = """
    INSERT INTO appointment_slots (id, doctor_id, clinic_id, slot_datetime, duration_minutes, local_date)
    OVERRIDING SYSTEM VALUE
    SELECT n + 1, 1 + doctor, 1 + doctor % $4::int,
           (day + '08:00'::time + n % 20 * interval '30 minutes') AT TIME ZONE 'Europe/Berlin', 30, day
    FROM generate_series($1::bigint, $2::bigint) n,
         LATERAL (SELECT n / 100 % $3::int AS doctor,
                         $5::date + (n / 100 / $3::int * 7 + n % 100 / 20)::int AS day) place"""
# Each day has its count already, as it has where somebody booked and cancelled: few bookings are a day's first.
DAYS = """
    INSERT INTO doctor_days (doctor_id, local_date, booked_count, max_patients)
    SELECT DISTINCT s.doctor_id, s.local_date, 0, d.max_patients_per_day
    FROM appointment_slots s JOIN doctors d ON d.id = s.doctor_id"""
# How the table is made: what may be taken off to be put back, by its name.
CONSTRAINTS = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = 'appointment_slots'::regclass AND contype IN ('f', 'x') ORDER BY 1"""
INDEXES = """
    SELECT relname, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
    WHERE indrelid = 'appointment_slots'::regclass
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid) ORDER BY 1"""
IS_OTHER_DAY = """
    SELECT count(*) FROM appointment_slots s JOIN clinics c ON c.id = s.clinic_id
    WHERE local_date <> (slot_datetime AT TIME ZONE time_zone)::date"""
# The tables of pgbench's bookings, without triggers.
YARDSTICK = """
    CREATE TABLE yardstick_slots (LIKE appointment_slots INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS);
    INSERT INTO yardstick_slots (id, doctor_id, clinic_id, slot_datetime, duration_minutes, capacity, booked_count,
                                 is_active, local_date)
    SELECT id, doctor_id, clinic_id, slot_datetime, duration_minutes, 1000, 0, true, local_date
    FROM appointment_slots;
    ALTER TABLE yardstick_slots ADD PRIMARY KEY (id);
    CREATE TABLE yardstick_appointments (LIKE appointments INCLUDING ALL)"""


async def fill_slots(owner: asyncpg.Connection, slots: int, doctors: int, clinics: int, monday: date) -> float:
    """Make so many slots of doctors that are there; rows a second, with indexes, checks and guards.

    Raises SystemExit where the table is not as it was, or a day is not the clinic's.
    """
    began = time.monotonic()
    before = await _definitions(owner)
    async with owner.transaction():
        await owner.execute(
            "SET LOCAL maintenance_work_mem = '1GB'; ALTER TABLE appointment_slots DISABLE TRIGGER USER"
        )
        await _take_off(owner, before)
        for since in range(0, slots, CHUNK):
            until = min(since + CHUNK, slots) - 1
            await owner.execute(SLOTS, since, until, doctors, clinics, monday)
        await owner.execute(f"SELECT setval(pg_get_serial_sequence('appointment_slots', 'id'), {slots})")
        await _put_back(owner, before)
        await owner.execute("ALTER TABLE appointment_slots ENABLE TRIGGER USER")
        await owner.execute(DAYS)
    if await _definitions(owner) != before or await owner.fetchval(IS_OTHER_DAY):
        raise SystemExit("the slots were not filled as their guards would have it")
    return slots / (time.monotonic() - began)


async def fill_yardstick(owner_url: str) -> None:
    """Copy the slots for pgbench."""
    owner = await asyncpg.connect(owner_url, command_timeout=4 * 3600)
    await owner.execute(YARDSTICK)
    await owner.execute("VACUUM ANALYZE yardstick_slots")
    await owner.close()


Definitions = tuple[list[tuple[str, str]], list[tuple[str, str]]]


async def _definitions(owner: asyncpg.Connection) -> Definitions:
    constraints, indexes = [
        [(name, text) for name, text in await owner.fetch(query)] for query in (CONSTRAINTS, INDEXES)
    ]
    return constraints, indexes


async def _take_off(owner: asyncpg.Connection, definitions: Definitions) -> None:
    constraints, indexes = definitions
    for name, _ in constraints:
        await owner.execute(f"ALTER TABLE appointment_slots DROP CONSTRAINT {name}")
    for name, _ in indexes:
        await owner.execute(f"DROP INDEX {name}")


async def _put_back(owner: asyncpg.Connection, definitions: Definitions) -> None:
    constraints, indexes = definitions
    for _, text in indexes:
        await owner.execute(text)
    for name, text in constraints:
        await owner.execute(f"ALTER TABLE appointment_slots ADD CONSTRAINT {name} {text}")
