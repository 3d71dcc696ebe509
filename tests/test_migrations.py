"""Migrations: they make what the models say, they go down and up again, and they never wait for ever."""

import asyncio
import os
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

import health_services.database.models
import health_services.main  # noqa: F401 - with the one above, every model is known
from health_services.database import embedded, migrations, roles
from health_services.database.base import Base
from health_services.database.engine import make_engine
from tests import catalogue
from tests.servers import TestDatabase, create_database

TRIGGERS = {
    "00_appointments_keep_counters",
    "00_appointments_erased",
    "doctors_limit_days",
    "appointment_slots_set_local_date",
    "appointment_slots_keep_live",
    "clinics_move_zone",
    "appointments_raise_revision",
    "appointment_slots_move_appointments",
    "notifications_keep_sent",
    "emergency_accesses_erased",
    "users_end_sessions",
    "users_rename_doctor",
    "doctors_set_name",
}
FUNCTIONS = {
    "require_read_committed()",
    "appointments_keep_counters()",
    "appointments_refuse_erased()",
    "doctor_days_count(bigint,date,integer)",
    "doctors_limit_days()",
    "appointment_slots_set_local_date()",
    "appointment_slots_keep_live()",
    "clinics_move_zone()",
    "act_as(bigint,bigint)",
    "asked_before(bigint,bytea,interval)",
    "act_as_key(character varying,bytea)",
    "credentials_of(character varying)",
    "whom_it_concerns(text,bigint)",
    "patient_account(bigint)",
    "find_patients(character varying,text,bigint[],bigint,bigint)",
    "find_patients(character varying,text,bigint[],bigint,bigint,bigint)",
    "feed_owner(bytea)",
    "sees_appointment(bigint)",
    "sees_person(bigint)",
    "refresh_token_owner(bytea)",
    "passkey_owner(bytea)",
    "redeem(bytea,character varying,boolean)",
    "access_log_of(bigint,bigint,bigint)",
    "audit_entries_about(bigint)",
    "access_log_of(bigint,timestamp with time zone,bigint,bigint,bigint)",
    "users_end_sessions()",
    "users_rename_doctor()",
    "doctors_set_name()",
    "is_treating(bigint,bigint,timestamp with time zone)",
    "is_known_to(bigint[],bigint)",
    "appointments_raise_revision()",
    "appointment_slots_move_appointments()",
    "notifications_keep_sent()",
    "contact_of(bigint)",
}


def _name(purpose: str) -> str:
    return f"{purpose}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"


async def _empty(cluster: embedded.Cluster, purpose: str) -> TestDatabase:
    """A database with the extension and the roles, and nothing else."""
    made = await create_database(cluster, _name(purpose), migrate=False)
    await roles.prepare(made.owner_url, made.app_url)
    return made


@pytest.fixture
async def empty(cluster: embedded.Cluster) -> AsyncIterator[TestDatabase]:
    yield await _empty(cluster, "migrations")
    connection = await asyncpg.connect(cluster.admin_url)
    await connection.execute(f'DROP DATABASE "{_name("migrations")}" WITH (FORCE)')
    await connection.close()


async def _revision(database: TestDatabase) -> str | None:
    connection = await asyncpg.connect(database.owner_url)
    try:
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        return revision
    finally:
        await connection.close()


async def test_models_and_migrations_make_the_same_schema(database: TestDatabase, empty: TestDatabase):
    engine = make_engine(empty.owner_url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()

    migrated, modelled = await catalogue.read(database.owner_url), await catalogue.read(empty.owner_url)
    for kind in catalogue.QUERIES:
        assert migrated[kind] == modelled[kind], kind
    assert len(migrated["tables and storage"]) == len(Base.metadata.tables)

    guards = await catalogue.read(database.owner_url, catalogue.GUARDS)
    assert {row[0] for row in guards["triggers"]} == TRIGGERS
    assert {row[0] for row in guards["functions"]} == FUNCTIONS


async def test_alembic_finds_nothing_to_migrate(database: TestDatabase):
    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        found: list[object] = compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata)
        return found

    engine = make_engine(database.owner_url, poolclass=NullPool)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_up_down_and_up_again(empty: TestDatabase):
    everything = catalogue.QUERIES | catalogue.GUARDS
    before = await catalogue.read(empty.owner_url, everything)
    assert before["tables and storage"] == []

    await migrations.migrate(empty.owner_url)
    first = await catalogue.read(empty.owner_url, everything)
    assert await _revision(empty) == migrations.revisions()[0]

    await migrations.migrate(empty.owner_url, "base")
    assert await catalogue.read(empty.owner_url, everything) == before
    assert await _revision(empty) is None

    await migrations.migrate(empty.owner_url)
    assert await catalogue.read(empty.owner_url, everything) == first
    await migrations.migrate(empty.owner_url)
    assert await catalogue.read(empty.owner_url, everything) == first


async def test_every_revision_can_be_left_again(empty: TestDatabase):
    everything = catalogue.QUERIES | catalogue.GUARDS
    for revision in reversed(migrations.revisions()):
        before = await catalogue.read(empty.owner_url, everything)
        await migrations.migrate(empty.owner_url, revision)
        assert await _revision(empty) == revision
        await migrations.migrate(empty.owner_url, "-1")
        assert await catalogue.read(empty.owner_url, everything) == before, revision
        await migrations.migrate(empty.owner_url, revision)


