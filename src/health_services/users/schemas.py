"""A user as answers show him."""

from datetime import datetime

from health_services.api.fields import AnswerShape
from health_services.users.models import Role


class UserRead(AnswerShape):
    """An account, never its password's hash; `patient_id` and `doctor_id` are null where there is no such record."""

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
