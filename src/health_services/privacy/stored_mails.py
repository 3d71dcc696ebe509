"""The mails that are kept as files where no mail server is set: which there are, and removing them.

A file is called `<number of the message>.<mark>@<host>.eml`; one that is being written begins with a dot.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_OF_MESSAGE = re.compile(r"(\d{1,18})\.[^/]*\.eml", re.ASCII)
# Nobody writes a mail for so long: whoever began has died.
_ABANDONED_SECONDS = 3600


def old(folder: Path, now: float, keep_seconds: float) -> list[Path]:
    """Mails that were written before that time, and what was never finished; `now` in seconds since 1970."""
    found = []
    for path in _files(folder):
        with suppress(OSError):
            age = now - path.stat().st_mtime
            if age > keep_seconds or (path.name.startswith(".") and age > _ABANDONED_SECONDS):
                found.append(path)
    return found


def by_message(folder: Path) -> dict[int, list[Path]]:
    """The files of each message of the ledger, by its number."""
    found: dict[int, list[Path]] = {}
    for path in _files(folder):
        if match := _OF_MESSAGE.fullmatch(path.name):
            found.setdefault(int(match[1]), []).append(path)
    return found


def remove(paths: Iterable[Path]) -> int:
    """Remove these files; how many were still there."""
    count = 0
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
            count += 1
    return count


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []
