"""Recovery codes: 80 random bits each, for whoever has lost the device that signs him in."""

import base64
import re
import secrets

from health_services.access.service import key_hash

COUNT = 10
_BYTES = 10
_BETWEEN = re.compile(r"[\s-]+")


def new_codes() -> list[str]:
    """A new set, written as people copy it: `ABCD-EFGH-IJKL-MNOP`."""
    return ["-".join(re.findall("....", _written())) for _ in range(COUNT)]


def _written() -> str:
    return base64.b32encode(secrets.token_bytes(_BYTES)).decode()


def plain(text: str) -> str:
    """A code as somebody typed it, without what he put between and in capitals."""
    return _BETWEEN.sub("", text).upper()


def hash_of(user_id: int, code: str) -> bytes:
    """What stands for a person's code in the database; 32 bytes. Nobody can guess 80 bits, so it is cheap."""
    return key_hash(f"recovery code {user_id} {plain(code)}")
