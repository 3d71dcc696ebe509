"""Where the embedded server can and cannot live: versions, users, closed directories, full disks."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from health_services.database import cluster
from health_services.database.embedded import running
from health_services.errors import OperatorError
from tests.database.servers import SOURCE, RefusedError, User, is_stopped, sql

MAKE = "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)"
COUNT = "SELECT sum(n) FROM kept"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users, mount, and meet a closed home")


def quiet(_: str) -> None:
    pass


def snapshot(directory: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


@pytest.fixture
def nobody() -> tuple[int, str]:
    """An ordinary user, and an interpreter that it can run."""
    uid = pwd.getpwnam("nobody").pw_uid
    for python in (
        sys.executable,
        *(f"/usr/bin/python3{minor}" for minor in ("", ".14", ".13", ".12", ".11")),
    ):
        code = "import sys, health_services.errors; sys.exit(sys.version_info < (3, 11))"
        try:
            done = subprocess.run(
                [python, "-c", code],
                user=uid,
                env={"PYTHONPATH": str(SOURCE)},
                cwd="/",
                check=False,
                capture_output=True,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return uid, python
    pytest.skip("no Python 3.11+ and no sources that the user nobody can read")


@pytest.fixture
def small_disk(directory: Path) -> Iterator[Path]:
    disk = directory / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=180m,mode=755", "none", disk], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"\0" * (1 << 20))
    return filler


def test_another_major_version_is_refused_and_untouched(directory: Path) -> None:
    with running(directory / "data", say=quiet) as made:
        pass
    (made.pgdata / "PG_VERSION").write_text("99\n")
    before = snapshot(directory)
    with (
        pytest.raises(OperatorError, match=r"PostgreSQL 99.*Nothing was changed.*backup"),
        running(directory / "data"),
    ):
        pass
    assert snapshot(directory) == before


def test_what_is_no_directory_is_refused_in_words(directory: Path) -> None:
    (directory / "file").write_text("")
    with pytest.raises(OperatorError, match="HEALTH_DATA_DIR"), running(directory / "file" / "data"):
        pass


@as_root
def test_an_ordinary_user_has_a_server_of_its_own(directory: Path, nobody: tuple[int, str]) -> None:
    uid, python = nobody
    data = directory / "nobody"
    data.mkdir()
    os.chown(data, uid, -1)
    for count in ("first", "second"):
        with User(data, user=uid, python=python) as user:
            found = user.ready()
            assert found.pgdata.stat().st_uid == uid
            if count == "first":
                sql(found.owner_url, MAKE, found.bin_dir)
            assert sql(found.owner_url, COUNT, found.bin_dir) == "42"
        assert is_stopped(found.pgdata)
    with pytest.raises(OperatorError, match="belongs to the user nobody"), running(data):
        pass


@as_root
def test_a_second_os_user_is_refused(directory: Path, nobody: tuple[int, str]) -> None:
    with (
        running(directory / "data", say=quiet) as ours,
        User(directory / "data", user=nobody[0], python=nobody[1]) as user,
    ):
        with pytest.raises(RefusedError, match="belongs to the user root"):
            user.ready()
        assert sql(ours.app_url, "SELECT 1", ours.bin_dir) == "1"


@as_root
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_directory_without_permission_is_refused_in_words(
    directory: Path, nobody: tuple[int, str], mode: int
) -> None:
    data = directory / "data"
    data.mkdir(mode=mode)
    os.chown(data, nobody[0], -1)
    with (
        User(data, user=nobody[0], python=nobody[1]) as user,
        pytest.raises(RefusedError, match="Permission denied"),
    ):
        user.ready()
    assert stat.S_IMODE(data.stat().st_mode) == mode


@as_root
def test_a_read_only_disk_is_refused_in_words(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with (
        pytest.raises(OperatorError, match=r"Read-only file system.*HEALTH_DATA_DIR"),
        running(small_disk / "data"),
    ):
        pass


@as_root
def test_a_full_disk_is_refused_in_words(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_disk / "data"
    filler = fill(small_disk)
    with pytest.raises(OperatorError, match=r"full|No space left"), running(data, say=quiet):
        pass
    filler.unlink()
    with running(data, say=quiet) as found:
        sql(found.owner_url, MAKE, found.bin_dir)
    fill(small_disk)
    with pytest.raises(OperatorError, match="is full: 0 MB free"), running(data, say=quiet):
        pass
    monkeypatch.setattr(cluster, "EVERY_START_BYTES", 0)  # as if it filled up after the check
    with pytest.raises(OperatorError, match=r"full|No space left"), running(data, say=quiet):
        pass
    filler.unlink()
    with running(data, say=quiet) as found:
        assert sql(found.owner_url, COUNT, found.bin_dir) == "42"


@as_root
def test_a_first_start_that_fills_the_disk_leaves_nothing(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "FIRST_START_BYTES", 0)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\0" * (155 << 20))
    with pytest.raises(OperatorError, match="No space left"), running(small_disk / "data", say=quiet):
        pass
    assert not (small_disk / "data" / "postgres" / "data").exists()
    assert not list((small_disk / "data" / "postgres").glob(".data.new-*"))
    ballast.unlink()
    with running(small_disk / "data", say=quiet) as found:
        assert sql(found.app_url, "SELECT 1", found.bin_dir) == "1"


@as_root
def test_in_a_closed_home_the_cluster_goes_where_its_user_can_reach_it(directory: Path, system_root: Path) -> None:
    home = directory / "home"
    home.mkdir(mode=0o700)
    (home / "work").mkdir(mode=0o750)
    data = home / "work" / "data"
    said: list[str] = []
    with running(data, say=said.append) as found:
        assert found.pgdata.is_relative_to(system_root)
        assert any(str(found.pgdata.parent) in sentence for sentence in said)
        assert (data / "postgres-location.txt").read_text().strip() == str(found.pgdata.parent)
        assert stat.S_IMODE((data / "postgres" / "passwords.json").stat().st_mode) == 0o600
        sql(found.owner_url, MAKE, found.bin_dir)
    assert stat.S_IMODE(found.pgdata.stat().st_mode) == 0o700
    said.clear()
    with running(data, say=said.append) as again:
        assert again.pgdata == found.pgdata
        assert any(str(found.pgdata.parent) in sentence for sentence in said)
        assert sql(again.owner_url, COUNT, again.bin_dir) == "42"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (home, home / "work", directory)] == [
        0o700,
        0o750,
        0o755,
    ]


@as_root
def test_a_directory_made_anew_gets_a_new_cluster_and_the_old_one_stays(directory: Path, system_root: Path) -> None:
    home = directory / "home"
    home.mkdir(mode=0o700)
    with running(home / "data", say=quiet) as old:
        pass
    shutil.rmtree(home / "data")
    said: list[str] = []
    with running(home / "data", say=said.append) as new:
        assert new.pgdata != old.pgdata
    assert (old.pgdata / "PG_VERSION").exists()
    assert any(str(old.pgdata.parent) in sentence for sentence in said)


@as_root
def test_a_note_that_leads_elsewhere_is_not_followed(directory: Path, system_root: Path) -> None:
    (directory / "data").mkdir()
    (directory / "data" / "postgres-location.txt").write_text("/etc\n")
    with pytest.raises(OperatorError, match="not a place of ours"), running(directory / "data"):
        pass


@as_root
def test_a_cluster_follows_its_users_number(directory: Path) -> None:
    """In the next container, the system user may have another number."""
    with running(directory / "data", say=quiet) as found:
        sql(found.owner_url, MAKE, found.bin_dir)
    for path in (found.pgdata, *found.pgdata.rglob("*")):
        os.chown(path, 54321, 54321)
    with running(directory / "data", say=quiet) as again:
        assert sql(again.owner_url, COUNT, again.bin_dir) == "42"


@as_root
def test_foreign_modes_stay_as_they_are(directory: Path) -> None:
    (directory / "data").mkdir(mode=0o751)
    (directory / "data").chmod(0o1751)
    before = (directory / "data").stat()
    with running(directory / "data", say=quiet) as found:
        assert found.pgdata.is_relative_to(directory)
    after = (directory / "data").stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
