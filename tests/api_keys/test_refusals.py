"""What the endpoints of API keys refuse by form."""

from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from tests.api.answers import refusal
from tests.api.refusals import Wrong, all_refused, bad_ids, bad_pages, bodies, each, instants, texts, urls_refused
from tests.factories import World

GOOD = {"name": "Kiosk", "scopes": ["slots:*"]}
SCOPES: tuple[object, ...] = (
    [], None, "slots:*", 1, {}, ["slots:*", "slots:*"], ["slots:write"] * 200,
)  # fmt: skip
NO_SCOPE: tuple[object, ...] = (
    "*", "*:*", "slots", "slots:", "SLOTS:*", " slots:*", "slots:*\x00", "users:me", "auth:*", "auth:profile",
    "api-keys:write", "api-keys:*", "slots:read,slots:write", "", 1, None, True, [], {},
)  # fmt: skip


async def test_create(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    cases = [*bodies(*GOOD), *texts("name", 100, required=True), *each("scopes", *SCOPES)]
    cases += [case for case in instants("expires_at") if case.changes["expires_at"] is not None]
    past = datetime.now(UTC) - timedelta(seconds=1)
    cases += each("expires_at", past.isoformat(), "1950-01-01T00:00:00Z")
    cases += [Wrong({"scopes": ["slots:*", scope]}, ("scopes[1]",)) for scope in NO_SCOPE]
    cases += [Wrong({field: "x"}, (field,)) for field in ("key", "prefix", "secret_hash", "user_id", "revoked_at")]
    await all_refused(api, owner, ("POST", "/api-keys"), person.headers, GOOD, cases)


@pytest.mark.parametrize("scope", ["clinics:read", "doctors:write", "slots:*", "appointments:book", "audit:read"])
async def test_the_contracts_scopes_can_be_given_to_anybody(api: httpx.AsyncClient, world: World, scope: str):
    person = await world.patient()
    body = {"name": "x" * 100, "scopes": [scope], "expires_at": None}
    answer = await api.post("/api-keys", json=body, headers=person.headers)
    assert (answer.status_code, answer.json()["scopes"]) == (201, [scope])


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers = (await world.patient()).headers
    await urls_refused(api, owner, headers, bad_pages("/api-keys") | bad_ids("/api-keys/{}", "key_id"), "GET")
    await urls_refused(api, owner, headers, bad_ids("/api-keys/{}", "key_id"), "DELETE")
    refusal(await api.get("/api-keys/99", headers=headers), "RESOURCE_NOT_FOUND")
    refusal(await api.delete("/api-keys/99", headers=headers), "RESOURCE_NOT_FOUND")
