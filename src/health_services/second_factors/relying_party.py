"""This installation as WebAuthn knows it: what passkeys are bound to, and what an authenticator has proved."""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

import orjson

from health_services.database.base import AnyRow
from health_services.errors import ConflictException
from health_services.outgoing.mail import sender_of
from health_services.settings import Settings

if TYPE_CHECKING:
    # WebAuthn's library knows every kind of attestation: it is loaded where a passkey is made or used.
    from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
    from webauthn.registration.verify_registration_response import VerifiedRegistration

# How long a person has for his device's question; the challenge lives as long.
TIMEOUT_SECONDS = 300
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NO_ADDRESS = (
    "Passkeys need a host name, and this service is known by an IP address: set HEALTH_PUBLIC_URL to one, or use "
    "http://localhost with the server's port while developing."
)

Credential = Mapping[str, Any]
T = TypeVar("T")


class UnprovenError(Exception):
    """What an authenticator answered proves nothing."""


@dataclass(frozen=True)
class RelyingParty:
    """`host` is what passkeys are bound to (the RP ID); `origins` are those whose pages may use them.

    These are the public URL's own and, of HEALTH_CORS_ORIGINS, those of the same host or one below it.
    """

    name: str
    host: str
    origins: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say."""
        public_url = settings.public_url or "http://localhost:8000"
        host = urlsplit(public_url).hostname or ""
        origins = [_origin(public_url), *map(_origin, settings.cors_origins)]
        near = [url for url in origins if f".{urlsplit(url).hostname}".endswith(f".{host}")]
        return cls(issuer_of(settings), host, tuple(near))

    def creation_options(self, challenge: str, user_id: int, name: str, known: Sequence[AnyRow]) -> dict[str, Any]:
        """What a browser needs to make a passkey; raises ConflictException where passkeys cannot work."""
        import webauthn  # noqa: PLC0415
        from webauthn.helpers import structs  # noqa: PLC0415

        self._insist_on_name()
        options = webauthn.generate_registration_options(
            rp_id=self.host,
            rp_name=self.name,
            user_id=handle_of(user_id),
            user_name=name,
            challenge=_bytes_of(challenge),
            timeout=TIMEOUT_SECONDS * 1000,
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.REQUIRED,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=passkey.credential_id) for passkey in known],
        )
        return webauthn.helpers.options_to_json_dict(options)

    def request_options(self, challenge: str) -> dict[str, Any]:
        """What a browser needs to use any passkey of ours; raises ConflictException where passkeys cannot work."""
        import webauthn  # noqa: PLC0415
        from webauthn.helpers import structs  # noqa: PLC0415

        self._insist_on_name()
        options = webauthn.generate_authentication_options(
            rp_id=self.host,
            challenge=_bytes_of(challenge),
            timeout=TIMEOUT_SECONDS * 1000,
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
        return webauthn.helpers.options_to_json_dict(options)

    def verify_creation(self, credential: Credential) -> "VerifiedRegistration":
        """What a new passkey is, made with a challenge of ours by a verified person; raises UnprovenError."""
        import webauthn  # noqa: PLC0415

        return _proven(
            lambda: webauthn.verify_registration_response(
                credential=dict(credential),
                expected_challenge=_bytes_of(challenge_of(credential)),
                expected_rp_id=self.host,
                expected_origin=list(self.origins),
                require_user_verification=True,
            )
        )

    def verify_use(self, credential: Credential, passkey: AnyRow, user_id: int) -> "VerifiedAuthentication":
        """What the use of this person's passkey says, with a verified person; raises UnprovenError."""
        import webauthn  # noqa: PLC0415

        handle = credential["response"].get("userHandle")
        if handle is None or _proven(lambda: _bytes_of(handle)) != handle_of(user_id):
            raise UnprovenError
        return _proven(
            lambda: webauthn.verify_authentication_response(
                credential=dict(credential),
                expected_challenge=_bytes_of(challenge_of(credential)),
                expected_rp_id=self.host,
                expected_origin=list(self.origins),
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        )

    def _insist_on_name(self) -> None:
        try:
            ip_address(self.host)
        except ValueError:
            return
        raise ConflictException(_NO_ADDRESS)


def issuer_of(settings: Settings) -> str:
    """The installation's name, as authenticators show it: that of the sender of its mails."""
    return sender_of(settings).display_name or "Health Services"


def handle_of(user_id: int) -> bytes:
    """The account as authenticators keep it (the user handle): nothing of the person."""
    return user_id.to_bytes(8, "big")


def credential_id_of(credential: Credential) -> bytes:
    """The id of the passkey; raises UnprovenError for what is none."""
    return _proven(lambda: _bytes_of(credential["rawId"]))


def challenge_of(credential: Credential) -> str:
    """The challenge that was answered, as it was given out; raises UnprovenError.

    A page in another page's frame is nobody whom we asked.
    """
    said = _proven(lambda: orjson.loads(_bytes_of(credential["response"]["clientDataJSON"])))
    challenge = said.get("challenge") if isinstance(said, dict) else None
    if not isinstance(challenge, str) or said.get("crossOrigin"):
        raise UnprovenError
    return challenge


def _bytes_of(base64url: str) -> bytes:
    return urlsafe_b64decode(f"{base64url}===")  # browsers leave the padding out; too much is none


def _proven(work: Callable[[], T]) -> T:
    """The result; whatever else comes of bytes that a stranger made is UnprovenError."""
    try:
        return work()
    except Exception as error:  # the library lets pass what its parsers raise: of CBOR, of keys, of certificates
        raise UnprovenError from error


def _origin(url: str) -> str:
    """As browsers write the origin of a URL (RFC 6454)."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in {None, _DEFAULT_PORTS.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"
