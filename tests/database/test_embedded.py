"""The embedded server: its life, its users, and what it refuses. Real servers, no doubles."""

import os
import signal
import stat
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from health_services.database import places
from health_services.database.embedded import Cluster, running
from health_services.database.keeper import pid_in
from health_services.database.locks import Lock
from health_services.errors import OperatorError
from tests.database.servers import User, eventually, is_alive, is_stopped, kill, processes, sql

MAKE = "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)"
COUNT = "SELECT sum(n) FROM kept"


def quiet(_: str) -> None:
    pass


def test_data_survive_a_stop_and_a_start(directory: Path) -> None:
    with running(directory / "data", say=quiet) as cluster:
        sql(cluster.owner_url, MAKE, cluster.bin_dir)
    assert is_stopped(cluster.pgdata)  # at once: the last user waits for the end
    with running(directory / "data", say=quiet) as again:
        assert sql(again.owner_url, COUNT, again.bin_dir) == "42"
        assert again == cluster


def test_a_second_user_finds_the_server_and_keeps_it(directory: Path) -> None:
    with User(directory / "data") as first, User(directory / "data") as second:
        before = processes(first.ready().pgdata)
        cluster = second.ready()
        began = time.monotonic()
        first.end()
        assert time.monotonic() - began < 2  # who is not the last does not wait
        time.sleep(0.5)
        assert processes(cluster.pgdata) == before
        assert sql(cluster.app_url, "SELECT 1", cluster.bin_dir) == "1"
        second.end()
        assert is_stopped(cluster.pgdata)
        assert not is_alive(before.postmaster)


def test_two_starts_at_once_are_one_server(directory: Path) -> None:
    users = [User(directory / "data") for _ in range(3)]
    try:
        clusters = [user.ready() for user in users]
        assert len(set(clusters)) == 1
        assert sql(clusters[2].app_url, "SELECT 1", clusters[2].bin_dir) == "1"
    finally:
        for user in users:
            user.end()
    assert is_stopped(clusters[0].pgdata)


def test_users_that_come_and_go_never_lose_the_server(directory: Path) -> None:
    """Each arrives while the last one's server is about to stop, or stopping."""
    with running(directory / "data", say=quiet):
        pass
    for pause in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2):
        with User(directory / "data") as before:
            before.ready()
            before.kill()
            time.sleep(pause)
            with User(directory / "data") as after:
                cluster = after.ready()
                time.sleep(0.3)
                assert sql(cluster.app_url, "SELECT 1", cluster.bin_dir) == "1"


def test_the_server_stops_when_its_last_user_is_killed(directory: Path) -> None:
    with User(directory / "data") as user:
        cluster = user.ready()
        found = processes(cluster.pgdata)
        user.kill()
        assert eventually(lambda: not is_alive(found.postmaster) and not is_alive(found.keeper))
        assert is_stopped(cluster.pgdata)


def test_a_killed_server_comes_back_by_itself(directory: Path) -> None:
    with running(directory / "data", say=quiet) as cluster:
        sql(cluster.owner_url, MAKE, cluster.bin_dir)
        before = processes(cluster.pgdata)
        kill(before.postmaster)
        assert eventually(lambda: _answers(cluster, COUNT) == "42")
        after = processes(cluster.pgdata)
        assert after.keeper == before.keeper
        assert after.postmaster != before.postmaster
    assert is_stopped(cluster.pgdata)


def test_a_killed_keeper_is_replaced(directory: Path) -> None:
    with running(directory / "data", say=quiet) as cluster:
        sql(cluster.owner_url, MAKE, cluster.bin_dir)
        before = processes(cluster.pgdata)
        kill(before.keeper)
        assert eventually(lambda: not is_alive(before.postmaster))  # never two postmasters
        assert eventually(lambda: _answers(cluster, COUNT) == "42")
        assert processes(cluster.pgdata).keeper != before.keeper
    assert is_stopped(cluster.pgdata)


def test_the_server_does_not_outlive_its_killed_keeper_and_users(directory: Path) -> None:
    with User(directory / "data") as user:
        cluster = user.ready()
        found = processes(cluster.pgdata)
        user.kill()
        kill(found.keeper)
        assert eventually(lambda: not is_alive(found.postmaster))
    assert is_stopped(cluster.pgdata)  # in good order: shut down, not killed


