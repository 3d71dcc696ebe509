"""Accounts: what administrators and people themselves send."""

from typing import Annotated

from health_services.api.fields import (
    Blank,
    Email,
    Line32,
    Line200,
    Line500,
    RequestShape,
    Truth,
    example,
    unless_sent,
)
from health_services.users.models import Role


class UserUpdate(RequestShape):
    """What an administrator changes of an account; what is left out stays."""

    model_config = example(
        is_verified=True,
        is_active=True,
    )

    role: Role = unless_sent()
    is_active: Truth = unless_sent()
    is_verified: Truth = unless_sent()


class OwnUserUpdate(RequestShape):
    """What somebody changes of his own account; what is left out stays."""

    model_config = example(
        name="John Doe",
        mobile_no="9876543210",
        address="123 Main St",
    )

    name: Line200 = unless_sent()
    email: Email = unless_sent()
    mobile_no: Annotated[Line32 | None, Blank] = None
    address: Annotated[Line500 | None, Blank] = None
