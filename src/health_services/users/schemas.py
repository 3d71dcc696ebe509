"""A user as answers show him."""

from datetime import datetime

from health_services.api.fields import AnswerShape, example
from health_services.users.models import Role


class UserRead(AnswerShape):
    """An account, never its password's hash; `patient_id` and `doctor_id` are null where there is no such record."""

    model_config = example(
        id=1,
        name="John Doe",
        email="john@example.com",
        role="patient",
        mobile_no="9876543210",
        address="123 Main St",
        is_verified=False,
        is_active=True,
        created_at="2026-03-01T10:00:00Z",
        updated_at="2026-03-01T10:00:00Z",
        last_login="2026-03-01T10:00:00Z",
        patient_id=1,
        doctor_id=None,
    )

    id: int
    name: str
    email: str | None
    role: Role
    mobile_no: str | None
    address: str | None
    is_verified: bool
    is_active: bool
    created_at: datetime
    updated_at: datetime
    last_login: datetime | None
    patient_id: int | None
    doctor_id: int | None
