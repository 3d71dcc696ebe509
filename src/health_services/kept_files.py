"""Small files of secrets: made once, whole or not at all, for the user who runs the service alone."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from health_services.errors import OperatorError


def kept(path: Path, make: Callable[[], str], *, if_removed: str) -> str:
    """What the file says; where there is none, `make` says it once, whichever process is first.

    `if_removed` tells the operator what the file's removal would cost. Raises OSError, UnicodeDecodeError, and
    OperatorError where somebody else can have put the file there or can read it.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, make())
    return read_private(path, if_removed=if_removed)


def read_private(path: Path, *, if_removed: str) -> str:
    """What the file says; raises OSError, UnicodeDecodeError, and OperatorError unless it is the user's alone."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise OperatorError(
            f"{path} must be a file of the user who runs the service, which nobody else can read (mode 0600). "
            f"If you do not know who put it there, remove it; {if_removed}."
        )
    return path.read_text(encoding="utf-8")


def _put(path: Path, text: str) -> None:
    """Make the file, unless another process is faster."""
    fresh = _written_beside(path, text)
    # a link fails where another process was faster, and never shows half a file
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()
    sync(path.parent)


def write_private(path: Path, text: str) -> None:
    """Replace `path` with `text` whole or not at all, readable by its owner alone; a loss of power changes nothing."""
    fresh = _written_beside(path, text)
    try:
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    sync(path.parent)


def _written_beside(path: Path, text: str) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    fresh = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    return fresh


def sync(path: Path) -> None:
    """Let a file or directory survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
