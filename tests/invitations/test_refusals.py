"""What invitations refuse by form."""

import asyncpg
import httpx
from fastapi import FastAPI

from tests.accounts.ledger import last_token
from tests.api.refusals import Wrong, all_refused, bad_ids, bodies, choices, each, emails, ids, texts, urls_refused
from tests.factories import World
from tests.invitations.test_endpoints import JANE, invite

PASSWORDS: tuple[object, ...] = ("", "1234567", "x" * 129, "password", "12345678", 12345678, True, [], {})


async def test_invite(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, clinic = await world.admin(), await world.clinic()
    cases = [*bodies(*JANE), *emails("email"), *texts("name", 200, required=True), *choices("role")]
    cases += [case for case in ids("clinic_id") if case.changes["clinic_id"] is not None]
    cases += [Wrong({"clinic_id": clinic, "role": role}, ("clinic_id",)) for role in ("doctor", "admin", "patient")]
    cases += [Wrong({field: 1}, (field,)) for field in ("password", "password_hash", "is_verified", "is_active")]
    await all_refused(api, owner, ("POST", "/users/invitations"), admin.headers, JANE, cases)
    assert (await api.post("/users/invitations", json=JANE, headers=admin.headers)).status_code == 201


async def test_accept(api: httpx.AsyncClient, app: FastAPI, world: World, owner: asyncpg.Connection):
    user = await invite(api, await world.admin())
    good = {"token": await last_token(owner, app, user["id"]), "password": "three blue teapots"}
    cases = [*bodies(*good), *each("token", "", "x", "x" * 201, "\x00", 1, True, [], {}), *each("password", *PASSWORDS)]
    cases += [Wrong({field: 1}, (field,)) for field in ("email", "role", "user_id", "new_password")]
    await all_refused(api, owner, ("POST", "/auth/invitation/accept"), {}, good, cases)
    assert (await api.post("/auth/invitation/accept", json=good)).status_code == 204


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers = (await world.admin()).headers
    await urls_refused(api, owner, headers, bad_ids("/users/{}/invitation", "user_id"), "POST")
    await urls_refused(api, owner, headers, bad_ids("/patients/{}/invite", "patient_id"), "POST")
