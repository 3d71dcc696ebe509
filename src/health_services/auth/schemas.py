"""Registering and signing in: what is sent and answered."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from health_services.api.fields import AnswerShape, Blank, Email, Line32, Line200, Line500, RequestShape, example
from health_services.users.models import Role
from health_services.users.schemas import UserRead

NewPassword = Annotated[
    SecretStr,
    Field(min_length=8, max_length=128, description="8 to 128 characters of any kind; common ones are refused"),
]
GivenPassword = Annotated[SecretStr, Field(min_length=1, max_length=128)]


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


class UserLogin(RequestShape):
    """Who wants to sign in."""

    model_config = example(
        email="john@example.com",
        password="SecurePass123",  # noqa: S106 - the guide's example
    )

    email: Email
    password: GivenPassword


class SignedIn(AnswerShape):
    """An access token, to be sent as `Authorization: Bearer …`, and whose it is."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    user: UserRead
