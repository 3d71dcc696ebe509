"""An export as a file, written piece by piece: JSON, or a ZIP with a file for each kind."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import IO, Any, Protocol

import orjson

_OPTIONS = orjson.OPT_UTC_Z


class Json:
    """One value, written into a stream as its rows come: an array, or, with `is_single`, an object or null."""

    def __init__(self, stream: IO[bytes], *, is_single: bool) -> None:
        self._stream = stream
        self._is_single = is_single
        self._count = 0
        if not is_single:
            stream.write(b"[")

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """More rows."""
        for row in rows:
            assert not (self._is_single and self._count), "there is one row at most"
            self._stream.write(b",\n" if self._count else b"")
            self._stream.write(orjson.dumps(row, option=_OPTIONS))
            self._count += 1

    def end(self) -> None:
        """No more rows."""
        if not self._is_single:
            self._stream.write(b"]")
        elif not self._count:
            self._stream.write(b"null")


class File(Protocol):
    """What is handed over."""

    media_type: str
    extension: str

    def begin(self, kind: str, *, is_single: bool) -> Json:
        """A value of this name; it is ended before the next one begins."""

    def end(self, abouts: Mapping[str, str], calendar: bytes) -> memoryview:
        """All of it; `abouts` says of each kind what it is, `calendar` shows the appointments (iCalendar)."""


class JsonFile:
    """One object with a member for each kind."""

    media_type = "application/json"
    extension = "json"

    def __init__(self, now: datetime) -> None:
        self._buffer = io.BytesIO()
        self._buffer.write(b'{"exported_at":' + orjson.dumps(now, option=_OPTIONS))

    def begin(self, kind: str, *, is_single: bool) -> Json:
        """A member of the object."""
        self._buffer.write(b",\n" + orjson.dumps(kind) + b":")
        return Json(self._buffer, is_single=is_single)

    def end(self, abouts: Mapping[str, str], calendar: bytes) -> memoryview:  # noqa: ARG002 - the appointments are in it
        """The object as bytes, not copied."""
        self._buffer.write(b"}\n")
        return self._buffer.getbuffer()


class ZipFile:
    """An archive with `<kind>.json` for each kind, `calendar.ics`, and a README that tells what each is."""

    media_type = "application/zip"
    extension = "zip"

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._buffer = io.BytesIO()
        self._archive = zipfile.ZipFile(self._buffer, "w", zipfile.ZIP_DEFLATED)
        self._open: IO[bytes] | None = None

    def begin(self, kind: str, *, is_single: bool) -> Json:
        """A file of the archive."""
        return Json(self._next(f"{kind}.json"), is_single=is_single)

    def end(self, abouts: Mapping[str, str], calendar: bytes) -> memoryview:
        """The archive as bytes, not copied."""
        self._next("calendar.ics").write(calendar)
        self._next("README.txt").write(_readme(abouts, self._now).encode())
        self._close()
        self._archive.close()
        return self._buffer.getbuffer()

    def _next(self, name: str) -> IO[bytes]:
        self._close()
        member = zipfile.ZipInfo(name, self._now.timetuple()[:6])
        member.compress_type = zipfile.ZIP_DEFLATED
        member.external_attr = 0o600 << 16
        self._open = self._archive.open(member, "w")
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()


def _readme(abouts: Mapping[str, str], now: datetime) -> str:
    lines = [f"{kind}.json: {about}" for kind, about in abouts.items()]
    return "\n".join(
        [
            f"Everything that is kept about you, as of {now:%Y-%m-%d %H:%M} UTC.",
            "Times are in UTC (RFC 3339). Passwords, keys and links that let somebody in are not among it.",
            "",
            *lines,
            "calendar.ics: Your appointments, for a calendar program.",
            "",
        ]
    )
