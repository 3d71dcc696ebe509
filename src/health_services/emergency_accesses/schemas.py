"""Breaking the glass: what is sent and answered."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from health_services.api.fields import AnswerShape, RequestShape, Text1000, example


class EmergencyAccessCreate(RequestShape):
    """Why the record must be seen now, in words that can be read years later."""

    model_config = example(
        reason="Unconscious in the emergency room; allergies and blood group are needed.",
    )

    reason: Annotated[Text1000, Field(min_length=10)]


class EmergencyAccessRead(AnswerShape):
    """Until when the record can be seen."""

    model_config = example(
        expires_at="2026-03-01T11:00:00Z",
    )

    expires_at: datetime
