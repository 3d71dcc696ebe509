"""The way to the database: on this machine, or by TLS that checks the name; no way of writing a URL gets around it."""

from pathlib import Path

import pytest

from health_services.database.transport import is_verified
from tests.cli.commands import SECRET, run

NEAR = (
    "postgresql:///health", "postgresql://me:pw@/health?host=/run/postgresql", "postgres://localhost/h",
    "postgresql+asyncpg://me:pw@localhost:5432/h", "postgresql://127.0.0.1/h", "postgresql://127.8.9.1:5433/h",
    "postgresql://[::1]/h", "postgresql://[::1]:5432,localhost/h", "postgresql://me@%2Fvar%2Frun%2Fpostgresql/h",
    "postgresql://%2Ftmp:5432,127.0.0.1:5433/h", "postgresql:///h?host=localhost,/tmp&port=1,2",
    "postgresql://[::ffff:127.0.0.1]/h", "postgresql://localhost/h?sslmode=disable",
)  # fmt: skip
FAR = (
    "postgresql://db.example.org/h", "postgresql://me:pw@10.0.0.5:5432/h", "postgresql://[2001:db8::1]/h",
    "postgresql://localhost.example.org/h", "postgresql://0.0.0.0/h", "postgresql://[::]/h", "postgresql://127.1/h",
    "postgresql://localhost,db.example.org/h", "postgresql://db.example.org,localhost/h", "postgresql://[::1],db:5432/h",
    "postgresql:///h?host=db.example.org", "postgresql:///h?host=/tmp,db.example.org", "postgresql:///h?host=2001:db8::1",
    "postgresql://localhost/h?host=db.example.org", "postgresql:///h?host=localhost&host=db.example.org",
    "postgresql://localhost/h?hostaddr=10.0.0.5", "postgresql:///h?host=::2", "postgresql://a@evil.example@localhost/h",
    "postgresql:///h?service=localhost", "postgresql://local%68ost.example.org/h", "postgresql://localhost%2Cdb/h",
    "postgresql:///h?host=%252Ftmp",
)  # fmt: skip
UNCHECKED = ("", "disable", "allow", "prefer", "require", "verify-ca", "VERIFY-FULL", "verify_full", "verify-full ")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch):
    for name in ("PGHOST", "PGSERVICE", "PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)


def with_mode(url: str, mode: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}sslmode={mode}"


@pytest.mark.parametrize("url", NEAR)
def test_on_this_machine_anything_goes(url: str):
    assert is_verified(url)


@pytest.mark.parametrize("url", FAR)
def test_anywhere_else_the_name_is_checked(url: str):
    assert not is_verified(url)
    for mode in UNCHECKED:
        assert not is_verified(with_mode(url, mode)), mode
        assert not is_verified(with_mode(url, mode) + "&sslrootcert=/etc/ca.pem"), mode
        assert not is_verified(with_mode(with_mode(url, "verify-full"), mode or "disable")), mode
    assert is_verified(with_mode(url, "verify-full"))
    assert is_verified(with_mode(url, "verify-full") + "&sslrootcert=/etc/ca.pem")


def test_the_environment_counts_as_the_driver_reads_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PGHOST", "/tmp,db.example.org")
    assert not is_verified("postgresql:///h")
    assert is_verified("postgresql://localhost/h")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert is_verified("postgresql:///h")
    assert is_verified("postgresql://db.example.org/h")
    assert not is_verified("postgresql://db.example.org/h?sslmode=require")
    monkeypatch.setenv("PGSSLMODE", "require")
    assert not is_verified("postgresql://db.example.org/h")
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    assert not is_verified("postgresql:///h?host=/tmp")


def test_what_is_no_url_is_not_verified():
    assert not is_verified("postgresql://[::1/h")
    assert not is_verified("postgresql://]h[/h")


FAR_URL = "postgresql://me:hunter2@127.0.0.1:1,db.invalid:1/h"
NEAR_URL = "postgresql://me:hunter2@127.0.0.1:1/h"


@pytest.mark.parametrize("command", ["serve", "worker", "migrate", "backup", "database-url"])
@pytest.mark.parametrize(("name", "urls"), [
    ("DATABASE_URL", {"DATABASE_URL": FAR_URL}),
    ("HEALTH_MIGRATION_DATABASE_URL", {"DATABASE_URL": NEAR_URL, "HEALTH_MIGRATION_DATABASE_URL": FAR_URL}),
    ("HEALTH_READ_DATABASE_URL", {"DATABASE_URL": NEAR_URL, "HEALTH_READ_DATABASE_URL": FAR_URL}),
])  # fmt: skip
def test_no_command_goes_there(command: str, name: str, urls: dict[str, str], tmp_path: Path):
    arguments = {"serve": ["--port", "0"], "backup": [str(tmp_path / "dump")]}.get(command, [])
    environment = {"HEALTH_SECRET_KEY": SECRET, "HEALTH_DATA_DIR": tmp_path, **urls}
    refused = run(command, *arguments, **environment)
    assert refused.refusal.startswith(f"{name} leads to another host without sslmode=verify-full")
    assert "hunter2" not in refused.err


def test_the_operator_may_wish_otherwise_and_is_warned(tmp_path: Path):
    environment = {"HEALTH_DATABASE_ALLOW_UNVERIFIED_TLS": "true", "DATABASE_URL": FAR_URL, "HEALTH_DATA_DIR": tmp_path}
    done = run("database-url", **environment)
    assert (done.code, done.out.strip()) == (0, FAR_URL)
    assert done.err.startswith("Warning: DATABASE_URL leads to another host")
    assert "hunter2" not in done.err
