"""The second wall: what the application's role sees and writes when it does not say, or says wrongly, for whom."""

import asyncpg
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from health_services.access.service import act_as
from health_services.access.trail import Trail
from tests.access.cast import make_cast
from tests.factories import Person, World

# Tables about nobody, or about what is public; docs/security.md tells why for each.
OPEN = {
    "clinics", "doctors", "doctor_days", "appointment_slots", "installation", "webhooks", "alembic_version",
}  # fmt: skip
# Columns that say whose a row is.
PERSONAL = {"patient_id", "user_id", "patient_ids", "user_ids"}
TABLES = """SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"""
COLUMNS = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
ACT_AS = "SELECT id FROM act_as($1, NULL)"


async def test_every_table_about_a_person_is_closed(owner: asyncpg.Connection):
    found = {row["relname"]: (row["relrowsecurity"], row["relforcerowsecurity"]) for row in await owner.fetch(TABLES)}
    assert {name for name, flags in found.items() if flags != (True, True)} == OPEN
    personal = {row["table_name"] for row in await owner.fetch(COLUMNS) if row["column_name"] in PERSONAL}
    # The directory is public: which account a doctor's record belongs to is no secret, the account is.
    assert personal & OPEN <= {"doctors", "appointment_details"}


async def test_every_policy_binds_what_is_written_as_it_binds_what_is_read(owner: asyncpg.Connection):
    rows = await owner.fetch(
        "SELECT polrelid::regclass::text AS name, polcmd::text, polqual, polwithcheck FROM pg_policy"
    )
    assert {row["name"] for row in rows if row["polcmd"] == "*" and row["polqual"] is None} == set()
    for row in rows:
        if row["polcmd"] in {"*", "w"}:
            assert row["polwithcheck"] in {None, row["polqual"]} or row["polwithcheck"], row["name"]


async def _seen(connection: asyncpg.Connection, owner: asyncpg.Connection) -> dict[str, int]:
    names = [row["relname"] for row in await owner.fetch(TABLES) if row["relname"] not in OPEN]
    return {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in names}


async def test_whoever_does_not_say_for_whom_reads_nothing(
    world: World, owner: asyncpg.Connection, as_app: asyncpg.Connection
):
    await make_cast(world)
    there = await _seen(owner, owner)
    assert there["users"] > 5
    assert there["appointments"] == 2
    assert set((await _seen(as_app, owner)).values()) == {0}
    for setting in ("app.user_id", "app.role", "app.patient_id", "app.doctor_id", "app.clinic_ids"):
        await as_app.execute(f"SET {setting} = ''")
    assert set((await _seen(as_app, owner)).values()) == {0}


