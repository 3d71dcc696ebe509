"""Web Push: messages to browsers (RFC 8030), encrypted for them (RFC 8291) and signed by us (RFC 8292)."""

import hashlib
import time
from dataclasses import dataclass
from email.utils import parseaddr
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02, VapidException
from pywebpush import WebPusher, WebPushException

from health_services.outgoing.errors import NotNow, Undeliverable
from health_services.outgoing.http import outgoing_session, post
from health_services.outgoing.push_keys import base64url, key_of, public_key_of
from health_services.settings import Settings

# What fits into the one record of 4096 bytes that every push service takes.
LONGEST_PAYLOAD_BYTES = 3993
# A signature is used for one period and good for another; 24 hours are the most that push services accept.
_PERIOD_SECONDS = 6 * 3600
# The audiences come from browsers, so there is no telling how many there are.
_MOST_SIGNATURES = 256
# Answers that a later attempt may change: among them those to a signature before or after its time.
_LATER = frozenset({401, 408, 425, 429})


class SubscriptionGone(Undeliverable):
    """The browser does not take messages any more: the subscription can be forgotten."""

    def __init__(self) -> None:
        super().__init__("the push subscription is gone")


@dataclass(frozen=True, repr=False)
class Subscription:
    """Where a browser is reached, and the base64url keys that only it can read with; all of it is secret."""

    endpoint: str
    p256dh: str
    auth: str


class PushGateway(Protocol):
    """Sends messages to browsers."""

    @property
    def public_key(self) -> str:
        """What browsers subscribe with: base64url of the uncompressed point, 65 bytes."""

    async def send(self, subscription: Subscription, payload: bytes, *, ttl: int, topic: str) -> None:
        """Hand over one message of 1 to 3993 bytes.

        The push service keeps it for `ttl` seconds at most, and shows only the last one of a `topic`.
        Raises SubscriptionGone, Undeliverable or NotNow.
        """

    async def close(self) -> None:
        """Let go of every connection."""


class WebPush:
    """Sends through whichever push service a browser uses.

    `contact` is the mailto: URL that tells push services whom to ask. `timeout` is in seconds.
    """

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, contact: str, *, allow_private: bool, timeout: float = 5
    ) -> None:
        self._public_key = public_key_of(key)
        # its own rules for contacts know no host without a dot
        self._vapid = Vapid02(key, conf={"no-strict": True})
        self._contact = contact
        self._allow_private = allow_private
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._signature = lru_cache(maxsize=_MOST_SIGNATURES)(self._sign)

    @property
    def public_key(self) -> str:
        """What browsers subscribe with: base64url of the uncompressed point, 65 bytes."""
        return self._public_key

    async def send(self, subscription: Subscription, payload: bytes, *, ttl: int, topic: str) -> None:
        """Encrypt, sign and send; raises SubscriptionGone, Undeliverable or NotNow."""
        headers = {
            "Authorization": self._authorization(subscription.endpoint),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(ttl),
            # a topic has 32 characters at most; its hash tells the push service nothing
            "Topic": base64url(hashlib.sha256(topic.encode()).digest())[:32],
        }
        body = _encrypted(subscription, payload)
        if self._session is None:
            self._session = outgoing_session(allow_private=self._allow_private, timeout=self._timeout)
        answer = await post(self._session, subscription.endpoint, data=body, headers=headers)
        if answer.is_success:
            return
        if answer.status in {404, 410}:
            raise SubscriptionGone
        if answer.status in _LATER or answer.status >= 500:
            raise NotNow(f"the push service answered {answer.status}", answer.retry_after)
        raise Undeliverable(f"refused by the push service ({answer.status})")

    async def close(self) -> None:
        """Let go of every connection."""
        if self._session is not None:
            await self._session.close()

    def _authorization(self, endpoint: str) -> str:
        try:
            return self._signature(_origin(endpoint), int(time.time()) // _PERIOD_SECONDS)
        except (ValueError, VapidException):
            raise Undeliverable("the push endpoint cannot be used") from None

    def _sign(self, audience: str, period: int) -> str:
        """The Authorization header for this audience, made at any moment of the period."""
        claims = {"aud": audience, "exp": (period + 2) * _PERIOD_SECONDS, "sub": self._contact}
        return str(self._vapid.sign(claims)["Authorization"])


def _encrypted(subscription: Subscription, payload: bytes) -> bytes:
    if len(payload) > LONGEST_PAYLOAD_BYTES:
        raise Undeliverable("the message is too long for a push service")
    keys = {"p256dh": subscription.p256dh, "auth": subscription.auth}
    try:
        return bytes(WebPusher({"endpoint": subscription.endpoint, "keys": keys}).encode(payload)["body"])
    except (ValueError, WebPushException):
        raise Undeliverable("the keys of the push subscription cannot be used") from None


def _origin(endpoint: str) -> str:
    """The scheme, host and port of a URL (RFC 6454), without a port that goes without saying; raises ValueError."""
    parts = urlsplit(endpoint)
    is_usual = parts.port in {None, {"https": 443, "http": 80}.get(parts.scheme)}
    return f"{parts.scheme}://{parts.hostname}" + ("" if is_usual else f":{parts.port}")


def push_gateway_of(settings: Settings) -> PushGateway:
    """The gateway with the key of the settings, else with that of the data directory, which is made once.

    It reaches public addresses only, whatever webhooks may: any patient can register an endpoint.

    Raises OperatorError where the key cannot be read or kept.
    """
    return WebPush(key_of(settings), _contact(settings), allow_private=False)


def _contact(settings: Settings) -> str:
    if settings.mail_from is not None:
        return f"mailto:{parseaddr(settings.mail_from)[1]}"
    return f"mailto:no-reply@{urlsplit(settings.public_url or 'http://localhost').hostname}"
