"""The key that browsers know this installation's pushes by.

A file of its own, without the clients that send: who shows the key sends nothing.
"""

import base64
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from health_services.errors import OperatorError
from health_services.kept_files import kept
from health_services.settings import Settings
from health_services.written_forms import private_key

KEY_FILE = "vapid_private_key"
_KEY_BYTES = 32


def key_of(settings: Settings) -> ec.EllipticCurvePrivateKey:
    """The key of the settings, else that of the data directory, which is made once.

    Raises OperatorError where it cannot be read or kept.
    """
    given = settings.vapid_private_key
    return private_key(given.get_secret_value() if given is not None else kept_key(settings.data_dir))


def public_key_of(key: ec.EllipticCurvePrivateKey) -> str:
    """What browsers subscribe with: base64url of the uncompressed point, 65 bytes."""
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return base64url(point)


def kept_key(data_dir: Path) -> str:
    """The key of this data directory, 43 characters of base64url; made where there is none yet.

    Raises OperatorError where it cannot be read or kept, or is no key.
    """
    path = data_dir / KEY_FILE
    try:
        key = kept(path, _new_key, if_removed="browsers must then subscribe again")
        private_key(key)
    except OSError as error:
        raise OperatorError(
            f"The key of Web Push cannot be kept in {path} ({type(error).__name__}): make the directory writable for "
            "the user who runs the service, or give a key in HEALTH_VAPID_PRIVATE_KEY."
        ) from None
    except ValueError:
        raise OperatorError(
            f"{path} is no P-256 key; restore it, or remove it: browsers must then subscribe again."
        ) from None
    else:
        return key


def _new_key() -> str:
    number = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return base64url(number.to_bytes(_KEY_BYTES, "big"))


def base64url(value: bytes) -> str:
    """As everything in Web Push is written: without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
