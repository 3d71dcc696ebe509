"""Servers: made ready, side by side, ended by every signal; nothing is left running."""

import json
import os
import shutil
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path

import httpx
import psutil
import pytest
from fastapi import FastAPI

from health_services.errors import OperatorError
from health_services.listening import listen
from health_services.serving import _config, _Server
from tests.cli.commands import PASSWORD, SECRET, Command, eventually, header, run, serving, sign_in, stop
from tests.cli.conftest import ADMIN, Databases
from tests.cli.test_start import ask, two_urls
from tests.database.conftest import make_open_directory
from tests.servers import NO_TLS

WORKERS = 2


@pytest.fixture(scope="module")
def alone() -> Iterator[Path]:
    """A data directory with an administrator, on which only these servers run."""
    made = make_open_directory()
    asked = {"HEALTH_ADMIN_EMAIL": ADMIN, "HEALTH_ADMIN_PASSWORD": PASSWORD}
    done = run("create-admin", HEALTH_DATA_DIR=made, **asked)
    assert done.code == 0, done.err
    yield made
    shutil.rmtree(made)


def answering(base: str, count: int) -> set[int]:
    """Processes that have a connection to a caller, once `count` of them do."""
    port = int(base.rpartition(":")[2].partition("/")[0])
    with_callers: set[int] = set()
    end = time.monotonic() + 60
    while len(with_callers) < count and time.monotonic() < end:
        with ExitStack() as open_ones:
            for _ in range(16):
                client = open_ones.enter_context(httpx.Client(base_url=base, verify=NO_TLS))
                assert client.get("/clinics").status_code == 200
            for connection in psutil.net_connections("tcp"):
                if connection.laddr[1:] == (port,) and connection.status == "ESTABLISHED" and connection.pid:
                    with_callers.add(connection.pid)
    return with_callers


def ended(family: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)


def database_runs(data_dir: Path) -> bool:
    return (data_dir / "postgres" / "data" / "postmaster.pid").exists()


def is_free(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
            attempt.listen()
        except OSError:
            return False
    return True


@pytest.mark.parametrize("workers", [1, WORKERS])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_every_end_ends_all_of_it(workers: int, end: signal.Signals, alone: Path):
    command = Command("serve", "--port", "0", "--workers", str(workers), HEALTH_DATA_DIR=alone)
    port = command.port()
    if workers > 1:
        assert len(answering(f"http://127.0.0.1:{port}/api/v1", workers)) == workers
    assert database_runs(alone)
    family = command.family()
    if end is signal.SIGINT:
        command.interrupt()
    else:
        os.kill(command.pid, end)
    done = command.wait(60)
    assert done.code in ({-9} if end is signal.SIGKILL else {0, 128 + end})
    assert "Traceback" not in done.err
    assert eventually(lambda: ended(family))
    assert eventually(lambda: is_free(port))
    assert eventually(lambda: not database_runs(alone))


def test_ctrl_c_is_no_error(alone: Path):
    command = Command("serve", "--port", "0", HEALTH_DATA_DIR=alone)
    command.port()
    command.interrupt()
    assert command.wait(60).code == 0
    assert not database_runs(alone)


def test_a_process_that_cannot_start_ends_the_server(alone: Path):
    """One is killed, and whoever takes its place finds keys that are none."""
    keys = alone / "encryption_keys"
    kept = keys.read_text()
    command = Command("serve", "--port", "0", "--workers", "2", HEALTH_DATA_DIR=alone)
    try:
        (one, _) = answering(f"http://127.0.0.1:{command.port()}/api/v1", 2)
        keys.write_text("none")
        os.kill(one, signal.SIGKILL)
        done = command.wait(60)
    finally:
        keys.write_text(kept)
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1] == "Error: The server did not start; the log above tells why."
    assert f"{keys}" in done.err
    assert not database_runs(alone)


def test_an_application_that_cannot_start_is_an_error():
    def fail(_: FastAPI) -> AbstractAsyncContextManager[None]:
        raise OSError("nothing works")

    said: list[str] = []
    with listen("127.0.0.1", 0) as listener, pytest.raises(OperatorError, match=r"^The server did not start;"):
        _Server(_config(FastAPI(lifespan=fail), None), said.append, "Ready").serve_on(listener)
    assert said == []


