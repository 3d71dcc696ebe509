"""Starts that are refused: one sentence that says what to do, exit code 1, and nothing changed."""

import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from tests.cli.commands import KEYS, SECRET, run
from tests.cli.conftest import Databases
from tests.cli.older import aged
from tests.database.conftest import make_open_directory
from tests.servers import TestDatabase


@pytest.fixture
def untouched() -> Iterator[Path]:
    """A data directory of which a refused start makes nothing."""
    made = make_open_directory()
    yield made
    assert list(made.iterdir()) == []
    made.rmdir()


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({"HEALTH_CORS_ORIGINS": "https://app.example.org"}, "HEALTH_CORS_ORIGINS must be JSON"),
        ({"DATABASE_URL": "mysql://root:pw@localhost/health"}, "DATABASE_URL: must be a postgresql:// URL."),
        ({"DATABASE_URL": ""}, "DATABASE_URL: must be a postgresql:// URL."),
        ({"HEALTH_SECRET_KEY": "short"}, "HEALTH_SECRET_KEY: needs at least 32 bytes."),
        (
            {"HEALTH_MIGRATION_DATABASE_URL": "postgresql://h/h"},
            "HEALTH_MIGRATION_DATABASE_URL is set but DATABASE_URL",
        ),
        ({"HEALTH_READ_DATABASE_URL": "postgresql://h/h"}, "HEALTH_READ_DATABASE_URL is set but DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://localhost:1/h"}, "HEALTH_SECRET_KEY must be set when DATABASE_URL is"),
        (
            {"DATABASE_URL": "postgresql://localhost:1/h", "HEALTH_SECRET_KEY": SECRET},
            "HEALTH_ENCRYPTION_KEYS must be set when DATABASE_URL is",
        ),
        ({"HEALTH_POSTGRES_BIN": "/nowhere"}, "HEALTH_POSTGRES_BIN: /nowhere has no PostgreSQL"),
    ],
)
def test_a_setting_stops_the_start_by_its_name(environment: dict[str, str], names: str, directory: Path):
    assert run("serve", "--port", "0", HEALTH_DATA_DIR=directory / "data", **environment).refusal.startswith(names)
    assert not (directory / "data" / "postgres" / "data").exists()


STARTS = ["serve --port 0", "serve --port 0 --workers 2", "serve --port 0 --no-migrate", "worker"]


@pytest.mark.parametrize("line", [*STARTS, "mail-test somebody@example.org"])
def test_nothing_is_started_with_settings_that_cannot_send(line: str, untouched: Path):
    malformed = {
        "HEALTH_PUBLIC_URL": "https://health.example.org:port",
        "HEALTH_SMTP_URL": "smtp://mail.example.org/inbox",
        "HEALTH_MAIL_FROM": "post@gesünder.example",
        "HEALTH_SMS_URL": "https://AC1:token@api.twilio.com",
        "HEALTH_VAPID_PRIVATE_KEY": "no key",
    }
    done = run(*line.split(), HEALTH_DATA_DIR=untouched, **malformed)
    assert done.code == 1
    named = {sentence.removeprefix("Error: ").partition(": ")[0] for sentence in done.err.splitlines()}
    assert named == malformed.keys() - {"HEALTH_SMS_URL"} | {"HEALTH_SMS_FROM"}


@pytest.mark.parametrize("line", [line for line in STARTS if "--no-migrate" not in line])
async def test_a_key_that_cannot_be_read_stops_the_start(line: str, databases: Databases, fresh: Path):
    database = await databases()
    (fresh / "vapid_private_key").mkdir()
    refusal = run(*line.split(), **two_urls(database), HEALTH_DATA_DIR=fresh).refusal
    assert refusal.startswith(f"{fresh / 'vapid_private_key'} must be a file of the user who runs the service")
    assert await relations(database) == 0


@pytest.mark.parametrize("line", ["worker", "serve --port 0 --no-migrate", "serve --port 0 --no-migrate --workers 2"])
@pytest.mark.parametrize("is_empty", [True, False])
async def test_a_schema_that_is_older_stops_the_start(line: str, is_empty: bool, databases: Databases, fresh: Path):
    database = await databases(migrate=not is_empty)
    if not is_empty:
        await ask(database, "UPDATE alembic_version SET version_num = '0001'")
    refusal = run(*line.split(), **two_urls(database), HEALTH_DATA_DIR=fresh).refusal
    assert refusal == "The database's schema is older than this version; run: health-services migrate"


LINKS = "Warning: HEALTH_PUBLIC_URL is not set, so the links in mails lead to localhost"


@pytest.mark.parametrize("line", ["worker", "serve --port 0", "serve --port 0 --workers 2 --no-worker"])
@pytest.mark.parametrize(("environment", "count"), [
    ({}, 0),
    ({"HEALTH_SMTP_URL": "smtp://mail.example.org"}, 1),
    ({"HEALTH_SMTP_URL": "smtp://mail.example.org", "HEALTH_PUBLIC_URL": "https://health.example.org"}, 0),
])  # fmt: skip
def test_links_that_nobody_can_follow_are_a_warning(line: str, environment: dict[str, str], count: int, fresh: Path):
    # Refused afterwards, since the secret is not given.
    done = run(*line.split(), DATABASE_URL="postgresql://localhost:1/h", HEALTH_DATA_DIR=fresh, **environment)
    assert done.refusal.startswith("HEALTH_SECRET_KEY must be set")
    assert done.err.count(LINKS) == count


