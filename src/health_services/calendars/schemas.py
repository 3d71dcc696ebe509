"""Calendar feeds: what is answered."""

from datetime import datetime

from health_services.api.fields import AnswerShape, example


class CalendarFeedCreated(AnswerShape):
    """The address of a new feed. Whoever has it can read the feed; it is shown this once."""

    model_config = example(
        url="https://health.example.org/api/v1/calendar/2u1Wn0BXTfeTnZZ3VZ5m5xJrE7cC2oXqv3y2n0s1t4A.ics",
        token="2u1Wn0BXTfeTnZZ3VZ5m5xJrE7cC2oXqv3y2n0s1t4A",  # noqa: S106 - opens nothing
    )

    url: str
    token: str


class CalendarFeedRead(AnswerShape):
    """That there is a feed, and since when its address is valid."""

    model_config = example(
        created_at="2026-03-01T10:00:00Z",
    )

    created_at: datetime
