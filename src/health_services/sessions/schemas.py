"""Sessions: what is sent and answered."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from health_services.api.fields import AnswerShape, RequestShape, example
from health_services.users.schemas import UserRead

# Where the refresh token of a new session goes: into the answer, or into a cookie that no script can read.
RefreshIn = Annotated[
    Literal["body", "cookie"],
    Field(description="where the refresh token goes; `cookie` is for web pages of this same origin"),
]
GivenRefreshToken = Annotated[SecretStr, Field(min_length=1, max_length=200)]


class SignedIn(AnswerShape):
    """An access token, to be sent as `Authorization: Bearer …`, how many seconds it lives, and what gets the next one.

    `refresh_token` is null where it went into a cookie; then `csrf_token` has to go with the cookie, in the header
    `X-CSRF-Token`.
    """

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: int
    refresh_token: str | None
    csrf_token: str | None = None
    user: UserRead


class RefreshTokenGiven(RequestShape):
    """A refresh token; left out where it is in the cookie."""

    model_config = example(refresh_token="hsr_Q2Vsc2l1cyBpcyBub3QgYSByZWZyZXNoIHRva2Vu")  # noqa: S106

    refresh_token: GivenRefreshToken | None = None


class SessionRead(AnswerShape):
    """Where somebody is signed in; `methods` is how he proved who he is (RFC 8176), `is_current` whether it is here."""

    model_config = example(
        id=1,
        client="Firefox on Linux",
        address="203.0.113.7",
        methods=["pwd", "otp", "mfa"],
        is_cookie=False,
        is_current=True,
        created_at="2026-03-01T10:00:00Z",
        last_used_at="2026-03-02T10:00:00Z",
        expires_at="2026-05-30T10:00:00Z",
    )

    id: int
    client: str | None
    address: str | None
    methods: list[str]
    is_cookie: bool
    is_current: bool
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