def test_a_keeper_that_is_just_dying_is_not_relied_on(directory: Path) -> None:
    with running(directory / "data", say=quiet):
        pass
    dying = Lock(directory / "data" / "postgres" / "keeper.lock")
    assert dying.try_exclusive()
    with User(directory / "data") as user:
        time.sleep(0.5)  # by now it waits for the keeper that it believes in
        dying.close()
        cluster = user.ready()
        assert sql(cluster.app_url, "SELECT 1", cluster.bin_dir) == "1"


def test_signals_do_not_end_the_keeper(directory: Path) -> None:
    with running(directory / "data", say=quiet) as cluster:
        found = processes(cluster.pgdata)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(found.keeper, number)
        time.sleep(0.3)
        assert processes(cluster.pgdata) == found


@pytest.mark.parametrize("is_at_once", [True, False])
def test_committed_rows_are_there_after_everything_was_killed(directory: Path, is_at_once: bool) -> None:
    with User(directory / "data") as user:
        cluster = user.ready()
        sql(cluster.owner_url, MAKE, cluster.bin_dir)
        found = processes(cluster.pgdata)
        for victim in (found.keeper, found.postmaster):
            kill(victim)
        user.kill()
    if not is_at_once:
        assert eventually(lambda: not is_alive(found.postmaster))
    assert (cluster.pgdata / "postmaster.pid").exists()  # it had no time to clean up
    with running(directory / "data", say=quiet) as again:
        assert sql(again.owner_url, COUNT, again.bin_dir) == "42"


def test_a_stale_pid_file_with_a_number_in_use_does_not_stop_us(directory: Path) -> None:
    with running(directory / "data", say=quiet) as cluster:
        pid_file = cluster.pgdata / "postmaster.pid"
        stale = pid_file.read_text()
    with User(directory / "other") as other:
        # The number belongs to a process of the same OS user: another server's.
        in_use = processes(other.ready().pgdata).postmaster
        pid_file.write_text(stale.replace(stale.splitlines()[0], str(in_use), 1))
        with running(directory / "data", say=quiet) as again:
            assert sql(again.app_url, "SELECT 1", again.bin_dir) == "1"
            assert pid_in(again.pgdata) != in_use
        assert is_alive(in_use)


def test_a_first_start_that_was_killed_leaves_nothing_half_made(directory: Path) -> None:
    data = directory / "data"
    user = User(data)
    assert eventually(lambda: any((data / "postgres").glob(".data.new-*/PG_VERSION")))
    user.kill()
    assert not (data / "postgres" / "data").exists()
    with running(data, say=quiet) as cluster:
        assert sql(cluster.app_url, "SELECT 1", cluster.bin_dir) == "1"


@pytest.mark.parametrize("name", ['it\'s: a "100%" [odd] n@me?#&=+ $HOME', "commas, too", "é" * 100])
async def test_any_path_will_do_and_two_instances_live_side_by_side(
    directory: Path, shared: Cluster, name: str
) -> None:
    with running(directory / name / "data", say=quiet) as cluster:
        for each in (cluster, shared):
            assert sql(each.admin_url, "SHOW data_directory", each.bin_dir) == str(each.pgdata)
            connection = await asyncpg.connect(each.admin_url)
            assert await connection.fetchval("SHOW data_directory") == str(each.pgdata)
            await connection.close()


async def test_the_driver_reads_the_url_whatever_the_environment_says(
    directory: Path, shared: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "nowhere.invalid")
    for url, role in ((shared.app_url, "health_app"), (shared.owner_url, "health_owner")):
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT session_user || '@' || current_database()") == f"{role}@health"
        await connection.close()


def test_a_short_socket_directory_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    ours = places.socket_directory(long, os.geteuid(), os.getegid())
    try:
        ours.chmod(0o755)  # as if another had made it, and could look inside
        second = places.socket_directory(long, os.geteuid(), os.getegid())
        assert second != ours
        assert stat.S_IMODE(second.stat().st_mode) == 0o700
        second.rmdir()
    finally:
        ours.rmdir()


