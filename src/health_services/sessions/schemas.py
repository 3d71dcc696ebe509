"""What whoever signs in is given."""

from typing import Literal

from health_services.api.fields import AnswerShape
from health_services.users.schemas import UserRead


class SignedIn(AnswerShape):
    """An access token, to be sent as `Authorization: Bearer …`, how long it lives, and what gets the next one.

    `refresh_token` is null where it went into a cookie; then `csrf_token` goes with it.
    """

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: int
    refresh_token: str | None
    csrf_token: str | None = None
    user: UserRead
