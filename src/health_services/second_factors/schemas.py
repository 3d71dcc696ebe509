"""Second factors: what is sent and answered."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr, StringConstraints, model_validator

from health_services.api.fields import AnswerShape, Line100, RequestShape, example
from health_services.sessions.schemas import RefreshIn

_ID = "dGhlIGlkIG9mIGEgcGFzc2tleQ"
_CHALLENGE = "c2l4dGVlbiByYW5kb20gYnl0ZXMsIGFuZCBtb3JlIQ"
_TOKEN = "Zm9yIHRoZSBzZWNvbmQgaGFsZiBvZiBzaWduaW5nIGlu"  # noqa: S105 - an example
_CLIENT_DATA = "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0IiwiY2hhbGxlbmdlIjoi4oCmIn0"


def _base64url(most: int) -> Any:
    return StringConstraints(strict=True, pattern=r"^[A-Za-z0-9_-]+={0,2}$", min_length=1, max_length=most)


_CredentialId = Annotated[str, _base64url(1368), Field(description="1023 bytes at most, base64url")]
_Bytes = Annotated[str, _base64url(32_768), Field(description="base64url")]
Code = Annotated[
    SecretStr, Field(min_length=6, max_length=64, description="of the authenticator app, or a recovery code")
]


class _OfBrowser(BaseModel):
    """A part of what browsers answer (WebAuthn), whose further members are of no use here."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _Made(_OfBrowser):
    client_data: _Bytes = Field(alias="clientDataJSON")
    attestation: _Bytes = Field(alias="attestationObject")
    transports: list[Annotated[str, StringConstraints(strict=True, max_length=32)]] = Field([], max_length=10)


class _Used(_OfBrowser):
    client_data: _Bytes = Field(alias="clientDataJSON")
    authenticator_data: _Bytes = Field(alias="authenticatorData")
    signature: _Bytes
    user_handle: _Bytes | None = Field(None, alias="userHandle")


class _Credential(_OfBrowser):
    id: _CredentialId
    raw_id: _CredentialId = Field(alias="rawId")
    type: Literal["public-key"]

    def as_sent(self) -> dict[str, Any]:
        """With the names of WebAuthn."""
        return self.model_dump(by_alias=True)


class MadeCredential(_Credential):
    """What `navigator.credentials.create` gave, by its `toJSON()`."""

    response: _Made


class UsedCredential(_Credential):
    """What `navigator.credentials.get` gave, by its `toJSON()`."""

    response: _Used


_MADE = {
    "id": _ID,
    "rawId": _ID,
    "type": "public-key",
    "response": {"clientDataJSON": _CLIENT_DATA, "attestationObject": "o2NmbXRkbm9uZWdhdHRTdG10oA"},
}
_USED = {
    "id": _ID,
    "rawId": _ID,
    "type": "public-key",
    "response": {
        "clientDataJSON": _CLIENT_DATA,
        "authenticatorData": "SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MFAAAAAQ",
        "signature": "MEUCIQCtIGFuIGV4YW1wbGUgb2YgYSBzaWduYXR1cmU",
        "userHandle": "AAAAAAAAAAE",
    },
}


class MfaRequired(AnswerShape):
    """The password was right, and one of `methods` is needed too, within 10 minutes: `POST /auth/login/mfa`."""

    model_config = example(mfa_required=True, mfa_token=_TOKEN, methods=["totp", "recovery_code", "passkey"])

    mfa_required: Literal[True] = True
    mfa_token: str
    methods: list[Literal["totp", "recovery_code", "passkey"]]


class MfaLogin(RequestShape):
    """The second half of signing in: either a `code`, or a `passkey` for options of `/auth/login/passkey/options`."""

    model_config = example(mfa_token=_TOKEN, code="492039")

    mfa_token: Annotated[SecretStr, Field(min_length=1, max_length=128)]
    code: Code | None = None
    passkey: UsedCredential | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.code is None) == (self.passkey is None):
            raise ValueError("needs either code or passkey")
        return self


class PasskeyLogin(RequestShape):
    """A passkey that answers a challenge, and where its session's refresh token goes."""

    model_config = example(credential=_USED)

    credential: UsedCredential
    refresh_in: RefreshIn = "body"


class TotpBegun(AnswerShape):
    """The secret for an authenticator app: shown this once, as text, as a link, and as a picture of the link."""

    model_config = example(
        secret="JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",  # noqa: S106 - an example
        otpauth_uri="otpauth://totp/Health%20Services:john%40example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
        "&issuer=Health%20Services",
        qr_svg="<svg …></svg>",
    )

    secret: str
    otpauth_uri: str
    qr_svg: str


class TotpConfirm(RequestShape):
    """The first code that the app shows."""

    model_config = example(code="492039")

    code: Code


class RecoveryCodes(AnswerShape):
    """Ten codes for whoever has lost his device, each good for one sign-in; shown this once."""

    model_config = example(recovery_codes=["ABCD-EFGH-IJKL-MNOP"])

    recovery_codes: list[str]


class PasskeyOptions(RootModel[dict[str, Any]]):
    """Options for the browser's `PublicKeyCredential.parse…OptionsFromJSON()`, good for 5 minutes and one answer."""

    model_config = example(
        challenge=_CHALLENGE, rpId="health.example.org", timeout=300_000, userVerification="required"
    )


class PasskeyCreate(RequestShape):
    """A new passkey, and what its owner calls it."""

    model_config = example(name="My phone", credential=_MADE)

    name: Line100
    credential: MadeCredential


class PasskeyRead(AnswerShape):
    """A passkey; `is_backed_up` says that it is kept by an account elsewhere too, not by one device alone."""

    model_config = example(
        id=1, name="My phone", is_backed_up=True, created_at="2026-03-01T10:00:00Z", last_used_at=None
    )

    id: int
    name: str
    is_backed_up: bool
    created_at: datetime
    last_used_at: datetime | None