def test_it_never_listens_on_a_network(shared: Cluster) -> None:
    assert sql(shared.admin_url, "SHOW listen_addresses", shared.bin_dir) == ""
    postmaster = processes(shared.pgdata).postmaster
    sockets = {str(link.readlink()) for link in Path(f"/proc/{postmaster}/fd").iterdir() if link.is_symlink()}
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{postmaster}/net/{table}").read_text().splitlines()[1:]:
            assert f"socket:[{line.split()[9]}]" not in sockets


def test_nobody_enters_without_a_password(shared: Cluster) -> None:
    directory = parse_qs(urlsplit(shared.app_url).query)["host"][0]
    for role in ("postgres", "health_owner", "health_app"):
        with pytest.raises(AssertionError, match="no password supplied"):
            sql(f"postgresql://{role}@/health?host={directory}", "SELECT 1", shared.bin_dir)
        with pytest.raises(AssertionError, match="password authentication failed"):
            sql(f"postgresql://{role}:wrong@/health?host={directory}", "SELECT 1", shared.bin_dir)


def test_other_users_cannot_reach_the_socket_or_the_passwords(shared: Cluster) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can try as another user")
    directory = Path(parse_qs(urlsplit(shared.app_url).query)["host"][0])
    for path in (directory / ".s.PGSQL.5432", shared.pgdata.parent / "passwords.json", shared.pgdata):
        done = subprocess.run(["cat", path], user="nobody", capture_output=True, text=True, check=False)
        assert "Permission denied" in done.stderr
    for name in ("passwords.json", "postgres.log", "status.json"):
        assert stat.S_IMODE((shared.pgdata.parent / name).stat().st_mode) == 0o600


def test_roles_have_no_more_rights_than_they_need(shared: Cluster) -> None:
    flags = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
    for role, rights in (("health_app", "f|f|f|f|f"), ("health_owner", "f|f|f|f|t")):  # migrates and dumps every row
        found = sql(shared.admin_url, f"SELECT {flags} FROM pg_roles WHERE rolname = '{role}'", shared.bin_dir)
        assert found == rights
    for statement in ("CREATE TABLE t (n int)", "CREATE TEMP TABLE t (n int)", "CREATE SCHEMA s"):
        with pytest.raises(AssertionError, match="permission denied"):
            sql(shared.app_url, statement, shared.bin_dir)
    with pytest.raises(AssertionError, match="permission denied for database"):
        sql(shared.app_url.replace("/health?", "/postgres?"), "SELECT 1", shared.bin_dir)
    sql(shared.owner_url, "CREATE EXTENSION btree_gist", shared.bin_dir)


def test_what_must_hold_holds(shared: Cluster) -> None:
    for name, value in {
        "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on",
        "password_encryption": "scram-sha-256", "TimeZone": "UTC", "server_encoding": "UTF8",
    }.items():  # fmt: skip
        assert sql(shared.owner_url, f"SHOW {name}", shared.bin_dir) == value


def test_the_log_holds_no_values(shared: Cluster) -> None:
    sql(shared.owner_url, "CREATE TABLE people (name text UNIQUE, born date)", shared.bin_dir)
    sql(shared.owner_url, "INSERT INTO people VALUES ('Ada Secret')", shared.bin_dir)
    for statement in ("INSERT INTO people VALUES ('Ada Secret')", "SELECT 'Ada Secret'::date"):
        with pytest.raises(AssertionError, match="Ada Secret"):
            sql(shared.owner_url, statement, shared.bin_dir)
    log = (shared.pgdata.parent / "postgres.log").read_text()
    assert "ready to accept connections" in log
    assert "Secret" not in log


def test_lost_passwords_are_replaced(directory: Path) -> None:
    with running(directory / "data", say=quiet) as cluster:
        sql(cluster.owner_url, MAKE, cluster.bin_dir)
    (directory / "data" / "postgres" / "passwords.json").unlink()
    with running(directory / "data", say=quiet) as again:
        assert again.owner_url != cluster.owner_url
        assert sql(again.owner_url, COUNT, again.bin_dir) == "42"


def test_windows_is_refused_in_words(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(OperatorError, match="DATABASE_URL"), running(directory / "data"):
        pass


def _answers(cluster: Cluster, statement: str) -> str:
    try:
        return sql(cluster.owner_url, statement, cluster.bin_dir)
    except AssertionError:
        return ""
