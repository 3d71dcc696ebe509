"""Push subscriptions, as a caller sees them."""

import asyncio
import base64
import socket
from typing import Any

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI

from health_services.outgoing import addresses
from health_services.push_subscriptions.repository import PushSubscriptionRepository
from tests.api.answers import read_pages, refusal, shape
from tests.factories import Person, World
from tests.push_subscriptions.conftest import AUTH, P256DH, browser

PATH = "/users/me/push-subscriptions"
KEYS = {"id", "endpoint_host", "created_at"}


async def add(api: httpx.AsyncClient, person: Person, path: str = "abc") -> int:
    made = await api.post(PATH, json=browser(path), headers=person.headers)
    assert made.status_code == 201, made.text
    return int(made.json()["id"])


async def rows(owner: asyncpg.Connection) -> list[tuple[int, str, str, str]]:
    query = "SELECT user_id, endpoint, p256dh, auth FROM push_subscriptions ORDER BY id"
    return [tuple(row) for row in await owner.fetch(query)]


async def test_the_key_is_a_point_that_browsers_take(api: httpx.AsyncClient, world: World, app: FastAPI):
    for person in (await world.patient(), await world.doctor(), await world.staff(), await world.admin()):
        answer = await api.get("/push/key", headers=person.headers)
        assert answer.status_code == 200
        key = shape(answer.json(), {"public_key"})["public_key"]
        point = base64.urlsafe_b64decode(key + "=")
        assert len(point) == 65
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        assert key == app.state.push_key
    refusal(await api.get("/push/key"), "AUTHENTICATION_ERROR")


async def test_a_browser_is_added_listed_and_removed(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    for person in (await world.patient(), await world.doctor(), await world.staff(), await world.admin()):
        made = await api.post(PATH, json=browser(), headers=person.headers)
        assert made.status_code == 201, made.text
        body = shape(made.json(), KEYS)
        assert body["endpoint_host"] == "push.example.net"
        assert await rows(owner) == [(person.user_id, "https://push.example.net/send/abc", P256DH, AUTH)]
        assert (await api.get(PATH, headers=person.headers)).json() == [body]
        gone = await api.delete(f"{PATH}/{body['id']}", headers=person.headers)
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await api.get(PATH, headers=person.headers)).json() == []
        assert await rows(owner) == []


async def test_nobody_without_a_token(api: httpx.AsyncClient, names: list[str]):
    refusal(await api.get(PATH), "AUTHENTICATION_ERROR")
    refusal(await api.post(PATH, json=browser()), "AUTHENTICATION_ERROR")
    refusal(await api.delete(f"{PATH}/1"), "AUTHENTICATION_ERROR")
    assert names == []


