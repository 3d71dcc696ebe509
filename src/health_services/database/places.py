"""Where the embedded server's files live, and who may write them."""

import hashlib
import json
import os
import pwd
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from health_services.errors import OperatorError
from health_services.kept_files import write_private

# Overridden by nobody but tests: where root keeps what the server's own user must reach.
SYSTEM_ROOT = Path("/var/lib/health-services")
# sun_path has 104 bytes on macOS; "/.s.PGSQL.5432" and the final NUL take 15.
LONGEST_SOCKET_DIRECTORY = 88


@dataclass(frozen=True)
class Home:
    """Our own directory inside the data directory: locks, passwords, log, and mostly the cluster itself."""

    path: Path

    @property
    def start_lock(self) -> Path:
        """Held while one process looks for the server or starts it."""
        return self.path / "start.lock"

    @property
    def users_lock(self) -> Path:
        """Shared by all users of the server; exclusive for the keeper that stops it."""
        return self.path / "users.lock"

    @property
    def keeper_lock(self) -> Path:
        """Held by the one keeper for its whole life."""
        return self.path / "keeper.lock"

    @property
    def status(self) -> Path:
        """What the keeper says about the server."""
        return self.path / "status.json"

    @property
    def passwords(self) -> Path:
        """The generated passwords of the server's roles."""
        return self.path / "passwords.json"

    @property
    def log(self) -> Path:
        """The log of server and keeper; the older half is in `postgres.log.1`."""
        return self.path / "postgres.log"

    @property
    def note(self) -> Path:
        """Names the cluster's directory when it is not in here."""
        return self.path.parent / "postgres-location.txt"


def open_home(data_dir: Path) -> Home:
    """The home below `data_dir`, made if missing; raises OperatorError where another user owns it."""
    data_dir = Path(os.path.abspath(data_dir.expanduser()))  # noqa: PTH100 - keeps the operator's symlinks in messages
    home = data_dir / "postgres"
    # Root's server runs as another user, who must pass through; only directories made here are opened.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    with explained(data_dir):
        for directory in (data_dir, home):
            if not directory.exists():
                directory.mkdir(parents=True, exist_ok=True)
                directory.chmod(mode)
        owner = home.lstat()
        is_open = data_dir.stat().st_mode & stat.S_IWOTH
    if is_open:
        raise OperatorError(
            f"Everybody can write to {data_dir}, and could put secrets there. Choose another directory with "
            "HEALTH_DATA_DIR, or take that right away: chmod o-w."
        )
    if owner.st_uid != os.geteuid() or not stat.S_ISDIR(owner.st_mode):
        raise OperatorError(
            f"The embedded database in {home} belongs to the user {name_of(owner.st_uid)}. "
            "Run the command as that user, or choose another directory with HEALTH_DATA_DIR."
        )
    return Home(home)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals into one sentence for the operator."""
    try:
        yield
    except OSError as error:
        where = error.filename if isinstance(error.filename, str) else path
        raise OperatorError(
            f"The embedded database cannot use {where}: {error.strerror or error}. "
            "Make room or give permission there, or choose another directory with HEALTH_DATA_DIR."
        ) from error


def name_of(uid: int) -> str:
    """The login name of `uid`, or its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"number {uid}"


@dataclass(frozen=True)
class Passwords:
    """The passwords of the server's three roles."""

    admin: str
    owner: str
    app: str

    @classmethod
    def generated(cls) -> "Passwords":
        """Three new ones, 32 random bytes each."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    @classmethod
    def read(cls, path: Path) -> "Passwords | None":
        """What `write` stored, or None where nothing usable is."""
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return cls(stored["admin"], stored["owner"], stored["app"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Stored for this OS user alone."""
        write_private(path, json.dumps({"admin": self.admin, "owner": self.owner, "app": self.app}))

    def __repr__(self) -> str:
        return "Passwords(…)"


def socket_directory(base: Path, uid: int, gid: int) -> Path:
    """A directory for the socket that only `uid` may enter: in `base`, or elsewhere if that will not do."""
    inside = base / "socket"
    # A comma separates hosts in a URL, even when it is encoded.
    if len(os.fsencode(inside)) <= LONGEST_SOCKET_DIRECTORY and "," not in str(inside):
        return _private_directory(inside, uid, gid)
    digest = hashlib.sha256(os.fsencode(os.path.realpath(base))).hexdigest()[:12]
    # /run/user is no choice: it goes when its user logs out, though the server may go on.
    parent = Path("/run" if os.geteuid() == 0 and Path("/run").is_dir() else "/tmp")  # noqa: S108
    for attempt in range(10):
        try:
            return _private_directory(parent / f"health-{uid}-{digest}-{attempt}", uid, gid)
        except PermissionError:  # somebody else was there first: never use what he can open
            continue
    raise OperatorError(
        f"No private directory for the database's socket could be made in {parent}, and {inside} will not do "
        "for a socket. Choose a shorter path, without commas, with HEALTH_DATA_DIR."
    )


def _private_directory(path: Path, uid: int, gid: int) -> Path:
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        if uid != os.geteuid():
            os.chown(path, uid, gid)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise PermissionError(1, "not a private directory of the database's user", str(path))
    return path