async def test_migrations_at_once_go_one_after_the_other(empty: TestDatabase):
    await asyncio.gather(*(migrations.migrate(empty.owner_url) for _ in range(4)))
    assert await _revision(empty) == migrations.revisions()[0]


async def test_a_schema_newer_than_this_version_is_left_alone(empty: TestDatabase):
    await migrations.migrate(empty.owner_url)
    connection = await asyncpg.connect(empty.owner_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    before = await catalogue.read(empty.owner_url)

    await migrations.migrate(empty.owner_url)

    assert await _revision(empty) == "9999"
    assert await catalogue.read(empty.owner_url) == before


async def _until_it_waits(database: TestDatabase) -> None:
    """Until a connection of the database waits for a lock; only a superuser sees that of others."""
    watcher = await asyncpg.connect(database.admin_url)
    waits = "SELECT true FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not await watcher.fetchval(waits):
        await asyncio.sleep(0.01)
    await watcher.close()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("UPDATE appointments SET notes = NULL", "UPDATE appointment_slots SET updated_at = now()"),
        ("UPDATE appointment_slots SET updated_at = now()", "SELECT FROM appointments"),
        ("UPDATE users SET last_login = now()", "SELECT FROM appointments"),
    ],
    ids=["a booking", "a slot that is taken back", "signing in"],
)
async def test_what_is_under_way_ends_before_the_messages_tables_are_made(empty: TestDatabase, first: str, then: str):
    """In the order in which requests lock tables, so that neither they nor the migration are sent away."""
    await migrations.migrate(empty.owner_url, "0002")
    somebody = await asyncpg.connect(empty.owner_url)
    async with somebody.transaction():
        await somebody.execute(first)
        migrating = asyncio.create_task(migrations.migrate(empty.owner_url))
        await _until_it_waits(empty)
        await somebody.execute(then)
    await somebody.close()
    await migrating
    assert await _revision(empty) == migrations.revisions()[0]


async def test_a_migration_gives_up_on_a_table_that_somebody_holds(empty: TestDatabase):
    await migrations.migrate(empty.owner_url, "0001")
    before = await catalogue.read(empty.owner_url, catalogue.GUARDS)
    somebody = await asyncpg.connect(empty.owner_url)
    try:
        async with somebody.transaction():
            await somebody.execute("LOCK TABLE appointments IN ROW EXCLUSIVE MODE")
            with pytest.raises(DBAPIError) as refused:
                await migrations.migrate(empty.owner_url)
            assert "lock timeout" in str(refused.value.orig)
            # nothing of the revision stays, and nobody is kept waiting behind it
            assert await catalogue.read(empty.owner_url, catalogue.GUARDS) == before
    finally:
        await somebody.close()

    await migrations.migrate(empty.owner_url)
    assert await _revision(empty) == migrations.revisions()[0]


async def test_indexes_wait_only_so_long_and_the_next_attempt_goes_on(empty: TestDatabase):
    """An index that is made beside requests waits for whoever began before it, such as a backup."""
    await migrations.migrate(empty.owner_url, "0006")
    somebody = await asyncpg.connect(empty.owner_url)
    try:
        async with somebody.transaction(isolation="repeatable_read"):
            await somebody.fetch("SELECT FROM users")
            with pytest.raises(DBAPIError) as refused:
                await migrations.migrate(empty.owner_url)
            assert "lock timeout" in str(refused.value.orig)
        left = "SELECT relname, indisvalid FROM pg_class JOIN pg_index ON indexrelid = oid WHERE relname LIKE '%\\_new'"
        assert [tuple(row) for row in await somebody.fetch(left)] == [("ix_users_role_new", False)]
        assert await _revision(empty) == "0006"
        # one that an attempt has finished is not made again
        await somebody.execute("CREATE INDEX ix_clinics_city_new ON clinics (lower(city), id)")
        finished = await somebody.fetchval("SELECT 'ix_clinics_city_new'::regclass::oid")

        await migrations.migrate(empty.owner_url)
        assert await somebody.fetch(left) == []
        assert await somebody.fetchval("SELECT 'ix_clinics_city'::regclass::oid") == finished
    finally:
        await somebody.close()
    assert await _revision(empty) == migrations.revisions()[0]


async def test_rules_for_messages_are_written_anew_and_none_is_left_out(empty: TestDatabase):
    await migrations.migrate(empty.owner_url, "0007")
    somebody = await asyncpg.connect(empty.owner_url)
    rules = """SELECT conname, convalidated FROM pg_constraint
               WHERE conrelid = 'notifications'::regclass AND contype = 'c' ORDER BY conname"""
    try:
        before = await somebody.fetch(rules)
        async with somebody.transaction():
            await somebody.execute("LOCK TABLE notifications IN ROW EXCLUSIVE MODE")
            with pytest.raises(DBAPIError) as refused:
                await migrations.migrate(empty.owner_url, "0009")
            assert "lock timeout" in str(refused.value.orig)
        # an attempt that was cut off before the rows were read
        await somebody.execute(
            """ALTER TABLE notifications DROP CONSTRAINT ck_notifications_kind,
               ADD CONSTRAINT ck_notifications_kind CHECK (kind = ANY ('{appointment_booked}'::text[])) NOT VALID"""
        )
        await migrations.migrate(empty.owner_url)
        assert await somebody.fetch(rules) == before
        assert all(row["convalidated"] for row in before)
    finally:
        await somebody.close()