async def test_everybody_sees_and_removes_only_his_own(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    ann, bob, admin = await world.patient(), await world.patient(), await world.admin()
    of_ann, of_bob = await add(api, ann, "ann"), await add(api, bob, "bob")
    assert [row["id"] for row in (await api.get(PATH, headers=ann.headers)).json()] == [of_ann]
    for person in (bob, admin):
        refusal(await api.delete(f"{PATH}/{of_ann}", headers=person.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.delete(f"{PATH}/{of_bob + 1}", headers=ann.headers), "RESOURCE_NOT_FOUND")
    assert [row[0] for row in await rows(owner)] == [ann.user_id, bob.user_id]


async def test_a_known_endpoint_moves_to_the_caller_with_its_new_keys(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    ann, bob = await world.patient(), await world.patient()
    of_ann = await add(api, ann)
    new = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = new.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    keys = {"p256dh": base64.urlsafe_b64encode(point).decode().rstrip("="), "auth": "A" * 22}
    moved = await api.post(PATH, json=browser(keys=keys), headers=bob.headers)
    assert (moved.status_code, moved.json()["id"]) == (201, of_ann)
    assert (await api.get(PATH, headers=ann.headers)).json() == []
    assert await rows(owner) == [(bob.user_id, "https://push.example.net/send/abc", keys["p256dh"], keys["auth"])]


async def test_keys_are_kept_as_browsers_write_them(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    ann = await world.patient()
    point = base64.urlsafe_b64decode(P256DH + "=")
    secret = base64.urlsafe_b64decode(AUTH + "==")
    keys = {"p256dh": base64.b64encode(point).decode(), "auth": base64.urlsafe_b64encode(secret).decode()}
    assert (keys["p256dh"], keys["auth"]) != (P256DH, AUTH)
    made = await api.post(PATH, json=browser(keys=keys, expirationTime=1_900_000_000_000.5), headers=ann.headers)
    assert made.status_code == 201, made.text
    assert (await rows(owner))[0][2:] == (P256DH, AUTH)


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://push.example.net", "push.example.net"),
        ("https://PUSH.example.net:8443/a?b=c", "push.example.net"),
        ("https://8.8.8.8/a", "8.8.8.8"),
        ("https://push.example.net/" + "x" * 1975, "push.example.net"),
        ("https://unknown.example.net/a", "unknown.example.net"),
    ],
)
async def test_endpoints_are_kept_as_they_are(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, endpoint: str, host: str
):
    ann = await world.patient()
    made = await api.post(PATH, json=browser(endpoint=endpoint), headers=ann.headers)
    assert made.status_code == 201, made.text
    assert made.json()["endpoint_host"] == host
    assert (await rows(owner))[0][1] == endpoint


async def test_no_answer_shows_what_messages_could_be_sent_with(api: httpx.AsyncClient, world: World):
    ann = await world.patient()
    made = await api.post(PATH, json=browser("capability"), headers=ann.headers)
    listed = await api.get(PATH, headers=ann.headers)
    assert made.status_code == 201
    assert len(listed.json()) == 1
    for answer in (made, listed):
        assert not any(secret in answer.text for secret in ("capability", "/send", P256DH, AUTH))


async def test_twenty_at_most_however_many_ask_at_once(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    ann, bob = await world.patient(), await world.patient()
    for n in range(15):
        await add(api, ann, f"{n}")
    answers = await asyncio.gather(*(api.post(PATH, json=browser(f"{n}"), headers=ann.headers) for n in range(10, 30)))
    refused = [answer for answer in answers if answer.status_code != 201]
    for answer in refused:
        refusal(answer, "CONFLICT")
    assert len(refused) == 10
    assert len(await rows(owner)) == 20
    # a known one is no twenty-first, and another person's twenty are another's
    known = (await rows(owner))[-1][1]
    assert (await api.post(PATH, json=browser(endpoint=known), headers=ann.headers)).status_code == 201
    await add(api, bob, "bob")
    refusal(await api.post(PATH, json=browser("bob"), headers=ann.headers), "CONFLICT")
    assert len(await rows(owner)) == 21


async def test_two_who_claim_one_endpoint_at_once(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    people = [await world.patient() for _ in range(6)]
    answers = await asyncio.gather(*(api.post(PATH, json=browser(), headers=person.headers) for person in people))
    assert {(answer.status_code, answer.json()["id"]) for answer in answers} == {(201, answers[0].json()["id"])}
    assert len(await rows(owner)) == 1


async def test_pages(api: httpx.AsyncClient, world: World):
    ann, bob = await world.patient(), await world.patient()
    ids = []
    for n in range(5):
        ids.append(await add(api, ann, f"ann{n}"))
        await add(api, bob, f"bob{n}")
    assert await read_pages(api, PATH, 2, headers=ann.headers) == [ids[:2], ids[2:4], ids[4:]]


async def test_an_idempotency_key_adds_one(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers = (await world.patient()).headers | {"Idempotency-Key": "one"}
    first, second = [await api.post(PATH, json=browser(), headers=headers) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(await rows(owner)) == 1


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "one"}])
async def test_names_are_asked_for_while_no_connection_is_held(
    api: httpx.AsyncClient, world: World, app: FastAPI, monkeypatch: pytest.MonkeyPatch, key: dict[str, str]
):
    held: list[int] = []
    ask = addresses.addresses_of

    async def asking(*asked: Any, **more: Any) -> list[tuple[int, str]]:
        held.append(app.state.database.engine.pool.checkedout())
        return await ask(*asked, **more)

    monkeypatch.setattr(addresses, "addresses_of", asking)
    made = await api.post(PATH, json=browser(), headers=(await world.patient()).headers | key)
    assert (made.status_code, held) == (201, [0])


async def test_many_with_one_idempotency_key_at_once_add_one(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
):
    """Also those that ask for the name together."""
    headers = (await world.patient()).headers | {"Idempotency-Key": "one"}
    is_asking, together = asyncio.Event(), asyncio.Barrier(2)

    async def meet(*_: object, **__: object) -> list[tuple[int, str]]:
        is_asking.set()
        await together.wait()
        return [(socket.AF_INET, "8.8.8.8")]

    monkeypatch.setattr(addresses, "addresses_of", meet)
    first = asyncio.create_task(api.post(PATH, json=browser(), headers=headers))
    await is_asking.wait()
    answers = [await api.post(PATH, json=browser(), headers=headers), await first]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert sum("Idempotent-Replayed" in answer.headers for answer in answers) == 1
    assert len(await rows(owner)) == 1


async def test_beyond_twenty_no_name_is_asked_for(api: httpx.AsyncClient, world: World, names: list[str]):
    ann = await world.patient()
    for n in range(20):
        await add(api, ann, f"{n}")
    names.clear()
    for key in ({}, {"Idempotency-Key": "one"}):
        refusal(await api.post(PATH, json=browser("more"), headers=ann.headers | key), "CONFLICT")
    assert names == []


@pytest.mark.parametrize(
    "endpoint", ["https://127.0.0.1:8080/a", "http://push.example.net/a", "https://inside.example.net/"]
)
async def test_private_endpoints_are_refused_also_where_webhooks_may_have_them(
    api: httpx.AsyncClient, world: World, app: FastAPI, endpoint: str
):
    settings = app.state.settings
    app.state.settings = settings.model_copy(update={"webhook_allow_private": True})
    try:
        made = await api.post(PATH, json=browser(endpoint=endpoint), headers=(await world.patient()).headers)
    finally:
        app.state.settings = settings
    refusal(made, "VALIDATION_ERROR", "endpoint")


async def test_what_the_sender_reads_and_forgets(api: httpx.AsyncClient, world: World, app: FastAPI):
    ann, bob = await world.patient(), await world.patient()
    first, second, third = await add(api, ann, "1"), await add(api, bob, "2"), await add(api, ann, "3")
    async with app.state.worker_database.writing() as session, session.begin():
        repository = PushSubscriptionRepository(session)
        found = await repository.of_user(ann.user_id)
        assert [(row.id, row.endpoint, row.p256dh, row.auth) for row in found] == [
            (first, "https://push.example.net/send/1", P256DH, AUTH),
            (third, "https://push.example.net/send/3", P256DH, AUTH),
        ]
        await repository.forget(first)
        await repository.forget(first)
    assert [row["id"] for row in (await api.get(PATH, headers=ann.headers)).json()] == [third]
    assert [row["id"] for row in (await api.get(PATH, headers=bob.headers)).json()] == [second]
