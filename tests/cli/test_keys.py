"""`keys list` and `keys rotate`: with real data, killed half-way, beside a running server, with both kinds of ring."""

import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from health_services.database.key_file import KeyFile
from health_services.database.sealing import KeyRing, Vault
from health_services.written_forms import symmetric_key
from tests.cli.commands import KEYS, PASSWORD, Command, eventually, header, run, serving, stop
from tests.cli.conftest import Databases
from tests.cli.test_start import ask, two_urls
from tests.database.conftest import make_open_directory

MANY = 3000
LINE = re.compile(r"(.+?) +(\d+) values")
PERSON = {"name": "Ann", "email": "ann@example.org", "password": PASSWORD}
MAKE_MANY = f"""
WITH made AS (INSERT INTO users (name, email) SELECT 'P', 'p' || n || '@example.org' FROM generate_series(1, {MANY}) n
              RETURNING id)
INSERT INTO patients (user_id, allergies, emergency_contact) SELECT id, 'Allergy ' || id, 'Contact ' || id FROM made
"""


@pytest.fixture(scope="module")
def keys_dir() -> Iterator[Path]:
    made = make_open_directory()
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def server(keys_dir: Path) -> Iterator[httpx.Client]:
    """A server that runs all the while."""
    with serving("--workers", "2", HEALTH_DATA_DIR=keys_dir) as (_, client):
        assert client.post("/auth/register", json=PERSON).status_code == 200
        yield client


@pytest.fixture
async def owner(server: httpx.Client, keys_dir: Path) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(run("database-url", "--owner", HEALTH_DATA_DIR=keys_dir).out.strip())
    yield connection
    await connection.close()


@pytest.fixture
def patient(server: httpx.Client) -> tuple[str, dict[str, str]]:
    """The path of a patient's record, and the header of the patient."""
    headers = header(server, PERSON["email"])
    profile = server.get("/auth/profile", headers=headers).json()
    return f"/patients/{profile['patient_id']}", headers


