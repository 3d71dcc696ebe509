"""Web Push: that browsers can read it and push services can check it, and what their answers mean."""

import base64
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import http_ece
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from health_services.outgoing import http, push
from health_services.outgoing.errors import NotNow, SendingFailed, Undeliverable
from health_services.outgoing.http import Answer, NoAnswer, PrivateAddress
from health_services.outgoing.push import (
    LONGEST_PAYLOAD_BYTES,
    PushGateway,
    Subscription,
    SubscriptionGone,
    WebPush,
    push_gateway_of,
)
from health_services.settings import Settings
from tests.outgoing.servers import Received, Server, answering, counting, hanging, serving

# The private key that is the number one.
ONE = "A" * 42 + "E"


def base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Browser:
    """One that has subscribed, with keys of its own."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.secret = os.urandom(16)

    def subscription(self, endpoint: str) -> Subscription:
        point = self.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return Subscription(endpoint=endpoint, p256dh=base64url(point), auth=base64url(self.secret))

    def read(self, body: bytes) -> bytes:
        text: bytes = http_ece.decrypt(body, private_key=self.key, auth_secret=self.secret)
        return text


@asynccontextmanager
async def open_gateway(gateway: PushGateway | None = None) -> AsyncIterator[PushGateway]:
    """One that reaches the servers of these tests, unless another is given."""
    gateway = gateway or WebPush(ec.generate_private_key(ec.SECP256R1()), "mailto:a@b", allow_private=True)
    try:
        yield gateway
    finally:
        await gateway.close()


def gateway_of(**settings: Any) -> PushGateway:
    """As the service makes it."""
    return push_gateway_of(Settings(**{"vapid_private_key": SecretStr(ONE), **settings}))


def claims(request: Received, public_key: str) -> dict[str, Any]:
    """What the signature says, after it was checked as a push service does it."""
    scheme, _, parameters = request.headers["Authorization"].partition(" ")
    values = dict(part.strip().split("=", 1) for part in parameters.split(","))
    assert (scheme, values["k"]) == ("vapid", public_key)
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), from_base64url(public_key))
    audience = f"http://{request.headers['Host']}"
    found: dict[str, Any] = jwt.decode(values["t"], point, algorithms=["ES256"], audience=audience)
    return found


@pytest.mark.parametrize("size", [1, 100, LONGEST_PAYLOAD_BYTES])
async def test_a_message_as_it_arrives(size: int):
    browser, payload = Browser(), os.urandom(size)
    async with serving(answering(201)) as server, open_gateway() as gateway:
        await gateway.send(browser.subscription(f"{server.url}/send/abc?d=e"), payload, ttl=3600, topic="appointment 7")
    [request] = server.received
    assert (request.method, request.path) == ("POST", "/send/abc?d=e")
    assert browser.read(request.body) == payload
    assert len(request.body) <= 4096
    assert request.headers["Content-Encoding"] == "aes128gcm"
    assert request.headers["TTL"] == "3600"
    found = claims(request, gateway.public_key)
    assert set(found) == {"aud", "exp", "sub"}
    assert found["sub"] == "mailto:a@b"
    assert time.time() < found["exp"] <= time.time() + 86_400


async def test_only_this_browser_reads_it_and_no_two_messages_look_alike():
    browser, other = Browser(), Browser()
    async with serving(answering(201)) as server, open_gateway() as gateway:
        for _ in range(2):
            await gateway.send(browser.subscription(server.url), b"the same", ttl=0, topic="a")
    bodies = [request.body for request in server.received]
    assert [browser.read(body) for body in bodies] == [b"the same"] * 2
    assert bodies[0][:16] != bodies[1][:16], "the salt"
    assert bodies[0][21:86] != bodies[1][21:86], "the key of the message"
    with pytest.raises(http_ece.ECEException):
        other.read(bodies[0])


async def test_topics():
    """Equal where they are equal, different where not, and of a form that push services take."""
    topics = ["appointment-1", "appointment-2", "x" * 500, "x" * 501, "\u00e9 \r\n", "", "appointment-1"]
    browser = Browser()
    async with serving(answering(201)) as server, open_gateway() as gateway:
        for topic in topics:
            await gateway.send(browser.subscription(server.url), b"x", ttl=0, topic=topic)
    sent = [request.headers["Topic"] for request in server.received]
    assert [sent.index(topic) for topic in sent] == [0, 1, 2, 3, 4, 5, 0]
    assert all(len(topic) == 32 and len(from_base64url(topic)) == 24 for topic in sent)


@pytest.mark.parametrize(
    ("settings", "contact"),
    [
        ({}, "mailto:no-reply@localhost"),
        ({"public_url": "https://health.example.org:8443/portal"}, "mailto:no-reply@health.example.org"),
        ({"public_url": "https://health.example.org", "mail_from": "a@example.net"}, "mailto:a@example.net"),
        ({"mail_from": "Clinic <clinic@example.org>"}, "mailto:clinic@example.org"),
    ],
)
async def test_whom_push_services_can_ask(settings: dict[str, str], contact: str, monkeypatch: pytest.MonkeyPatch):
    # this machine plays a public one
    monkeypatch.setattr(http, "is_public", lambda address: address == "127.0.0.1")
    async with serving(answering(201)) as server, open_gateway(gateway_of(**settings)) as gateway:
        await gateway.send(Browser().subscription(server.url), b"x", ttl=0, topic="a")
    assert claims(server.received[0], gateway.public_key)["sub"] == contact


async def test_a_signature_is_used_for_hours_and_for_one_audience(monkeypatch: pytest.MonkeyPatch):
    browser, start = Browser(), time.time()
    async with serving(answering(201)) as one, serving(answering(201)) as two, open_gateway() as gateway:
        for server, hours in ((one, 0), (one, 0), (two, 0), (one, 7), (one, 14)):
            monkeypatch.setattr(time, "time", lambda hours=hours: start + hours * 3600)
            await gateway.send(browser.subscription(server.url), b"x", ttl=0, topic="a")
            token = server.received[-1].headers["Authorization"].removeprefix("vapid t=").partition(",")[0]
            made = jwt.decode(token, options={"verify_signature": False})
            assert start + hours * 3600 + 3600 <= made["exp"] <= start + hours * 3600 + 86_400
        monkeypatch.undo()
    first, again, later, latest = (request.headers["Authorization"] for request in one.received)
    assert first == again
    assert len({first, later, latest, two.received[0].headers["Authorization"]}) == 4


async def outcome(server: Server, *, timeout: float = 20) -> SendingFailed | None:
    gateway = WebPush(ec.generate_private_key(ec.SECP256R1()), "mailto:a@b", allow_private=True, timeout=timeout)
    try:
        await gateway.send(Browser().subscription(f"{server.url}/secret"), b"x", ttl=0, topic="a")
    except SendingFailed as failure:
        return failure
    finally:
        await gateway.close()
    return None


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_taken(status: int):
    async with serving(answering(status)) as server:
        assert await outcome(server) is None


@pytest.mark.parametrize("status", [404, 410])
async def test_the_browser_is_gone(status: int):
    async with serving(answering(status)) as server:
        failure = await outcome(server)
    assert isinstance(failure, SubscriptionGone)
    assert failure.reason == "the push subscription is gone"


@pytest.mark.parametrize("status", [301, 307, 400, 403, 405, 413])
async def test_refused(status: int):
    async with serving(answering(status, Location="/other")) as server:
        failure = await outcome(server)
    assert type(failure) is Undeliverable
    assert failure.reason == f"refused by the push service ({status})"
    assert len(server.received) == 1


@pytest.mark.parametrize("status", [401, 429, 500, 502, 503])
async def test_may_be_taken_later(status: int):
    async with serving(answering(status, Retry_After="30")) as server:
        failure = await outcome(server)
    assert isinstance(failure, NotNow)
    assert not isinstance(failure, NoAnswer)
    assert (failure.reason, failure.retry_after) == (f"the push service answered {status}", 30.0)


async def test_no_answer():
    async with serving(hanging) as server:
        failure = await outcome(server, timeout=0.3)
    assert isinstance(failure, NoAnswer)


async def test_a_push_service_has_five_seconds(monkeypatch: pytest.MonkeyPatch):
    timeouts: list[float | None] = []

    async def asked(session: aiohttp.ClientSession, *_: object, **__: object) -> Answer:
        timeouts.append(session.timeout.total)
        return Answer(201, None, b"")

    monkeypatch.setattr(push, "post", asked)
    async with open_gateway(gateway_of()) as gateway:
        await gateway.send(Browser().subscription("https://8.8.8.8/"), b"x", ttl=0, topic="a")
    assert timeouts == [5]


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_an_endpoint_in_our_network_is_not_reached_even_where_webhooks_may_be(is_allowed: bool):
    async with counting() as (port, peers), open_gateway(gateway_of(webhook_allow_private=is_allowed)) as gateway:
        with pytest.raises(PrivateAddress):
            await gateway.send(Browser().subscription(f"http://localhost:{port}/"), b"x", ttl=0, topic="a")
        assert peers == []


async def test_what_cannot_be_sent():
    browser = Browser()
    good = browser.subscription("https://push.example.net/secret")
    async with open_gateway() as gateway:
        for subscription in (
            Subscription(good.endpoint, good.p256dh[:-4], good.auth),
            Subscription(good.endpoint, base64url(b"\x04" + b"\x01" * 64), good.auth),
        ):
            with pytest.raises(Undeliverable, match=r"^the keys of the push subscription cannot be used$"):
                await gateway.send(subscription, b"x", ttl=0, topic="a")
        for endpoint in ("https://[2606:4700::1111]/secret", "nowhere", "https://a:99999/secret"):
            with pytest.raises(Undeliverable, match=r"^the push endpoint cannot be used$"):
                await gateway.send(browser.subscription(endpoint), b"x", ttl=0, topic="a")
        with pytest.raises(Undeliverable, match=r"^the message is too long for a push service$"):
            await gateway.send(good, b"x" * (LONGEST_PAYLOAD_BYTES + 1), ttl=0, topic="a")
    assert "secret" not in repr(good)
