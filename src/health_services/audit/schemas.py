"""The audit: what is answered. Ids only, but for the names of those who looked at a patient's data."""

from datetime import datetime

from health_services.api.fields import AnswerShape, example
from health_services.audit.models import Outcome
from health_services.users.models import Role


class AuditEntryRead(AnswerShape):
    """One request about somebody; `action` is the operation's id in this document, or a command's name.

    `via` is `session:…`, `key:…` or `command`; `object` is what the path named; `patient_ids` and `user_ids` are whose
    data were read, written or asked for.
    """

    model_config = example(
        id=1,
        at="2026-03-01T10:00:00Z",
        user_id=4,
        via="session:12",
        action="get_patient",
        object="patient:1",
        patient_ids=[1],
        user_ids=[],
        address="203.0.113.7",
        outcome="success",
        status=200,
        request_id="4f1c9a52d0b84b8f9e0a7c5d3b2a1908",
    )

    id: int
    at: datetime
    user_id: int | None
    via: str | None
    action: str
    object: str | None
    patient_ids: list[int]
    user_ids: list[int]
    address: str | None
    outcome: Outcome
    status: int
    request_id: str


class AccessRead(AnswerShape):
    """One access to a patient's data; who it was is null for strangers and for another patient, who was refused.

    `role` is the one that the account has today; `via` is `session`, `key` or `command`.
    """

    model_config = example(
        id=1,
        at="2026-03-01T10:00:00Z",
        user_id=4,
        role="doctor",
        name="Dr. Grace Okafor",
        action="get_patient",
        object="patient:1",
        outcome="success",
        via="session",
    )

    id: int
    at: datetime
    user_id: int | None
    role: Role | None
    name: str | None
    action: str
    object: str | None
    outcome: Outcome
    via: str | None
