"""Export and erasure: what is sent and answered."""

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from health_services.api.fields import AnswerShape, RequestShape, Text1000, example

Rows = list[dict[str, Any]]


class PatientExport(AnswerShape):
    """Everything about a person: one object or null where there is one at most, else an array of rows.

    Further members have the same form; docs/privacy.md names them all.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "exported_at": "2026-03-01T10:00:00Z",
                    "account": {"id": 1, "name": "John Doe", "email": "john@example.com"},
                    "patient": {"id": 1, "blood_group": "O+", "allergies": "Penicillin"},
                    "appointments": [{"id": 1, "status": "completed", "reason_for_visit": "Cough"}],
                    "messages": [{"id": 1, "kind": "appointment_reminder", "channel": "email"}],
                    "access_log": [{"id": 1, "action": "get_patient", "by_role": "doctor"}],
                }
            ]
        },
    )

    exported_at: datetime
    account: dict[str, Any]
    patient: dict[str, Any]
    appointments: Rows
    messages: Rows
    access_log: Rows


class ErasureRequest(RequestShape):
    """Why a person is erased; kept encrypted with the record, so it names nobody."""

    model_config = example(reason="Asked for it by letter of 1 March, file 2026/17")

    reason: Text1000


class ErasureRead(AnswerShape):
    """The confirmation of an erasure; nothing else tells of it.

    `cancelled` are the numbers of appointments to come that were cancelled, `forgotten` is how many rows of each kind
    were emptied or deleted. Mails that were kept as files follow within minutes.
    """

    model_config = example(
        patient_id=1,
        erased_at="2026-03-01T10:00:00Z",
        cancelled=[12],
        forgotten={"account": 1, "patient": 1, "appointments": 4, "messages": 3, "sessions": 1},
    )

    patient_id: int
    erased_at: datetime
    cancelled: list[int] = Field(description="ids of appointments")
    forgotten: dict[str, int]
