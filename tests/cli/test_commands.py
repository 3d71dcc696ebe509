"""Every command: its help, its exit codes, what it prints where, and the data it moves."""

import re
import stat
from pathlib import Path

import httpx
import pytest
from typer.main import get_command

from health_services.cli import cli
from health_services.database.embedded import Cluster
from tests.cli.commands import SECRET, Command, header, run, serving, sign_in
from tests.cli.conftest import ADMIN, Databases
from tests.cli.test_start import ask, two_urls
from tests.database.servers import sql

COMMANDS = [
    ["serve"], ["worker"], ["mail-test"], ["migrate"], ["create-admin"], ["user"], ["user", "deactivate"],
    ["user", "activate"],
    ["user", "set-password"], ["user", "reset-mfa"], ["keys"], ["keys", "list"], ["keys", "rotate"],
    ["audit"], ["audit", "verify"], ["audit", "head"], ["audit", "prune"],
    ["demo"], ["database-url"], ["openapi"], ["backup"], ["restore"],
]  # fmt: skip
LOGIN = re.compile(r"^  (\w+) +(\S+@\S+) +(\S+)$", re.MULTILINE)


def test_the_commands_are_those_of_this_list():
    named = get_command(cli).commands  # type: ignore[attr-defined]
    assert set(named) == {command[0] for command in COMMANDS}
    for group in {command[0] for command in COMMANDS if command[1:]}:
        assert set(named[group].commands) == {command[1] for command in COMMANDS if command[1:] and command[0] == group}


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_help(command: list[str]):
    done = run(*command, "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Usage: health-services {' '.join(command)}".strip() in done.out


@pytest.mark.parametrize(
    "line",
    [
        "nonsense", "serve --port 65536", "serve --port x", "serve --workers 0", "user deactivate", "demo --seed x",
        "backup", "restore /nowhere/at/all", "migrate --down", "user nonsense a@example.org",
    ],
)  # fmt: skip
def test_a_command_line_that_is_off_is_exit_code_2(line: str):
    done = run(*line.split(), HEALTH_DATA_DIR="/nowhere")
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert done.err.strip()


def test_the_database_url_is_one_for_psql(served: tuple[Command, httpx.Client], data_dir: Path, cluster: Cluster):
    app, owner = (run("database-url", *more, HEALTH_DATA_DIR=data_dir) for more in ([], ["--owner"]))
    assert (app.err, owner.err) == ("", "")
    assert sql(app.out.strip(), "SELECT current_user, current_database()", cluster.bin_dir) == "health_app|health"
    assert sql(owner.out.strip(), "SELECT current_user", cluster.bin_dir) == "health_owner"
    with pytest.raises(AssertionError, match="permission denied"):
        sql(app.out.strip(), "CREATE TABLE mine (id int)", cluster.bin_dir)


async def test_the_region_is_printed_to_sign_in_with_and_made_once(databases: Databases):
    database = await databases()
    urls = two_urls(database)
    made = run("demo", "--seed", "7", **urls)
    assert (made.code, made.err) == (0, "")
    logins = LOGIN.findall(made.out)
    assert [role for role, _, _ in logins] == ["patient", "doctor", "staff", "admin"]
    assert len(made.out.splitlines()) == 5
    assert "for demonstration only" in made.out
    assert "\x1b" not in made.out
    with serving(**urls) as (_, client):
        for role, email, password in logins:
            assert sign_in(client, email, password).json()["user"]["role"] == role
        people = await ask(database, "SELECT md5(string_agg(name, '|' ORDER BY id)) FROM users")
        for more in ([], ["--force"]):
            again = run("demo", *more, **urls).refusal
            assert "is not empty" in again or "cannot be added twice" in again
        assert await ask(database, "SELECT md5(string_agg(name, '|' ORDER BY id)) FROM users") == people


async def test_the_region_is_forced_beside_other_data(databases: Databases):
    database = await databases(migrate=True)
    await ask(database, "INSERT INTO clinics (name, time_zone) VALUES ('Other', 'UTC')")
    assert "not empty (1 clinic)" in run("demo", **two_urls(database)).refusal
    assert await ask(database, "SELECT count(*) FROM users") == 0
    assert run("demo", "--force", **two_urls(database)).code == 0
    assert await ask(database, "SELECT count(*) FROM clinics") == 13


async def test_a_backup_moves_from_a_data_directory_to_another_and_to_a_url(
    served: tuple[Command, httpx.Client], data_dir: Path, directory: Path, databases: Databases
):
    file = directory / "health.dump"
    assert run("backup", str(file), HEALTH_DATA_DIR=data_dir).code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    fresh = {"HEALTH_DATA_DIR": directory / "fresh", "HEALTH_SECRET_KEY": SECRET}
    restored = run("restore", str(file), **fresh)
    assert restored.code == 0, restored.err
    with serving(**fresh) as (_, client):
        assert header(client, ADMIN)
        assert "not empty" in run("restore", str(file), **fresh).refusal
        assert header(client, ADMIN)

    urls = two_urls(await databases())
    copy = directory / "copy.dump"
    assert run("restore", str(file), **urls).code == 0
    assert run("backup", str(copy), **urls).code == 0
    last = await databases()
    assert run("restore", str(copy), **two_urls(last)).code == 0
    assert await ask(last, "SELECT count(*) FROM users WHERE email = 'admin@example.org'") == 1


async def test_what_is_no_backup_is_refused(databases: Databases, tmp_path: Path):
    file = tmp_path / "health.dump"
    file.write_text("not a dump")
    urls = two_urls(await databases())
    assert f"{file} is not a backup" in run("restore", str(file), **urls).refusal
    assert "cannot be written" in run("backup", "/nowhere/health.dump", **urls).refusal
