"""What the endpoints of push subscriptions refuse by form."""

import base64
from typing import Any

import asyncpg
import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.api.answers import refusal
from tests.api.refusals import MISSING, Wrong, all_refused, bad_ids, bad_pages, bodies, each, texts, urls_refused
from tests.factories import World
from tests.push_subscriptions.conftest import AUTH, P256DH, browser

PATH = "/users/me/push-subscriptions"

ENDPOINTS = (
    "", " ", "push.example.net", "//push.example.net/a", "ftp://push.example.net/a", "https://", "https:///a",
    "javascript:alert(1)", "https://user@push.example.net/", "https://user:password@push.example.net/",
    "https://push.example.net/#a", "https://push.example.net/a b", "https://push.example.net/\u00e9",
    "https://p\u00fcsh.example.net/", "https://push.example.net\\@10.0.0.1/", "https://push.example.net:0/",
    "https://push.example.net:65536/", "https://push.example.net:/", "https://push.example.net:a/",
    "https://[2606:4700::1111]/", " https://push.example.net/a", "https://push.example.net/\n",
    # what is fine as a text, but not where messages are sent to
    "http://push.example.net/a", "http://127.0.0.1/a", "https://127.0.0.1/a", "https://10.0.0.1/a",
    "https://169.254.169.254/latest/meta-data", "https://2130706433/", "https://0x7f.1/", "https://127.1/",
    "https://inside.example.net/a", "https://mixed.example.net/a", "HTTPS://INSIDE.EXAMPLE.NET/a",
)  # fmt: skip


def of_keys(field: str, *values: Any) -> list[Wrong]:
    """The key with each of these values is refused by its name."""
    good = {"p256dh": P256DH, "auth": AUTH}
    changed = [
        {name: text for name, text in (good | {field: value}).items() if text is not MISSING} for value in values
    ]
    return [Wrong({"keys": keys}, (f"keys.{field}",)) for keys in changed]


def written(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def compressed() -> str:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return written(key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint))


def of_another_curve() -> str:
    key = ec.generate_private_key(ec.SECP256K1()).public_key()
    return written(key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint))


async def test_add(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    ann = await world.patient()
    cases = [
        *bodies("endpoint", "keys"),
        *texts("endpoint", 2000),
        *each("endpoint", *ENDPOINTS, "https://push.example.net/" + "x" * 1976),
        *each("expirationTime", "soon", [], {}),
        *each("expiration_time", None, 1),
        *each("keys", "", 1, [], True),
        Wrong({"keys": {}}, ("keys.p256dh", "keys.auth")),
        *of_keys("surprise", 1, None),
        *of_keys("p256dh", MISSING, None, 1, [], "", "!", P256DH[:-1], P256DH + "A", P256DH + "====A", "A" * 87, AUTH),
        *of_keys("p256dh", compressed(), of_another_curve(), written(b"\x04" + b"\xff" * 64), P256DH + "=" * 20),
        *of_keys("auth", MISSING, None, 1, [], "", "!", AUTH[:-2], AUTH + "AA", P256DH, "\u00e9" * 22, "A A" * 8),
    ]
    await all_refused(api, owner, ("POST", PATH), ann.headers, browser(), cases)
    assert (await api.post(PATH, json=browser(), headers=ann.headers)).status_code == 201


async def test_no_refusal_repeats_a_secret(api: httpx.AsyncClient, world: World):
    ann = await world.patient()
    for body in (
        browser(endpoint="https://inside.example.net/capability"),
        browser(endpoint="https://push.example.net/capability#x"),
        browser(keys={"p256dh": "capability", "auth": "capability"}),
    ):
        answer = await api.post(PATH, json=body, headers=ann.headers)
        assert answer.status_code == 400
        assert "capability" not in answer.text


async def test_no_body_at_all(api: httpx.AsyncClient, world: World):
    refusal(await api.post(PATH, headers=(await world.patient()).headers), "VALIDATION_ERROR", "body")


async def test_ids_and_pages(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers = (await world.patient()).headers
    await urls_refused(api, owner, headers, bad_ids(PATH + "/{}", "subscription_id"), "DELETE")
    await urls_refused(api, owner, headers, bad_pages(PATH), "GET")
    await urls_refused(api, owner, headers, {"/push/key?surprise=1": "surprise"}, "GET")