def ring(directory: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((directory / "encryption_keys").read_text())
    return found


def counts(**environment: Any) -> dict[str, int]:
    """What `keys list` says of each key, and of what is in the clear."""
    done = run("keys", "list", **environment)
    assert (done.code, done.err) == (0, ""), done.err
    return {name: int(count) for name, count in LINE.findall(done.out)}


def rotated(**environment: Any) -> str:
    done = run("keys", "rotate", **environment)
    assert (done.code, done.out) == (0, ""), done.err
    return done.err


def test_a_rotation_beside_a_running_server(server: httpx.Client, patient: tuple[str, dict[str, str]], keys_dir: Path):
    record, headers = patient
    (old,) = ring(keys_dir)
    assert server.put(record, json={"allergies": "Dust", "emergency_contact": "Sister"}, headers=headers).is_success
    assert counts(HEALTH_DATA_DIR=keys_dir) == {old: 2, "in the clear": 0}
    said = rotated(HEALTH_DATA_DIR=keys_dir)
    new, kept = ring(keys_dir)
    assert kept == old
    assert f"Every value is encrypted with the key {new} now; 2 were changed." in said
    assert counts(HEALTH_DATA_DIR=keys_dir) == {new: 2, old: 0, "in the clear": 0}
    for _ in range(8):  # both processes
        answer = server.get(record, headers=headers)
        assert (answer.json()["allergies"], answer.json()["emergency_contact"]) == ("Dust", "Sister")
        assert server.put(record, json={"allergies": "Dust"}, headers=headers).is_success
    assert counts(HEALTH_DATA_DIR=keys_dir) == {new: 2, old: 0, "in the clear": 0}
    listed = run("keys", "list", HEALTH_DATA_DIR=keys_dir).out
    assert not any(key in listed for key in ring(keys_dir).values())
    assert [line.endswith("encrypts") for line in listed.splitlines()] == [True, False, False]


async def test_killed_half_way_and_run_again(owner: asyncpg.Connection, keys_dir: Path):
    """Somebody holds a row, so that the first run cannot come to its end."""
    await owner.execute(MAKE_MANY)
    before = counts(HEALTH_DATA_DIR=keys_dir)
    keys = len(ring(keys_dir))
    last = await owner.fetchval("SELECT max(id) FROM patients")
    sealed = "SELECT count(*) FROM patients WHERE allergies LIKE 'sealed:%' AND id > $1"
    hold = owner.transaction()
    await hold.start()
    await owner.execute("SELECT FROM patients WHERE id = $1 FOR UPDATE", last)
    command = Command("keys", "rotate", HEALTH_DATA_DIR=keys_dir)
    try:
        while not await owner.fetchval(sealed, last - MANY):
            assert command.process.is_alive(), command.err
    finally:
        command.kill()
        command.wait()
        await hold.rollback()
    first = next(iter(ring(keys_dir)))
    assert len(ring(keys_dir)) == keys + 1
    half = counts(HEALTH_DATA_DIR=keys_dir)
    assert 2 <= half["in the clear"] < 2 * MANY
    assert sum(half.values()) == sum(before.values())
    rotated(HEALTH_DATA_DIR=keys_dir)
    assert next(iter(ring(keys_dir))) == first
    after = counts(HEALTH_DATA_DIR=keys_dir)
    assert after[first] == sum(before.values())
    assert sum(after.values()) == after[first]
    vault = Vault(KeyFile(keys_dir).current)
    for row in await owner.fetch(
        "SELECT id, user_id, allergies, emergency_contact FROM patients WHERE id > $1", last - MANY
    ):
        opened = [vault.open("patients", name, row["id"], row[name]) for name in ("allergies", "emergency_contact")]
        assert opened == [f"Allergy {row['user_id']}", f"Contact {row['user_id']}"]


async def test_a_row_that_is_being_changed_is_waited_for(
    owner: asyncpg.Connection, keys_dir: Path, patient: tuple[str, dict[str, str]]
):
    patient_id = int(patient[0].rpartition("/")[2])
    hold = owner.transaction()
    await hold.start()
    await owner.execute("UPDATE patients SET allergies = 'Latex' WHERE id = $1", patient_id)
    command = Command("keys", "rotate", HEALTH_DATA_DIR=keys_dir)
    try:
        held = ring(keys_dir)
        others = "SELECT count(*) FROM patients WHERE id <> $1 AND NOT starts_with(allergies, 'sealed:' || $2)"
        assert eventually(lambda: ring(keys_dir) != held, 60), command.err
        new = next(iter(ring(keys_dir)))
        while await owner.fetchval(others, patient_id, new):
            assert command.process.is_alive(), command.err
        await hold.commit()
        assert command.wait().code == 0
    finally:
        stop(command)
    found = await owner.fetchval("SELECT allergies FROM patients WHERE id = $1", patient_id)
    assert Vault(KeyFile(keys_dir).current).open("patients", "allergies", patient_id, found) == "Latex"


async def test_only_one_rotates_at_a_time(owner: asyncpg.Connection, keys_dir: Path):
    held = ring(keys_dir)
    await owner.fetchval("SELECT pg_advisory_lock(5318008271828182)")
    refusal = run("keys", "rotate", HEALTH_DATA_DIR=keys_dir).refusal
    assert refusal == "The keys are being rotated by another command; wait for its end."
    assert ring(keys_dir) == held


async def test_a_value_whose_key_is_missing_is_told_and_the_others_are_done(
    owner: asyncpg.Connection, keys_dir: Path, patient: tuple[str, dict[str, str]]
):
    patient_id = int(patient[0].rpartition("/")[2])
    lost = Vault(lambda: KeyRing({"lost": b"0" * 32})).seal("patients", "allergies", patient_id, "Latex")
    before = await owner.fetchval("UPDATE patients SET allergies = $1 WHERE id = $2 RETURNING id", lost, patient_id)
    assert before == patient_id
    done = run("keys", "rotate", HEALTH_DATA_DIR=keys_dir)
    assert done.refusal.startswith("Values that could not be opened: 1. The log above names their keys and places;")
    assert "Latex" not in done.err
    found = counts(HEALTH_DATA_DIR=keys_dir)
    first = next(iter(ring(keys_dir)))
    assert found["lost"] == 1
    assert sum(found.values()) == found[first] + 1
    assert "missing: these values cannot be read" in run("keys", "list", HEALTH_DATA_DIR=keys_dir).out
    await owner.execute("UPDATE patients SET allergies = NULL WHERE id = $1", patient_id)
    rotated(HEALTH_DATA_DIR=keys_dir)
    assert next(iter(ring(keys_dir))) == first


async def test_given_keys_are_changed_in_two_steps(databases: Databases, directory: Path):
    database = await databases(migrate=True)
    environment = two_urls(database) | {"HEALTH_DATA_DIR": str(directory)}
    await ask(database, MAKE_MANY.replace(str(MANY), "3"))
    said = rotated(**environment)
    assert "The keys are given in HEALTH_ENCRYPTION_KEYS, so none was made." in said
    assert counts(**environment) == {"test": 6, "in the clear": 0}
    new = {"new": "bmV3LCBuZXcsIG5vdGhpbmcgYnV0IG5ldywgYWhhISE"}
    last = environment | {"HEALTH_ENCRYPTION_KEYS": json.dumps(json.loads(KEYS) | new)}
    first = environment | {"HEALTH_ENCRYPTION_KEYS": json.dumps(new | json.loads(KEYS))}
    rotated(**last)
    assert counts(**last) == {"test": 6, "new": 0, "in the clear": 0}
    rotated(**first)
    assert counts(**first) == {"new": 6, "test": 0, "in the clear": 0}
    row = "SELECT id || ' ' || user_id || ' ' || allergies FROM patients LIMIT 1"
    row_id, user_id, sealed = str(await ask(database, row)).split()
    opener = Vault(lambda: KeyRing({"new": symmetric_key(new["new"])}))
    assert opener.open("patients", "allergies", int(row_id), sealed) == f"Allergy {user_id}"
    assert not (directory / "encryption_keys").exists()


async def test_given_keys_must_be_given(databases: Databases, directory: Path):
    urls = two_urls(await databases(migrate=True)) | {"HEALTH_DATA_DIR": str(directory)}
    del urls["HEALTH_ENCRYPTION_KEYS"]
    for line in (["keys", "list"], ["keys", "rotate"], ["demo"], ["serve", "--port", "0"], ["worker"]):
        assert run(*line, **urls).refusal.startswith("HEALTH_ENCRYPTION_KEYS must be set when DATABASE_URL is")
    assert not (directory / "encryption_keys").exists()
