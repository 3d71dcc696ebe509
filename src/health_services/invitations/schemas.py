"""Invitations: what is sent."""

from health_services.api.fields import Email, Id, Line200, RequestShape, example
from health_services.auth.schemas import MailedToken, NewPassword
from health_services.users.models import Role


class InvitationCreate(RequestShape):
    """Whom to invite, and as what; `clinic_id` is where somebody with the role staff will work."""

    model_config = example(
        email="jane.smith@example.com",
        name="Jane Smith",
        role="doctor",
    )

    email: Email
    name: Line200
    role: Role
    clinic_id: Id | None = None


class InvitationAccept(RequestShape):
    """The token of the mailed link, and the password that the invited person chooses."""

    model_config = example(
        token="Zm9yIHRoZSBleGFtcGxlIG9ubHksIDMyIGJ5dGVz",  # noqa: S106 - the documentation's example
        password="SecurePass123",  # noqa: S106 - the guide's example
    )

    token: MailedToken
    password: NewPassword
