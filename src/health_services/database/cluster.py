"""The embedded server's cluster: where it is, whose version it has, how it is made and configured."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from health_services.database import binaries, places
from health_services.database.account import Account, server_account
from health_services.database.places import Home, Passwords
from health_services.database.processes import call
from health_services.errors import OperatorError
from health_services.kept_files import sync

# Marks the servers that our keeper started, so that nobody else's is ever stopped.
OUR_NAME = "health-services"
FIRST_START_BYTES = 128 * 2**20
EVERY_START_BYTES = 32 * 2**20

# What an operator may change; what must hold is on the command line, see `_command`.
CONFIGURATION = """
# health-services: sizes for one machine, UTC, and no personal data in the log.
# 16 for each server process, and some processes more than the cores of a large machine.
max_connections = 600
shared_buffers = 128MB
# Shared memory that the clean-up after a logout (RemoveIPC) cannot take away.
min_dynamic_shared_memory = 16MB
max_wal_size = 1GB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
lc_messages = 'C'
password_encryption = 'scram-sha-256'
log_line_prefix = '%m [%p] '
log_statement = 'none'
# Errors of statements quote their values: the application reports them, redacted.
log_min_messages = log
log_min_error_statement = panic
log_error_verbosity = terse
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
"""
ACCESS = """# health-services: passwords for everybody, through the socket only.
local all all scram-sha-256
"""
# One statement a line: that is how a single-user server reads.
ROLES = """\
ALTER ROLE postgres PASSWORD '{admin}'
CREATE ROLE health_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS PASSWORD '{owner}'
CREATE ROLE health_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD '{app}'
CREATE DATABASE health OWNER health_owner
REVOKE ALL ON DATABASE health FROM PUBLIC
GRANT CONNECT ON DATABASE health TO health_app
REVOKE ALL ON DATABASE postgres FROM PUBLIC
REVOKE ALL ON DATABASE template1 FROM PUBLIC
"""
NEW_PASSWORDS = """\
ALTER ROLE postgres PASSWORD '{admin}'
ALTER ROLE health_owner PASSWORD '{owner}'
ALTER ROLE health_app PASSWORD '{app}'
"""


@dataclass(frozen=True)
class Plan:
    """All that the keeper needs to know to run the server."""

    home: str
    pgdata: str
    socket: str
    bin_dir: str
    command: list[str]
    uid: int
    gid: int
    lock: int


def prepare(home: Home, postgres_bin: Path | None, lock: int, say: Callable[[str], None]) -> Plan:
    """A cluster that is ready to be started, made if there is none; the caller holds the keeper's lock.

    Raises OperatorError, and changes nothing, where the cluster is another version's or out of reach.
    """
    noted = _noted(home)
    if noted:
        say(f"The database's files are in {noted}, because its user cannot reach {home.path.parent}.")
    _refuse_other_version((noted or home.path) / "data", None)
    account = server_account()
    bin_dir, major = binaries.server_programs(postgres_bin, account)
    _refuse_other_version((noted or home.path) / "data", major)
    base = noted or _base(home, account, say)
    pgdata = base / "data"
    with places.explained(base):
        _check_room(base, FIRST_START_BYTES if not pgdata.exists() else EVERY_START_BYTES)
        if not pgdata.exists():
            say("Making the database (only this first time) …")
            _create(home, pgdata, bin_dir, major, account)
        _take_over(pgdata, account)
        if Passwords.read(home.passwords) is None:
            _renew_passwords(home, pgdata, bin_dir, account, say)
        socket = places.socket_directory(base, account.uid, account.gid)
    command = _command(bin_dir, pgdata, socket)
    return Plan(str(home.path), str(pgdata), str(socket), str(bin_dir), command, account.uid, account.gid, lock)


def as_json(plan: Plan) -> dict[str, object]:
    """The plan in the form that goes through the pipe to the keeper."""
    return asdict(plan)


def _noted(home: Home) -> Path | None:
    try:
        noted = Path(home.note.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OperatorError(f"{home.note} cannot be read: {error.strerror}.") from error
    # Whoever can write the data directory shall not send root's chown and rename elsewhere.
    if noted.parent != places.SYSTEM_ROOT / "clusters":
        raise OperatorError(f"{home.note} names {noted}, which is not a place of ours. Remove the note.")
    if not noted.is_dir():
        raise OperatorError(
            f"{home.note} says that the database is in {noted}, but nothing is there. "
            "Put it back, or remove the note to begin with an empty database."
        )
    return noted


def _base(home: Home, account: Account, say: Callable[[str], None]) -> Path:
    if account.reaches(home.path):
        return home.path
    if (home.path / "data").exists():
        raise OperatorError(
            f"The database's user cannot reach {home.path / 'data'} any more: a directory above it is "
            "closed. Open it (chmod o+x), or move the data directory back to where it was."
        )
    with places.explained(places.SYSTEM_ROOT):
        clusters = binaries.system_directory("clusters")
        digest = hashlib.sha256(os.fsencode(os.path.realpath(home.path))).hexdigest()[:16]
        number = 0
        while (base := clusters / f"{digest}-{number}").exists() and (base / "data").exists():
            say(f"An earlier database of this directory is left in {base}; remove it if nobody needs it.")
            number += 1
        base.mkdir(exist_ok=True)
        base.chmod(0o711)
        home.note.write_text(f"{base}\n", encoding="utf-8")
    say(f"The database's files go to {base}, because its user cannot reach {home.path.parent}.")
    return base


def _refuse_other_version(pgdata: Path, major: int | None) -> None:
    if not pgdata.exists():
        return
    try:
        found = (pgdata / "PG_VERSION").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(
            f"{pgdata} is not a database that can be opened: {error}. Nothing was changed. "
            "Move it away and restore a backup, or choose another directory with HEALTH_DATA_DIR."
        ) from None
    if major is not None and found != str(major):
        raise OperatorError(
            f"The database in {pgdata} was made by PostgreSQL {found}, but the programs here are "
            f"PostgreSQL {major}. Nothing was changed. Set HEALTH_POSTGRES_BIN to the programs of PostgreSQL "
            f"{found}; to move to {major}, take a `health-services backup` with them, and `restore` it "
            "into a new data directory."
        )


def _check_room(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise OperatorError(
            f"The disk of {directory} is full: {free // 2**20} MB free, the database needs {needed // 2**20} "
            "MB to start. Make room, or choose another directory with HEALTH_DATA_DIR."
        )


def _create(home: Home, pgdata: Path, bin_dir: Path, major: int, account: Account) -> None:
    for left_over in pgdata.parent.glob(".data.new-*"):  # of a first start that was killed
        shutil.rmtree(left_over, ignore_errors=True)  # its initdb may still be writing; next time, then
    staging = Path(tempfile.mkdtemp(dir=pgdata.parent, prefix=".data.new-"))
    try:
        os.chown(staging, account.uid, account.gid)
        passwords = Passwords.read(home.passwords) or Passwords.generated()
        _initdb(staging, bin_dir, major, account)
        with (staging / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.write(CONFIGURATION)
        (staging / "pg_hba.conf").write_text(ACCESS, encoding="utf-8")
        _run_alone(staging, bin_dir, account, ROLES.format_map(asdict(passwords)), "-F")
        _checked([bin_dir / "initdb", "--sync-only", "-D", staging], account)
        passwords.write(home.passwords)
        staging.rename(pgdata)
        sync(pgdata.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _initdb(pgdata: Path, bin_dir: Path, major: int, account: Account) -> None:
    provided = ["--locale-provider=builtin"] if major >= 17 else []
    # Nobody is let in before the roles have their passwords; what is written is synced once, at the end.
    command = [bin_dir / "initdb", "-D", pgdata, "--username=postgres", "--encoding=UTF8", *provided,
               "--data-checksums", "--auth=reject", "--no-sync", "--no-instructions"]  # fmt: skip
    try:
        _checked([*command, "--locale=C.UTF-8"], account)
    except OperatorError:
        if provided:
            raise
        _checked([*command, "--locale=C"], account)  # not every libc has C.UTF-8


def _renew_passwords(home: Home, pgdata: Path, bin_dir: Path, account: Account, say: Callable[[str], None]) -> None:
    say(f"{home.passwords} is missing: the database gets new passwords.")
    passwords = Passwords.generated()
    _run_alone(pgdata, bin_dir, account, NEW_PASSWORDS.format_map(asdict(passwords)))
    passwords.write(home.passwords)


def _run_alone(pgdata: Path, bin_dir: Path, account: Account, statements: str, *options: str) -> None:
    command = [bin_dir / "postgres", "--single", *options, "-D", pgdata,
               "-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", "postgres"]  # fmt: skip
    _checked(command, account, statements)


def _checked(command: Sequence[object], account: Account, stdin: str = "") -> None:
    done = call(command, stdin=stdin, run_as=account.run_as)
    if done.returncode != 0:
        name = Path(str(command[0])).name
        raise OperatorError(f"The database could not be made: {name} says: {telling_line(done.stderr, done.stdout)}")


def telling_line(*outputs: str) -> str:
    """The line of a PostgreSQL program's output that names the cause."""
    lines = [line.strip() for output in outputs for line in output.splitlines() if line.strip()]
    for mark in ("PANIC:", "FATAL:", "error:", "ERROR:"):
        found = [line for line in lines if mark in line]
        if found:
            return found[-1].partition(mark)[2].strip()
    return lines[-1] if lines else "nothing"


def _take_over(pgdata: Path, account: Account) -> None:
    """Gives a cluster of ours to the user's present number, which differs from container to container."""
    if os.geteuid() != 0 or pgdata.lstat().st_uid == account.uid:
        return
    for directory, subdirectories, files in os.walk(pgdata):
        for name in (*subdirectories, *files):
            os.chown(Path(directory) / name, account.uid, account.gid, follow_symlinks=False)
    os.chown(pgdata, account.uid, account.gid)  # last: tells that the rest is done


def _command(bin_dir: Path, pgdata: Path, socket: Path) -> list[str]:
    quoted = str(socket).replace('"', '""')
    settings = {
        "cluster_name": OUR_NAME, "listen_addresses": "", "port": "5432",
        "unix_socket_directories": f'"{quoted}"', "unix_socket_permissions": "0700",
        "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
        "log_destination": "stderr", "logging_collector": "off",
    }  # fmt: skip
    if sys.platform == "linux" and not os.access("/dev/shm", os.W_OK):  # noqa: S108 - asked for, not written
        settings["dynamic_shared_memory_type"] = "mmap"
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(bin_dir / "postgres"), "-D", str(pgdata), *options]