async def test_whoever_does_not_say_for_whom_changes_nothing(
    world: World, owner: asyncpg.Connection, as_app: asyncpg.Connection
):
    cast = await make_cast(world)
    assert await as_app.execute("UPDATE users SET name = 'x'") == "UPDATE 0"
    assert await as_app.execute("UPDATE appointments SET status = 'cancelled'") == "UPDATE 0"
    assert await as_app.execute("DELETE FROM push_subscriptions") == "DELETE 0"
    for statement in (
        "INSERT INTO users (name) VALUES ('x')",
        f"INSERT INTO patients (user_id) VALUES ({cast.admin.user_id})",
        f"INSERT INTO calendar_feeds (user_id, token_hash) VALUES ({cast.patient.user_id}, 'x')",
        f"""INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id)
            VALUES ({cast.patient.patient_id}, {cast.doctor.doctor_id}, {cast.doctor.clinic_id}, {cast.free_slot})""",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await as_app.execute(statement)


async def _sees(connection: asyncpg.Connection, person: Person, query: str) -> set[int]:
    async with connection.transaction():
        assert await connection.fetchval(ACT_AS, person.user_id) == person.user_id
        return {row[0] for row in await connection.fetch(query)}


async def test_each_sees_what_concerns_him(world: World, as_app: asyncpg.Connection):
    cast = await make_cast(world)
    both = {cast.patient.patient_id, cast.other_patient.patient_id}
    patients = "SELECT id FROM patients"
    assert await _sees(as_app, cast.patient, patients) == {cast.patient.patient_id}
    assert await _sees(as_app, cast.doctor, patients) == {cast.patient.patient_id}
    assert await _sees(as_app, cast.other_doctor, patients) == {cast.other_patient.patient_id}
    assert await _sees(as_app, cast.staff, patients) == both
    assert await _sees(as_app, cast.other_staff, patients) == set()
    assert await _sees(as_app, cast.admin, patients) == both
    users = "SELECT id FROM users"
    assert await _sees(as_app, cast.patient, users) == {cast.patient.user_id}
    assert await _sees(as_app, cast.doctor, users) == {cast.doctor.user_id, cast.patient.user_id}
    assert await _sees(as_app, cast.other_staff, users) == {cast.other_staff.user_id}
    appointments = "SELECT patient_id FROM appointments"
    assert await _sees(as_app, cast.patient, appointments) == {cast.patient.patient_id}
    assert await _sees(as_app, cast.doctor, appointments) == {cast.patient.patient_id}
    assert await _sees(as_app, cast.staff, appointments) == both
    assert await _sees(as_app, cast.other_staff, appointments) == set()
    for table in ("sessions", "push_subscriptions", "notifications"):
        assert await _sees(as_app, cast.other_patient, f"SELECT user_id FROM {table}") <= {cast.other_patient.user_id}


async def test_nobody_writes_for_another(world: World, as_app: asyncpg.Connection):
    cast = await make_cast(world)
    mine, his = cast.patient, cast.other_patient
    for statement in (
        f"INSERT INTO sessions (user_id, expires_at) VALUES ({his.user_id}, now())",
        f"INSERT INTO recovery_codes (user_id, code_hash) VALUES ({his.user_id}, 'x')",
        f"""INSERT INTO appointments (patient_id, doctor_id, clinic_id, slot_id)
            VALUES ({his.patient_id}, {cast.doctor.doctor_id}, {cast.doctor.clinic_id}, {cast.free_slot})""",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with as_app.transaction():
                await as_app.fetchval(ACT_AS, mine.user_id)
                await as_app.execute(statement)
    async with as_app.transaction():
        await as_app.fetchval(ACT_AS, mine.user_id)
        assert await as_app.execute(f"UPDATE users SET name = 'x' WHERE id = {his.user_id}") == "UPDATE 0"


async def test_the_context_ends_with_the_transaction_however_that_ends(world: World, as_app: asyncpg.Connection):
    patient = await world.patient()
    count = "SELECT count(*) FROM users"
    async with as_app.transaction():
        await as_app.fetchval(ACT_AS, patient.user_id)
        assert await as_app.fetchval(count) == 1
    assert await as_app.fetchval(count) == 0
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with as_app.transaction():
            await as_app.fetchval(ACT_AS, patient.user_id)
            await as_app.fetchval("SELECT 1 / 0")
    assert await as_app.fetchval(count) == 0


async def test_a_pooled_connection_keeps_nothing_of_the_request_before(app: FastAPI, world: World):
    patient = await world.patient()
    count = text("SELECT count(*) FROM users")
    for ends_well in (True, False):
        async with app.state.database.writing() as session:
            await act_as(session, patient.user_id, None, Trail())
            assert await session.scalar(count) == 1
            await (session.commit() if ends_well else session.rollback())
        for _ in range(3):
            async with app.state.database.reading() as session:
                assert await session.scalar(count) == 0


async def test_who_is_not_active_or_signed_out_is_nobody(
    world: World, owner: asyncpg.Connection, as_app: asyncpg.Connection
):
    patient = await world.patient()
    session = await owner.fetchval("SELECT id FROM sessions WHERE user_id = $1", patient.user_id)
    by_session = "SELECT id FROM act_as($1, $2)"
    assert await as_app.fetchval(by_session, patient.user_id, session) == patient.user_id
    other = await world.patient()
    assert await as_app.fetchval(by_session, other.user_id, session) is None
    await owner.execute("UPDATE sessions SET ended_at = now(), ended_reason = 'x' WHERE id = $1", session)
    assert await as_app.fetchval(by_session, patient.user_id, session) is None
    await owner.execute("UPDATE users SET is_active = false WHERE id = $1", patient.user_id)
    assert await as_app.fetchval(ACT_AS, patient.user_id) is None


async def test_functions_that_see_more_are_pinned_and_closed(owner: asyncpg.Connection):
    """Whoever may make objects in a schema of the search path could otherwise put his own in the way."""
    rows = await owner.fetch(
        """SELECT p.oid::regprocedure::text AS name, p.proconfig,
                  has_function_privilege('public', p.oid, 'EXECUTE') AS is_open
           FROM pg_proc p WHERE p.prosecdef AND p.pronamespace = 'public'::regnamespace"""
    )
    assert len(rows) > 10
    for row in rows:
        assert row["proconfig"] == ["search_path=pg_catalog, public, pg_temp"], row["name"]
        assert not row["is_open"], row["name"]
