"""A consistent dump of the database into one file, and its restoration into an empty one."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from health_services.database.connection import libpq_environment
from health_services.database.processes import call
from health_services.errors import OperatorError
from health_services.kept_files import sync

MAGIC = b"PGDMP"
# Whatever holds data and came neither with PostgreSQL nor with an extension.
COUNT_RELATIONS = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""
# pg_restore from 17 on begins with it, and servers before 17 do not know it.
UNKNOWN_BEFORE_17 = b"SET transaction_timeout = 0;"
PREAMBLE_LINES = 40


def dump(url: str, file: Path, bin_dir: Path) -> None:
    """Writes the owner's database to `file`, mode 0600: whole and as of one instant, or not at all."""
    file = file.absolute()
    environment = libpq_environment(url)
    try:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
        os.close(descriptor)
    except OSError as error:
        raise OperatorError(f"The backup cannot be written to {file.parent}: {error.strerror}.") from error
    temporary = Path(name)
    try:
        command = [bin_dir / "pg_dump", "--format=custom", "--no-blobs", "--no-password", f"--file={temporary}"]
        _run(command, environment, "The backup failed, and nothing was written")
        sync(temporary)  # also for programs that were told not to
        temporary.replace(file)
        sync(file.parent)
    except OSError as error:
        raise OperatorError(f"The backup cannot be written to {file}: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def restore(url: str, file: Path, bin_dir: Path) -> None:
    """Fills the empty database of the owner's `url` from `file`, in one transaction: whole, or not at all."""
    file = file.absolute()
    environment = libpq_environment(url)
    _refuse_what_is_no_dump(file, bin_dir, environment)
    count = [bin_dir / "psql", "-XAtwq", "-v", "ON_ERROR_STOP=1", "-c", COUNT_RELATIONS]
    if int(_run(count, environment, "The database cannot be restored")) > 0:
        raise OperatorError(
            "The database is not empty, so nothing was restored. Restore into a new one: "
            "another HEALTH_DATA_DIR, or a DATABASE_URL whose database has no tables."
        )
    _pour(file, bin_dir, environment)
    _run(
        [bin_dir / "psql", "-Xwq", "-c", "ANALYZE"],
        environment,
        "The database was restored, but not analysed",
    )


def _refuse_what_is_no_dump(file: Path, bin_dir: Path, environment: dict[str, str]) -> None:
    try:
        with file.open("rb") as content:
            begins_well = content.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise OperatorError(f"The backup {file} cannot be read: {error.strerror}.") from error
    if not begins_well:
        raise OperatorError(f"{file} is not a backup made by `health-services backup`; nothing was restored.")
    _run(
        [bin_dir / "pg_restore", "--list", file],
        environment,
        f"The backup {file} is damaged; nothing was restored",
    )


def _pour(file: Path, bin_dir: Path, environment: dict[str, str]) -> None:
    """The dump as SQL into psql; COMMIT is its last word, so what breaks off leaves nothing behind."""
    read = [str(bin_dir / "pg_restore"), "--no-owner", "--single-transaction", "--file=-", str(file)]
    write = [str(bin_dir / "psql"), "-Xwq", "-v", "ON_ERROR_STOP=1", "-o", os.devnull]
    with _messages() as reader_says, _messages() as writer_says:
        with (
            subprocess.Popen(  # noqa: S603
                read, stdout=subprocess.PIPE, stderr=reader_says, env=environment
            ) as reader,
            subprocess.Popen(  # noqa: S603
                write, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=writer_says, env=environment
            ) as writer,
        ):
            try:
                assert reader.stdout and writer.stdin
                _copy(reader.stdout, writer.stdin)
            except BrokenPipeError:  # psql has stopped at an error, which it tells
                reader.kill()
            except BaseException:
                writer.kill()
                reader.kill()
                raise
            finally:
                with suppress(OSError):
                    if writer.stdin:
                        writer.stdin.close()
        if writer.returncode != 0:
            raise OperatorError(f"Nothing was restored: {_cause(writer_says)}")
        if reader.returncode != 0:
            raise OperatorError(f"The backup {file} is damaged; nothing was restored: {_cause(reader_says)}")


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    for _ in range(PREAMBLE_LINES):
        line = source.readline()
        if line.strip() != UNKNOWN_BEFORE_17:
            target.write(line)
    while block := source.read(1 << 20):
        target.write(block)
    target.flush()


def _run(command: list[object], environment: dict[str, str], failure: str) -> str:
    try:
        done = call(command, environment=environment)
    except OSError as error:
        raise OperatorError(f"{failure}: {command[0]} cannot be run: {error.strerror}.") from error
    if done.returncode != 0:
        raise OperatorError(f"{failure}: {_explained(done.stderr)}")
    return done.stdout


@contextmanager
def _messages() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def _cause(messages: IO[bytes]) -> str:
    messages.seek(0)
    return _explained(messages.read().decode("utf-8", "replace"))


def _explained(messages: str) -> str:
    """The first error of a program, without the rows that it may quote."""
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line or "ERROR:" in line or "FATAL:" in line]
    cause = (errors or lines or ["no reason was given"])[0]
    for mark in ("FATAL:", "ERROR:", "error:"):
        if mark in cause:
            cause = cause.rpartition(mark)[2].strip()
            break
    if "SSL support is not compiled in" in messages:
        cause += " (set HEALTH_POSTGRES_BIN to programs with TLS; Debian: apt install postgresql-client)"
    if "server version mismatch" in messages:
        cause += " (set HEALTH_POSTGRES_BIN to programs of the server's version or newer)"
    return cause if cause.endswith((".", ")")) else f"{cause}."
