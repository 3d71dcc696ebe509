"""`audit verify`, `head` and `prune` beside a running server, and the rows that commands leave."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from health_services.database.engine import Database
from health_services.database.key_file import KeyFile
from health_services.database.sealing import Vault
from tests.audit.entries import tell_many
from tests.cli.commands import PASSWORD, run, serving
from tests.database.conftest import make_open_directory

ADMIN = {"HEALTH_ADMIN_EMAIL": "admin@example.org", "HEALTH_ADMIN_PASSWORD": PASSWORD}
UNSEALED = "SELECT count(*) FROM audit_log l WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = l.id)"
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def audit_dir() -> Iterator[Path]:
    made = make_open_directory()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def server(audit_dir: Path) -> Iterator[httpx.Client]:
    """A server that runs all the while, and seals."""
    with serving(HEALTH_DATA_DIR=audit_dir, HEALTH_WORKER_POLL_SECONDS="0.05", **ADMIN) as (_, client):
        yield client


@pytest.fixture
async def owner(server: httpx.Client, audit_dir: Path) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(run("database-url", "--owner", HEALTH_DATA_DIR=audit_dir).out.strip())
    yield connection
    await connection.close()


async def all_sealed(owner: asyncpg.Connection) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await owner.fetchval(UNSEALED):
            await asyncio.sleep(0.05)


async def written(audit_dir: Path, count: int, at: datetime) -> None:
    """Entries of another time, made with the keys of the data directory."""
    url = run("database-url", HEALTH_DATA_DIR=audit_dir).out.strip()
    vault = Vault(KeyFile(audit_dir).current)
    database = Database.connect(url, role=None, pool_size=1, pool_timeout=60, timeouts={}, vault=vault)
    await tell_many(database, count, at=at)
    await database.close()


async def test_commands_are_told(owner: asyncpg.Connection, audit_dir: Path, tmp_path: Path):
    await owner.execute("INSERT INTO users (name, email, password_hash) VALUES ('Ann', 'ann@example.org', '!')")
    ann = await owner.fetchval("SELECT id FROM users WHERE email = 'ann@example.org'")
    last = await owner.fetchval("SELECT max(id) FROM audit_log")
    lines = [
        ["user", "deactivate", "ann@example.org"], ["user", "activate", "ann@example.org"],
        ["user", "set-password", "ann@example.org"], ["create-admin", "--email", "second@example.org"],
        ["keys", "rotate"], ["backup", str(tmp_path / "dump")],
    ]  # fmt: skip
    for line in lines:
        done = run(*line, HEALTH_DATA_DIR=audit_dir, HEALTH_ADMIN_PASSWORD=PASSWORD)
        assert done.code == 0, done.err
    assert run("user", "deactivate", "nobody@example.org", HEALTH_DATA_DIR=audit_dir).refusal
    second = await owner.fetchval("SELECT id FROM users WHERE email = 'second@example.org'")
    rows = await owner.fetch("SELECT * FROM audit_log WHERE id > $1 ORDER BY id", last)
    assert [(row["action"], row["user_ids"]) for row in rows] == [
        ("user deactivate", [ann]), ("user activate", [ann]), ("user set-password", [ann]), ("create-admin", [second]),
        ("keys rotate", []), ("backup", []),
    ]  # fmt: skip
    assert {(row["via"], row["user_id"], row["outcome"]) for row in rows} == {("command", None, "success")}
    first = await owner.fetchval("SELECT action FROM audit_log ORDER BY id LIMIT 1")
    assert first == "serve: first administrator"


async def test_an_audit_that_is_whole_stays_provable(server: httpx.Client, owner: asyncpg.Connection, audit_dir: Path):
    await all_sealed(owner)
    head = run("audit", "head", HEALTH_DATA_DIR=audit_dir).out.strip()
    assert server.post("/auth/login", json={"email": "x@example.org", "password": "x"}).status_code == 401
    for arguments in ([], ["--head", head]):
        done = run("audit", "verify", *arguments, HEALTH_DATA_DIR=audit_dir)
        assert (done.code, done.out) == (0, ""), done.err
        assert "The audit is whole: " in done.err
    other = f"{head.partition(':')[0]}:{'0' * 64}"
    done = run("audit", "verify", "--head", other, HEALTH_DATA_DIR=audit_dir)
    assert done.code == 1
    assert done.err.endswith("The audit is not whole: 1 findings.\n")
    for wrong in ("", "1", "1:ff", f"0:{'0' * 64}", f"-1:{'0' * 64}", f"{'9' * 30}:{'0' * 64}"):
        refusal = run("audit", "verify", f"--head={wrong}", HEALTH_DATA_DIR=audit_dir).refusal
        assert refusal.startswith("--head must be as `audit head` printed it")


async def test_what_was_tampered_with_ends_in_1_and_says_no_contents(owner: asyncpg.Connection, audit_dir: Path):
    await all_sealed(owner)
    entry = await owner.fetchrow("SELECT id, address FROM audit_log ORDER BY id LIMIT 1")
    await owner.execute("UPDATE audit_log SET address = '192.0.2.77' WHERE id = $1", entry["id"])
    done = run("audit", "verify", HEALTH_DATA_DIR=audit_dir)
    assert done.code == 1
    assert f"Entry {entry['id']} is not as it was written: it was changed or inserted." in done.err
    assert "192.0.2.77" not in done.err
    refusal = run("audit", "prune", "--before", "2020-01-01", HEALTH_DATA_DIR=audit_dir).refusal
    assert refusal == "The audit is not whole, as said above; nothing was deleted."
    await owner.execute("UPDATE audit_log SET address = $2 WHERE id = $1", *entry)
    assert run("audit", "verify", HEALTH_DATA_DIR=audit_dir).code == 0


async def test_old_days_are_forgotten(owner: asyncpg.Connection, audit_dir: Path):
    await all_sealed(owner)
    await owner.execute("DELETE FROM audit_seals; DELETE FROM audit_log")
    await written(audit_dir, 3, datetime(2020, 2, 3, 23, 59, 59, tzinfo=UTC))
    await written(audit_dir, 2, datetime(2020, 2, 4, tzinfo=UTC))
    await all_sealed(owner)
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
    refusal = run("audit", "prune", "--before", tomorrow, HEALTH_DATA_DIR=audit_dir).refusal
    assert refusal == "--before must not lie in the future."
    assert run("audit", "prune", "--before", "soon", HEALTH_DATA_DIR=audit_dir).code == 2
    done = run("audit", "prune", "--before", "2020-02-04", HEALTH_DATA_DIR=audit_dir)
    assert done.code == 0, done.err
    assert "Deleted 3 entries from before 2020-02-04." in done.err
    await all_sealed(owner)
    done = run("audit", "verify", HEALTH_DATA_DIR=audit_dir)
    assert done.code == 0
    assert "The chain begins with the checkpoint 3; what was before it was pruned." in done.err
    assert await owner.fetchval("SELECT array_agg(action ORDER BY id) FROM audit_log") == [
        "get_patient", "get_patient", "audit prune",
    ]  # fmt: skip


async def test_a_restored_dump_is_whole_and_goes_on(owner: asyncpg.Connection, audit_dir: Path, tmp_path: Path):
    await all_sealed(owner)
    head = run("audit", "head", HEALTH_DATA_DIR=audit_dir).out.strip()
    assert run("backup", str(tmp_path / "dump"), HEALTH_DATA_DIR=audit_dir).code == 0
    elsewhere = make_open_directory()
    try:
        shutil.copy(audit_dir / "encryption_keys", elsewhere)
        assert run("restore", str(tmp_path / "dump"), HEALTH_DATA_DIR=elsewhere).code == 0
        assert "entries are not sealed yet" in run("audit", "verify", HEALTH_DATA_DIR=elsewhere).err
        with serving(HEALTH_DATA_DIR=elsewhere, HEALTH_WORKER_POLL_SECONDS="0.05") as (_, client):
            client.post("/auth/login", json={"email": "x@example.org", "password": "x"})
            url = run("database-url", "--owner", HEALTH_DATA_DIR=elsewhere).out.strip()
            connection = await asyncpg.connect(url)
            await all_sealed(connection)
            actions = await connection.fetchval("SELECT array_agg(action ORDER BY id DESC) FROM audit_log")
            await connection.close()
            assert actions[:3] == ["login", "restore", "backup"]
            done = run("audit", "verify", "--head", head, HEALTH_DATA_DIR=elsewhere)
            assert done.code == 0, done.err
    finally:
        shutil.rmtree(elsewhere)


def test_nothing_sealed_has_no_head():
    made = make_open_directory()
    try:
        assert run("migrate", HEALTH_DATA_DIR=made).code == 0
        assert run("audit", "head", HEALTH_DATA_DIR=made).refusal.startswith("Nothing is sealed yet")
        assert run("audit", "verify", HEALTH_DATA_DIR=made).err == "The audit is whole: 0 entries, sealed up to 0.\n"
    finally:
        shutil.rmtree(made)
