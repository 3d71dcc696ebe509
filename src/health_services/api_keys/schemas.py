"""API keys: what is sent and answered."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from health_services.access.permissions import SCOPES
from health_services.api.fields import AnswerShape, Instant, Line100, RequestShape, example

# Each permission by its name, and «clinics:*» for all of them that begin so.
KNOWN_SCOPES = sorted(SCOPES | {f"{name.partition(':')[0]}:*" for name in SCOPES})


def _scope(value: str) -> str:
    if value not in KNOWN_SCOPES:
        raise ValueError("is no scope that a key can have")
    return value


def _unique(scopes: Sequence[str]) -> Sequence[str]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("must not name one twice")
    return scopes


Scope = Annotated[str, Field(strict=True, json_schema_extra={"enum": KNOWN_SCOPES}), AfterValidator(_scope)]
Scopes = Annotated[
    list[Scope],
    Field(min_length=1, max_length=len(KNOWN_SCOPES), json_schema_extra={"uniqueItems": True}),
    AfterValidator(_unique),
]


class ApiKeyCreate(RequestShape):
    """What a key is for, and what it may do of what its owner may do; without `expires_at` until it is revoked."""

    model_config = example(
        name="Kiosk in the entrance hall",
        scopes=["slots:*", "appointments:book"],
        expires_at="2199-12-31T00:00:00Z",
    )

    name: Line100
    scopes: Scopes
    expires_at: Instant | None = None


_EXAMPLE: dict[str, Any] = {
    "id": 1,
    "name": "Kiosk in the entrance hall",
    "prefix": "hs_4k2m9x7q1w8z",
    "scopes": ["appointments:book", "slots:*"],
    "expires_at": None,
    "last_used_at": "2026-03-01T10:00:00Z",
    "revoked_at": None,
    "created_at": "2026-03-01T10:00:00Z",
}


class ApiKeyRead(AnswerShape):
    """A key without its secret: its beginning, what it may do, and when it was used last (to the minute)."""

    model_config = example(**_EXAMPLE)

    id: int
    name: str
    prefix: str
    scopes: list[str]
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


class ApiKeyCreated(ApiKeyRead):
    """The new key; `key` is shown this once."""

    model_config = example(**_EXAMPLE, key="hs_4k2m9x7q1w8z_" + "A" * 43)

    key: str
