"""The schema: the guide's names, and rules that hold against psql under the application's role as well."""

import asyncpg
import pytest

from health_services.database import embedded
from health_services.database.constraints import REFUSALS
from tests.factories import World, soon
from tests.servers import TestDatabase

# The guide's columns, table by table.
GUIDE = {
    "users": "id name email password_hash role is_verified is_active created_at updated_at last_login mobile_no"
    " address",
    "patients": "id user_id date_of_birth blood_group allergies emergency_contact is_active created_at updated_at",
    "doctors": "id user_id clinic_id specialty license_number qualifications experience_years max_patients_per_day"
    " is_active created_at updated_at",
    "clinics": "id name address phone email city state zip_code is_active created_at updated_at",
    "appointment_slots": "id doctor_id clinic_id slot_datetime duration_minutes is_booked capacity booked_count"
    " is_active created_at updated_at",
    "appointments": "id patient_id doctor_id clinic_id slot_id status reason_for_visit notes cancelled_at"
    " cancelled_reason is_active created_at updated_at",
}
# The guide's ten indexes, and whether its tables call the column unique.
GUIDE_INDEXES = {
    "users.email": True,
    "patients.user_id": True,
    "doctors.clinic_id": False,
    "doctors.user_id": True,
    "appointment_slots.doctor_id": False,
    "appointment_slots.clinic_id": False,
    "appointment_slots.slot_datetime": False,
    "appointments.patient_id": False,
    "appointments.doctor_id": False,
    "appointments.slot_id": False,
}


async def test_the_guides_tables_and_columns_are_there(owner: asyncpg.Connection):
    rows = await owner.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    )
    columns = {(row["table_name"], row["column_name"]) for row in rows}
    assert {(table, name) for table, names in GUIDE.items() for name in names.split()} <= columns


async def test_the_guides_indexes_are_there_under_their_names(owner: asyncpg.Connection):
    rows = await owner.fetch(
        """SELECT t.relname AS table, i.relname AS index, a.attname AS first, x.indisunique AS is_unique, x.indisvalid
           FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
           JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = x.indkey[0]
           WHERE t.relnamespace = 'public'::regnamespace AND x.indpred IS NULL"""
    )
    found = {row["index"]: row for row in rows}
    for place, is_unique in GUIDE_INDEXES.items():
        table, column = place.split(".")
        index = found[f"ix_{table}_{column}"]
        assert (index["table"], index["first"], index["is_unique"]) == (table, column, is_unique), place
        assert index["indisvalid"]


async def test_every_refusal_names_a_guard_of_the_database(owner: asyncpg.Connection):
    names = set(
        await owner.fetchval(
            """SELECT array_agg(name) FROM (
                   SELECT conname AS name FROM pg_constraint
                   UNION SELECT c.relname FROM pg_class c JOIN pg_index x ON x.indexrelid = c.oid AND x.indisunique
                   UNION SELECT (regexp_matches(prosrc, 'CONSTRAINT = ''(\\w+)''', 'g'))[1] FROM pg_proc
                   WHERE pronamespace = 'public'::regnamespace) AS known"""
        )
    )
    assert REFUSALS.keys() - names == set()


# What triggers raise by a name of their own is spoken of to the caller, but for what no request can do.
async def test_every_guard_of_a_trigger_has_words(owner: asyncpg.Connection):
    raised = set(
        await owner.fetchval(
            """SELECT array_agg((SELECT m[1])) FROM pg_proc, regexp_matches(prosrc, 'CONSTRAINT = ''(\\w+)''', 'g') AS m
               WHERE pronamespace = 'public'::regnamespace"""
        )
    )
    assert raised - REFUSALS.keys() == {"ck_appointments_slot_fixed", "ck_notifications_sent"}


RIGHTS, GENERATED, CHECK = "42501", "428C9", "23514"
UNIQUE, EXCLUDED = "23505", "23P01"

