"""Push subscriptions: what is sent and answered."""

import base64
import re
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import AfterValidator, Field, StringConstraints

from health_services.api.fields import AnswerShape, RequestShape, example

_POINT_BYTES = 65
_SECRET_BYTES = 16
# No user, no fragment, no spaces: nothing that two readers of a URL could understand differently.
_ENDPOINT = re.compile(r"https?://[a-z0-9._-]+(:[0-9]{1,5})?([/?][!$-~]*)?", re.IGNORECASE)


def _endpoint(value: str) -> str:
    if not _ENDPOINT.fullmatch(value):
        raise ValueError("must be a URL of a push service, such as https://push.example.net/send/abc")
    try:
        port = urlsplit(value).port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("has a port that does not exist")
    return value


def _bytes(value: str) -> bytes:
    """The bytes of a base64url text, padded or not; raises ValueError."""
    return base64.b64decode(value.rstrip("=") + "=" * (-len(value.rstrip("=")) % 4), altchars=b"-_", validate=True)


def _point(value: str) -> str:
    try:
        raw = _bytes(value)
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        raw = b""
    # a compressed point is one too, but not what browsers give
    if len(raw) != _POINT_BYTES:
        raise ValueError("must be an uncompressed P-256 point: 65 bytes as base64url")
    return _text(raw)


def _secret(value: str) -> str:
    try:
        raw = _bytes(value)
    except ValueError:
        raw = b""
    if len(raw) != _SECRET_BYTES:
        raise ValueError("must be 16 bytes as base64url")
    return _text(raw)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_Base64url = Annotated[str, StringConstraints(strict=True, max_length=100)]


class PushKeys(RequestShape):
    """What only the browser can read with."""

    model_config = example(
        p256dh="BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        auth="BTBZMqHH6r4Tts7J_aSIgg",
    )

    p256dh: Annotated[_Base64url, AfterValidator(_point)]
    auth: Annotated[_Base64url, AfterValidator(_secret)]


class PushSubscriptionCreate(RequestShape):
    """The browser's `PushSubscription.toJSON()`, as it is."""

    model_config = example(
        endpoint="https://push.example.net/send/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
        expirationTime=None,
        keys={
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        },
    )

    endpoint: Annotated[
        str, StringConstraints(strict=True, max_length=2000), AfterValidator(_endpoint), Field(description="https")
    ]
    expiration_time: Annotated[
        float | None,
        Field(strict=True, alias="expirationTime", description="not used: the push service says when it is over"),
    ] = None
    keys: PushKeys


class PushSubscriptionRead(AnswerShape):
    """A browser that messages are pushed to; the endpoint itself is a capability, and is not shown."""

    model_config = example(
        id=1,
        endpoint_host="push.example.net",
        created_at="2026-03-01T10:00:00Z",
    )

    id: int
    endpoint_host: str
    created_at: datetime


class PushKeyRead(AnswerShape):
    """The `applicationServerKey` that browsers subscribe with (RFC 8292)."""

    model_config = example(
        public_key="BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8",
    )

    public_key: str