@pytest.mark.parametrize(
    ("email", "password", "sentence"),
    [
        ("nonsense", "river-admin-72", "HEALTH_ADMIN_EMAIL is not a valid e-mail address."),
        ("a@example.org", "short", "HEALTH_ADMIN_PASSWORD must have 8 to 128 characters."),
        ("a@example.org", "password1", "HEALTH_ADMIN_PASSWORD is among the most common passwords."),
    ],
)
async def test_an_unfit_administrator_stops_the_start(email: str, password: str, sentence: str, databases: Databases):
    database = await databases()
    asked = {"HEALTH_ADMIN_EMAIL": email, "HEALTH_ADMIN_PASSWORD": password}
    assert run("serve", "--port", "0", **two_urls(database), **asked).refusal == sentence
    assert await relations(database) == 0


def test_an_unknown_variable_is_a_warning(data_dir: Path):
    done = run("migrate", HEALTH_DATA_DIR=data_dir, HEALTH_CORS_ORIGIN="[]")
    assert done.code == 0
    assert "Warning: HEALTH_CORS_ORIGIN is not a setting" in done.err
    assert "Did you mean HEALTH_CORS_ORIGINS?" in done.err


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_in_use_is_refused(host: str, untouched: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refusal = run("serve", "--host", host, "--port", str(port), HEALTH_DATA_DIR=untouched).refusal
    assert refusal.startswith(
        f"Cannot listen on {host}, port {port}: Address already in use. Choose another with --port"
    )


@pytest.mark.parametrize(
    ("host", "begins"),
    [("nowhere.invalid", "There is no address nowhere.invalid"), ("192.0.2.1", "Cannot listen on 192.0.2.1")],
)
def test_a_host_that_is_not_ours_is_refused(host: str, begins: str, untouched: Path):
    assert run("serve", "--host", host, "--port", "0", HEALTH_DATA_DIR=untouched).refusal.startswith(begins)


def test_an_unreachable_database_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"postgresql://health:a-secret-word@127.0.0.1:{port}/health"
    refusal = run("migrate", DATABASE_URL=url).refusal
    assert refusal.startswith("The database cannot be reached: ")
    assert refusal.endswith("Check that it runs and that DATABASE_URL is right.")
    assert "a-secret-word" not in refusal


async def test_a_wrong_password_is_refused(databases: Databases):
    database = await databases()
    refusal = run("migrate", DATABASE_URL=with_login(database, "health_app", "a-wrong-word")).refusal
    assert refusal.startswith("The database cannot be reached: ")
    assert "a-wrong-word" not in refusal


async def test_a_postgresql_before_15_is_refused_and_untouched(databases: Databases, older: tuple[str, TestDatabase]):
    url, database = older
    keys = {"HEALTH_SECRET_KEY": SECRET, "HEALTH_ENCRYPTION_KEYS": KEYS}
    refusal = run("serve", "--port", "0", DATABASE_URL=url, **keys).refusal
    assert refusal.startswith("This is PostgreSQL 14; health-services needs 15 or newer. Upgrade the server")
    assert await relations(database) == 0
    assert await ask(database, "SELECT count(*) FROM pg_extension WHERE extname = 'btree_gist'") == 0


async def test_a_server_without_the_extension_is_refused(databases: Databases):
    database = await databases()
    # Where this server looks for its extensions, in this database alone: nowhere.
    name = database.admin_url.partition("?")[0].rpartition("/")[2]
    await ask(database, f"ALTER DATABASE \"{name}\" SET extension_control_path = '/nowhere'")
    refusal = run("migrate", **two_urls(database)).refusal
    assert refusal.startswith("The PostgreSQL server lacks the extension btree_gist; install its contrib package")
    assert await relations(database) == 0


def two_urls(database: TestDatabase) -> dict[str, str]:
    return {
        "DATABASE_URL": database.app_url,
        "HEALTH_MIGRATION_DATABASE_URL": database.owner_url,
        "HEALTH_SECRET_KEY": SECRET,
        "HEALTH_ENCRYPTION_KEYS": KEYS,
    }


def with_login(database: TestDatabase, user: str, password: str) -> str:
    return f"postgresql://{user}:{password}@{database.admin_url.partition('@')[2]}"


async def ask(database: TestDatabase, query: str) -> object:
    connection = await asyncpg.connect(database.admin_url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def relations(database: TestDatabase) -> object:
    return await ask(database, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")


@pytest.fixture
async def older(databases: Databases) -> AsyncIterator[tuple[str, TestDatabase]]:
    """The URL of a real server that calls itself PostgreSQL 14, and its database."""
    database = await databases()
    number = await ask(database, "SHOW server_version_num")
    path = f"{parse_qs(urlsplit(database.admin_url).query)['host'][0]}/.s.PGSQL.5432"

    with aged(path, str(number)) as port:
        login, _, rest = database.owner_url.partition("@")
        yield f"{login}@127.0.0.1:{port}{rest.partition('?')[0]}", database


@pytest.fixture
def fresh() -> Iterator[Path]:
    """A data directory that a test may spoil."""
    made = make_open_directory()
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("mode", [0o644, 0o666])
def test_a_secret_that_others_can_read_is_not_used(fresh: Path, mode: int):
    (fresh / "secret_key").write_text("a secret that somebody else has put there")
    (fresh / "secret_key").chmod(mode)
    refusal = run("serve", "--port", "0", HEALTH_DATA_DIR=fresh).refusal
    assert "secret_key must be a file of the user who runs the service" in refusal


def test_a_data_directory_that_everybody_can_write_to_is_refused(fresh: Path):
    fresh.chmod(0o1777)
    refusal = run("migrate", HEALTH_DATA_DIR=fresh).refusal
    assert refusal.startswith(f"Everybody can write to {fresh}, and could put secrets there.")
