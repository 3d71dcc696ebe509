"""Registering, signing in and looking after a password: what is sent."""

from typing import Annotated

from pydantic import Field, SecretStr

from health_services.api.fields import Blank, Email, Line32, Line200, Line500, RequestShape, example
from health_services.second_factors.schemas import Code
from health_services.sessions.schemas import RefreshIn
from health_services.users.models import Role

_RESET_TOKEN = "b25lIG9mIDI1NiByYW5kb20gYml0cywgZ29vZCBmb3Igb25jZQ"  # noqa: S105 - an example
_EMAIL_TOKEN = "YW5vdGhlciBvbmUsIHRoYXQgaXMgYXMgZ29vZCBmb3Igb25jZQ"  # noqa: S105 - an example

NewPassword = Annotated[
    SecretStr,
    Field(min_length=8, max_length=128, description="8 to 128 characters of any kind; common ones are refused"),
]
GivenPassword = Annotated[SecretStr, Field(min_length=1, max_length=128)]
MailedToken = Annotated[
    SecretStr, Field(min_length=1, max_length=200, description="what follows `#token=` in the link")
]


class UserRegister(RequestShape):
    """A new account."""

    model_config = example(
        name="John Doe",
        email="john@example.com",
        password="SecurePass123",  # noqa: S106 - the guide's example
        role="patient",
        mobile_no="9876543210",
        address="123 Main St",
    )

    name: Line200
    email: Email
    password: NewPassword
    role: Role = Role.PATIENT
    mobile_no: Annotated[Line32 | None, Blank] = None
    address: Annotated[Line500 | None, Blank] = None
    refresh_in: RefreshIn = "body"


class UserLogin(RequestShape):
    """Who wants to sign in."""

    model_config = example(
        email="john@example.com",
        password="SecurePass123",  # noqa: S106 - the guide's example
    )

    email: Email
    password: GivenPassword
    refresh_in: RefreshIn = "body"


class Reauthentication(RequestShape):
    """Who says once more that it is he."""

    model_config = example(password="SecurePass123")  # noqa: S106

    password: GivenPassword
    code: Code | None = None


class PasswordChange(RequestShape):
    """A password in place of another."""

    model_config = example(current_password="SecurePass123", new_password="three blue teapots")  # noqa: S106

    current_password: GivenPassword
    new_password: NewPassword


class PasswordForgotten(RequestShape):
    """Whose password is forgotten."""

    model_config = example(email="john@example.com")

    email: Email


class PasswordReset(RequestShape):
    """A new password, by the token of the mailed link."""

    model_config = example(token=_RESET_TOKEN, new_password="three blue teapots")  # noqa: S106

    token: MailedToken
    new_password: NewPassword


class EmailVerification(RequestShape):
    """The token of the mailed link."""

    model_config = example(token=_EMAIL_TOKEN)

    token: MailedToken