FORBIDDEN = [
    # 1: the counter
    ("UPDATE appointment_slots SET booked_count = 0", RIGHTS),
    ("UPDATE appointment_slots SET capacity = 1000", RIGHTS),
    ("UPDATE appointments SET slot_id = (SELECT max(id) FROM appointment_slots)", RIGHTS),
    (("INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, booked_count)"
      " SELECT doctor_id, clinic_id, slot_datetime + interval '9 days', 1 FROM appointment_slots LIMIT 1"), RIGHTS),
    ("DELETE FROM appointments", RIGHTS),
    ("DELETE FROM appointment_slots", RIGHTS),
    ("TRUNCATE appointments", RIGHTS),
    ("TRUNCATE appointment_slots CASCADE", RIGHTS),
    ("MERGE INTO appointment_slots s USING (SELECT 1) AS one ON true WHEN MATCHED THEN UPDATE SET booked_count = 0",
     RIGHTS),
    (("INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id)"
      " SELECT (SELECT max(id) FROM patients), doctor_id, clinic_id, slot_id FROM appointments LIMIT 1"), CHECK),
    # 2: what follows from it
    ("UPDATE appointment_slots SET is_booked = true", GENERATED),
    (("INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime, is_booked)"
      " SELECT doctor_id, clinic_id, slot_datetime + interval '9 days', true FROM appointment_slots LIMIT 1"),
     GENERATED),
    # 3: one live appointment for each patient and slot
    ("UPDATE appointments SET patient_id = 1", RIGHTS),
    (("INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id)"
      " SELECT patient_id, doctor_id, clinic_id, slot_id FROM appointments LIMIT 1"), UNIQUE),
    # 4: overlapping
    ("UPDATE appointment_slots SET slot_datetime = now() + interval '9 days'", RIGHTS),
    ("UPDATE appointment_slots SET duration_minutes = 480", RIGHTS),
    ("UPDATE appointment_slots SET doctor_id = 1", RIGHTS),
    (("INSERT INTO appointment_slots (doctor_id, clinic_id, slot_datetime)"
      " SELECT doctor_id, clinic_id, slot_datetime + interval '29 minutes' FROM appointment_slots LIMIT 1"), EXCLUDED),
    ("UPDATE appointment_slots SET is_active = true", EXCLUDED),
    # 5: the doctor's day
    ("UPDATE doctor_days SET booked_count = 0", RIGHTS),
    ("UPDATE doctor_days SET max_patients = 1000", RIGHTS),
    ("DELETE FROM doctor_days", RIGHTS),
    ("TRUNCATE doctor_days", RIGHTS),
    ("INSERT INTO doctor_days VALUES (1, '2000-01-01', 0, 1000)", RIGHTS),
    ("SELECT doctor_days_count(1, current_date, -1)", RIGHTS),
    ("UPDATE appointment_slots SET local_date = local_date + 1", RIGHTS),
    ("UPDATE appointment_slots SET clinic_id = clinic_id", RIGHTS),
    ("UPDATE clinics SET time_zone = 'Asia/Tokyo'", CHECK),
    ("UPDATE appointment_slots SET is_active = false", CHECK),
    # the guards themselves
    ("ALTER TABLE appointments DISABLE TRIGGER ALL", RIGHTS),
    ("ALTER TABLE appointment_slots DROP CONSTRAINT ex_appointment_slots_doctor_id_period", RIGHTS),
    ('DROP TRIGGER "00_appointments_keep_counters" ON appointments', RIGHTS),
    ("CREATE TRIGGER mine BEFORE INSERT ON appointments EXECUTE FUNCTION suppress_redundant_updates_trigger()",
     RIGHTS),
    ("CREATE RULE mine AS ON INSERT TO appointments DO INSTEAD NOTHING", RIGHTS),
    ("DROP FUNCTION appointments_keep_counters() CASCADE", RIGHTS),
    ("DROP INDEX ix_appointments_slot_id_patient_id", RIGHTS),
    ("DROP TABLE appointments", RIGHTS),
    ("SET session_replication_role = replica", RIGHTS),
    ("SET ROLE health_owner", RIGHTS),
    ("SET SESSION AUTHORIZATION health_owner", RIGHTS),
    ("ALTER ROLE health_app SUPERUSER", RIGHTS),
    ("GRANT health_owner TO health_app", RIGHTS),
    ("CREATE TABLE public.mine (id int)", RIGHTS),
    ("CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", RIGHTS),
    ("CREATE SCHEMA mine", RIGHTS),
    ("CREATE TEMP TABLE appointments (id int)", RIGHTS),
    ("SELECT setval('appointments_id_seq', 1)", RIGHTS),
    ("UPDATE alembic_version SET version_num = '0000'", RIGHTS),
    ("COPY appointments TO PROGRAM 'cat'", RIGHTS),
]  # fmt: skip


