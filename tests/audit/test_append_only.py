"""The application adds to the audit and can do nothing else with it."""

import asyncpg
import pytest

from health_services.database.engine import Database
from tests.audit.entries import tell_many

ENTRY = """nonce, at, action, outcome, status, request_id, key_id, mac)
           VALUES (gen_random_uuid(), now(), 'x', 'success', 200, '', 'test', ''"""
FORBIDDEN = [
    *(f"UPDATE audit_log SET {column} = {column}" for column in ("user_id", "mac", "at", "xid", "patient_ids")),
    *(f"UPDATE audit_seals SET {column} = {column}" for column in ("mac", "seq", "entry_id", "floor", "signature")),
    "DELETE FROM audit_log",
    "DELETE FROM audit_seals",
    "TRUNCATE audit_log",
    "TRUNCATE audit_seals",
    "INSERT INTO audit_log (xid) VALUES ('1')",
    "INSERT INTO audit_log (id) OVERRIDING SYSTEM VALUE VALUES (1)",
    "INSERT INTO audit_seals (signature) VALUES ('')",
    "INSERT INTO audit_seals (sealed_at) VALUES (now())",
    "MERGE INTO audit_log l USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE",
    """INSERT INTO audit_seals (seq, entry_id, floor, key_id, mac) VALUES (1, 1, 0, '', '')
       ON CONFLICT (seq) DO UPDATE SET mac = ''""",
    "SELECT setval('audit_log_id_seq', 1, false)",
    "SELECT nextval('audit_log_id_seq')",
    "ALTER TABLE audit_log DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE audit_seals DISABLE TRIGGER ALL",
    "CREATE RULE mine AS ON INSERT TO audit_log DO INSTEAD NOTHING",
    "DROP TABLE audit_log",
    "BEGIN; LOCK TABLE audit_log IN ACCESS EXCLUSIVE MODE",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
@pytest.mark.parametrize("role", ["service", "admin", ""])
async def test_the_application_cannot(written: Database, as_app: asyncpg.Connection, statement: str, role: str):
    await tell_many(written, 1)
    await as_app.execute("SELECT set_config('app.role', $1, false)", role)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_app.execute(statement)


async def test_the_application_adds(as_app: asyncpg.Connection, owner: asyncpg.Connection):
    await as_app.execute(f"INSERT INTO audit_log ({ENTRY})")
    assert await owner.fetchval("SELECT count(*) FROM audit_log") == 1


@pytest.mark.parametrize(("role", "count"), [("", 0), ("patient", 0), ("doctor", 0), ("staff", 0), ("admin", 2)])
async def test_only_administrators_see_it(written: Database, as_app: asyncpg.Connection, role: str, count: int):
    await tell_many(written, 2)
    await as_app.execute("SELECT set_config('app.role', $1, false)", role)
    assert await as_app.fetchval("SELECT count(*) FROM audit_log") == count


@pytest.mark.parametrize(
    ("role", "patient", "count"),
    [("", "", 0), ("patient", "1", 2), ("patient", "2", 0), ("staff", "", 0), ("admin", "", 2)],
)
async def test_the_database_itself_answers_only_the_patient_and_administrators(
    written: Database, as_app: asyncpg.Connection, role: str, patient: str, count: int
):
    await tell_many(written, 2)
    await as_app.execute(
        "SELECT set_config('app.role', $1, false), set_config('app.patient_id', $2, false)", role, patient
    )
    assert len(await as_app.fetch("SELECT * FROM access_log_of(1, 0, 10)")) == count
