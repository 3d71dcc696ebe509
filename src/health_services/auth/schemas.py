"""Registering and signing in: what is sent and answered."""

from typing import Annotated

from pydantic import Field, SecretStr

from health_services.api.fields import Blank, Email, Line32, Line200, Line500, RequestShape, example
from health_services.users.models import Role

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