def test_the_secret_is_made_once_for_its_owner_alone(alone: Path):
    with serving(HEALTH_DATA_DIR=alone) as (_, client):
        token = header(client, ADMIN)
    file = alone / "secret_key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_bytes()) >= 32
    kept = file.read_text()
    with serving(HEALTH_DATA_DIR=alone) as (_, client):
        assert client.get("/auth/profile", headers=token).status_code == 200
    assert file.read_text() == kept
    file.write_text("short")
    refusal = run("serve", "--port", "0", HEALTH_DATA_DIR=alone).refusal
    assert refusal.startswith(f"The secret in {file} is too short")
    file.write_text(kept)


async def test_two_starts_at_once_make_one_administrator(databases: Databases):
    database = await databases()
    asked = two_urls(database) | {"HEALTH_ADMIN_EMAIL": "first@example.org", "HEALTH_ADMIN_PASSWORD": PASSWORD}
    both = [Command("serve", "--port", "0", **asked) for _ in range(2)]
    try:
        ports = [command.port() for command in both]
        assert await ask(database, "SELECT count(*) FROM users WHERE role = 'admin'") == 1
        assert sorted("Made the administrator first@example.org." in command.err for command in both) == [False, True]
        for port in ports:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", verify=NO_TLS, timeout=60) as client:
                assert sign_in(client, "first@example.org").status_code == 200
    finally:
        for command in both:
            stop(command)


async def test_a_deactivated_administrator_does_not_stop_the_start(databases: Databases):
    database = await databases(migrate=True)
    await ask(
        database,
        "INSERT INTO users (name, email, role, is_active) VALUES ('A', 'first@example.org', 'admin', false)",
    )
    asked = {"HEALTH_ADMIN_EMAIL": "first@example.org", "HEALTH_ADMIN_PASSWORD": PASSWORD}
    with serving(**two_urls(database), **asked) as (command, client):
        assert "HEALTH_ADMIN_EMAIL: first@example.org has an account already" in command.err
        assert sign_in(client, "first@example.org").status_code == 401


async def test_without_migrating_it_serves_what_is_current_or_newer(databases: Databases):
    database = await databases()
    assert [run("migrate", **two_urls(database)).code for _ in range(2)] == [0, 0]
    await ask(database, "UPDATE alembic_version SET version_num = '9999'")
    with serving("--no-migrate", **two_urls(database)) as (_, client):
        root = str(client.base_url).partition("/api")[0]
        assert client.get(f"{root}/readyz").status_code == 200
        await ask(database, "UPDATE alembic_version SET version_num = '0001'")
        assert client.get(f"{root}/healthz").status_code == 200
        assert client.get(f"{root}/readyz").status_code == 503


def test_the_document_is_what_the_server_answers(alone: Path):
    done = run("openapi")
    assert (done.code, done.err) == (0, "")
    with serving(HEALTH_DATA_DIR=alone, HEALTH_SECRET_KEY=SECRET) as (_, client):
        root = str(client.base_url).partition("/api")[0]
        assert client.get(f"{root}/openapi.json").json() == json.loads(done.out)


def test_other_commands_do_not_stop_its_database(alone: Path, tmp_path: Path):
    with serving(HEALTH_DATA_DIR=alone) as (_, client):
        file = tmp_path / "health.dump"
        for command in (["database-url"], ["migrate"], ["backup", str(file)], ["user", "activate", ADMIN]):
            assert run(*command, HEALTH_DATA_DIR=alone).code == 0
            assert header(client, ADMIN)
        killed = Command("demo", HEALTH_DATA_DIR=alone)
        killed.kill()
        killed.wait()
        assert header(client, ADMIN)
    assert not database_runs(alone)


def test_what_is_no_http_gets_a_problem_too(alone: Path):
    with (
        serving(HEALTH_DATA_DIR=alone) as (_, client),
        socket.create_connection(("127.0.0.1", client.base_url.port or 0)) as call,
    ):
        call.sendall(b"FOO /api/v1/clinics HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = b"".join(iter(lambda: call.recv(4096), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["error_code"] == "VALIDATION_ERROR"
