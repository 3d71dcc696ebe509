"""Where the keys of encrypted columns come from: the settings, or a file that is made once."""

import base64
import contextlib
import json
import os
import secrets
from datetime import datetime
from pathlib import Path

from health_services.database.sealing import KEY_BYTES, KeyRing, Vault
from health_services.errors import OperatorError
from health_services.kept_files import kept, read_private, write_private
from health_services.settings import Settings
from health_services.written_forms import symmetric_key

NAME = "encryption_keys"
_LOSS = "but what was encrypted with its keys can then not be read any more"


def vault_for(settings: Settings) -> Vault:
    """The vault with the settings' keys, or with those of the data directory; raises OperatorError."""
    given = settings.encryption_keys
    if not given:
        return Vault(KeyFile(settings.data_dir).current)
    ring = KeyRing({name: symmetric_key(key.get_secret_value()) for name, key in given.items()})
    return Vault(lambda: ring)


class KeyFile:
    """The key ring in `<data dir>/encryption_keys`: a JSON object of ids and base64url keys, the first one encrypts.

    A rotation that has begun is noted beside it until it ends, so that the next one goes on with the same key.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / NAME
        self._under_way = data_dir / f"{NAME}.rotating"
        self._seen: tuple[int, ...] = ()
        self._ring: KeyRing | None = None

    def make(self, now: datetime) -> None:
        """Make sure that there is a ring that can be read; raises OperatorError."""
        try:
            with contextlib.suppress(UnicodeDecodeError):  # `current` has words for it
                kept(self._path, lambda: _written(dict([_new_key(now)])), if_removed=_LOSS)
        except OSError as error:
            raise self._unusable(error) from None
        self.current()

    def current(self) -> KeyRing:
        """The ring as the file has it now; it is read again only when it was replaced. Raises OperatorError."""
        try:
            found = self._path.lstat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size, found.st_mode, found.st_uid)
            if self._ring is None or seen != self._seen:
                self._ring = KeyRing({name: symmetric_key(key) for name, key in self._read().items()})
                self._seen = seen
        except OSError as error:
            raise self._unusable(error) from None
        except (ValueError, AttributeError):
            raise OperatorError(f"{self._path} is no key ring; restore it from your backup.") from None
        return self._ring

    def begin_rotation(self, now: datetime) -> str:
        """Put a new key first, or go on with the one of a rotation that was broken off; the id of the first key."""
        first = self.current().first
        try:
            if self._under_way.exists() and self._under_way.read_text(encoding="utf-8") == first:
                return first
            name, key = _new_key(now)
            write_private(self._under_way, name)
            write_private(self._path, _written({name: key} | self._read()))
        except OSError as error:
            raise self._unusable(error) from None
        return name

    def end_rotation(self) -> None:
        """Note that every value is under the first key."""
        self._under_way.unlink(missing_ok=True)

    def _read(self) -> dict[str, str]:
        keys: dict[str, str] = json.loads(read_private(self._path, if_removed=_LOSS))
        return keys

    def _unusable(self, error: OSError) -> OperatorError:
        return OperatorError(
            f"The keys of encrypted columns cannot be kept in {self._path} ({type(error).__name__}): restore the file, "
            "make the directory writable for the user who runs the service, or give keys in HEALTH_ENCRYPTION_KEYS."
        )


def _new_key(now: datetime) -> tuple[str, str]:
    """An id that tells when it was made, and 32 random bytes as base64url."""
    key = base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode().rstrip("=")
    return f"{now:%Y%m%d}-{secrets.token_hex(3)}", key


def _written(keys: dict[str, str]) -> str:
    return json.dumps(keys, indent=1)
