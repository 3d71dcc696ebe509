"""Webhooks: what is sent and answered."""

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from health_services.api.fields import AnswerShape, RequestShape, Truth, example, unless_sent
from health_services.webhooks.models import Event
from health_services.webhooks.signing import public_id

MAX_URL = 2000
# Whatever is written otherwise, one parser may read differently from another.
_UNCLEAR = re.compile(r"[^!-~]|\\")
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_IPV6 = re.compile(r"[0-9a-f:.]+")


class DeliveryState(StrEnum):
    """What became of a delivery: waiting, sent, given up, or no longer wanted."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"


def _url(value: str) -> str:
    if _UNCLEAR.search(value):
        raise ValueError("must be printable ASCII, without spaces and backslashes")
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is not a valid URL") from None
    if parts.scheme not in {"https", "http"}:
        raise ValueError("must begin with https://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    if "#" in value:
        raise ValueError("must not have a fragment")
    if not (_IPV6 if "[" in parts.netloc else _NAME).fullmatch(host) or port == 0:
        raise ValueError("must name a host, as in https://hooks.example.org/health")
    return value


def _unique(events: Sequence[Event]) -> Sequence[Event]:
    twice = dict.fromkeys(event.value for event in events if events.count(event) > 1)
    if twice:
        raise ValueError(f"must be different events; given twice: {', '.join(twice)}")
    return events


def _public_id(value: Any) -> Any:
    return public_id(value) if isinstance(value, UUID) else value


Url = Annotated[
    str,
    StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=MAX_URL),
    AfterValidator(_url),
    Field(description="https, a public address; no user name, no fragment", json_schema_extra={"format": "uri"}),
]
Events = Annotated[
    list[Event],
    Field(min_length=1, max_length=len(Event), json_schema_extra={"uniqueItems": True}),
    AfterValidator(_unique),
]


class WebhookCreate(RequestShape):
    """Where another system listens, and what it wants to be told of."""

    model_config = example(
        url="https://hooks.example.org/health",
        events=["appointment.booked", "appointment.cancelled"],
    )

    url: Url
    events: Events


class WebhookUpdate(RequestShape):
    """What of a webhook changes; what is left out stays."""

    model_config = example(
        events=["appointment.booked", "appointment.cancelled", "appointment.rescheduled"],
        is_active=True,
    )

    url: Url = unless_sent()
    events: Events = unless_sent()
    is_active: Truth = unless_sent()


_EXAMPLE: dict[str, Any] = {
    "id": 1,
    "url": "https://hooks.example.org/health",
    "events": ["appointment.booked", "appointment.cancelled"],
    "is_active": True,
    "disabled_reason": None,
    "created_by_user_id": 1,
    "created_at": "2026-03-01T10:00:00Z",
    "updated_at": "2026-03-01T10:00:00Z",
}
_EXAMPLE_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw8xJ4V0s0uJQ="  # noqa: S105 - nobody's


class WebhookRead(AnswerShape):
    """A webhook; `disabled_reason` says why it was given up on, and is null where a person switched it off."""

    model_config = example(**_EXAMPLE)

    id: int
    url: str
    events: list[Event]
    is_active: bool
    disabled_reason: str | None
    created_by_user_id: int | None
    created_at: datetime
    updated_at: datetime


class WebhookCreated(WebhookRead):
    """A new webhook with its secret, which is shown this once."""

    model_config = example(**_EXAMPLE, secret=_EXAMPLE_SECRET)

    secret: str


class WebhookSecret(AnswerShape):
    """A new secret, which is shown this once."""

    model_config = example(
        secret=_EXAMPLE_SECRET,
    )

    secret: str


class DeliveryRead(AnswerShape):
    """One event for one webhook, without what was sent.

    `message_id` is the webhook-id of each of its attempts; `next_attempt_at` is null unless it is queued.
    """

    model_config = example(
        id=1,
        message_id="msg_8f14e45fceea467fa0f1d2c3b4a59687",
        event="appointment.booked",
        subject="appointment:12",
        state="queued",
        attempts=1,
        response_status=503,
        last_error="answered 503",
        next_attempt_at="2026-03-01T10:00:05Z",
        sent_at=None,
        created_at="2026-03-01T10:00:00Z",
    )

    id: int
    message_id: Annotated[str, BeforeValidator(_public_id)]
    event: Event
    subject: str
    state: DeliveryState
    attempts: int
    response_status: int | None
    last_error: str | None
    next_attempt_at: datetime | None
    sent_at: datetime | None
    created_at: datetime