@pytest.fixture
async def busy(world: World) -> None:
    """A full slot, one with a place that was taken back for another at the same time, and a doctor at his limit."""
    doctor = await world.doctor(max_patients_per_day=1)
    start = soon()
    taken_back = await world.slot(doctor, start)
    await world.owner.execute("UPDATE appointment_slots SET is_active = false WHERE id = $1", taken_back)
    await world.appointment(await world.patient(), doctor, await world.slot(doctor, start))
    await world.patient()


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(("statement", "sqlstate"), FORBIDDEN, ids=[s[:70] for s, _ in FORBIDDEN])
async def test_the_applications_role_cannot_break_the_rules(
    as_worker: asyncpg.Connection, statement: str, sqlstate: str
):
    with pytest.raises(asyncpg.PostgresError) as refused:
        await as_worker.execute(statement)
    assert refused.value.sqlstate == sqlstate, refused.value


@pytest.mark.usefixtures("busy")
async def test_a_limit_below_what_is_booked_and_one_patient_too_many_are_refused(
    world: World, as_worker: asyncpg.Connection
):
    doctor = await world.doctor(max_patients_per_day=2)
    slot = await world.slot(doctor, capacity=5)
    patients = [await world.patient() for _ in range(3)]
    insert = "INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id) VALUES ($1, $2, $3, $4)"
    for patient in patients[:2]:
        await as_worker.execute(insert, patient.patient_id, doctor.doctor_id, doctor.clinic_id, slot)

    with pytest.raises(asyncpg.CheckViolationError) as too_many:
        await as_worker.execute(insert, patients[2].patient_id, doctor.doctor_id, doctor.clinic_id, slot)
    assert too_many.value.constraint_name == "ck_doctor_days_max_patients"
    with pytest.raises(asyncpg.CheckViolationError) as too_low:
        await as_worker.execute("UPDATE doctors SET max_patients_per_day = 1 WHERE id = $1", doctor.doctor_id)
    assert too_low.value.constraint_name == "ck_doctors_days_within_limit"
    assert await as_worker.fetchval("SELECT booked_count FROM appointment_slots WHERE id = $1", slot) == 2


async def test_plain_statements_keep_the_counters(world: World, as_worker: asyncpg.Connection):
    doctor = await world.doctor()
    slot = await world.slot(doctor, capacity=2)
    first, second = await world.patient(), await world.patient()

    async def counts() -> tuple[int, bool, int]:
        row = await as_worker.fetchrow(
            """SELECT s.booked_count, s.is_booked, y.booked_count FROM appointment_slots s
               JOIN doctor_days y ON y.doctor_id = s.doctor_id AND y.local_date = s.local_date WHERE s.id = $1""",
            slot,
        )
        return tuple(row)

    insert = "INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id) VALUES ($1, $2, $3, $4) RETURNING id"
    one = await as_worker.fetchval(insert, first.patient_id, doctor.doctor_id, doctor.clinic_id, slot)
    assert await counts() == (1, False, 1)
    two = await as_worker.fetchval(insert, second.patient_id, doctor.doctor_id, doctor.clinic_id, slot)
    assert await counts() == (2, True, 2)
    for status, expected in (
        ("confirmed", (2, True, 2)), ("completed", (2, True, 2)), ("no_show", (2, True, 2)),
        ("cancelled", (1, False, 1)), ("cancelled", (1, False, 1)), ("pending", (2, True, 2)),
    ):  # fmt: skip
        await as_worker.execute("UPDATE appointments SET status = $2 WHERE id = $1", one, status)
        assert await counts() == expected, status
    await as_worker.execute("UPDATE appointments SET status = 'cancelled' WHERE id = ANY ($1)", [one, two])
    assert await counts() == (0, False, 0)


async def test_the_applications_role_has_the_least_rights(cluster: embedded.Cluster, database: TestDatabase):
    # The embedded server's own database, and those of tests, which are made like it.
    for url in (cluster.app_url, database.app_url):
        connection = await asyncpg.connect(url)
        row = await connection.fetchrow(
            """SELECT current_user::text, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
                      EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid) AS is_member,
                      EXISTS (SELECT FROM pg_class WHERE relowner = r.oid) AS is_owner,
                      has_schema_privilege(current_user, 'public', 'CREATE') AS creates,
                      has_database_privilege(current_user, current_database(), 'CREATE') AS creates_schemas,
                      has_database_privilege(current_user, current_database(), 'TEMP') AS creates_temporary
               FROM pg_roles r WHERE rolname = current_user"""
        )
        await connection.close()
        name, *rights = row
        assert name == "health_app"
        assert not any(rights), dict(row)
