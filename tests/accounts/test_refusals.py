"""What the endpoints of accounts refuse by form."""

import asyncpg
import httpx

from tests.api.refusals import (
    Wrong,
    all_refused,
    bad_ids,
    bad_pages,
    bodies,
    choices,
    each,
    emails,
    texts,
    urls_refused,
)
from tests.factories import World

NOT_OURS = ("user_id", "password", "password_hash", "patient_id", "doctor_id", "last_login", "erased_at", "created_at")


async def test_update(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, person = await world.admin(), await world.patient()
    cases = [*bodies(), *choices("role"), *each("role", "Admin", ["admin"])]
    for field in ("is_active", "is_verified"):
        cases += each(field, None, "true", 1, 0, "", [], {})
    cases += [Wrong({field: 1}, (field,)) for field in (*NOT_OURS, "email", "name", "mobile_no", "address")]
    await all_refused(api, owner, ("PUT", f"/users/{person.user_id}"), admin.headers, {}, cases)


async def test_own(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    person = await world.patient()
    cases = [*bodies(), *texts("name", 200, required=True), *each("name", None), *emails("email")]
    cases += [*texts("mobile_no", 32), *texts("address", 500)]
    cases += [Wrong({field: 1}, (field,)) for field in (*NOT_OURS, "role", "is_active", "is_verified")]
    await all_refused(api, owner, ("PUT", "/users/me"), person.headers, {}, cases)
    assert (await api.put("/users/me", json={}, headers=person.headers)).status_code == 200


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers = (await world.admin()).headers
    filters = {f"/users?role={role}": "role" for role in ("", "Admin", "nobody", "%00")}
    filters |= {f"/users?is_active={text}": "is_active" for text in ("", "1", "True", "yes", "%00")}
    filters |= {"/users?email=a@example.org": "email", "/users?q=ann": "q", "/users/me?x=1": "x"}
    await urls_refused(api, owner, headers, filters | bad_pages("/users"), "GET")
    await urls_refused(api, owner, headers, bad_ids("/users/{}", "user_id"), "GET")
    await urls_refused(api, owner, headers, bad_ids("/users/{}", "user_id"), "PUT")
    await urls_refused(api, owner, headers, bad_ids("/users/{}/sessions", "user_id"), "DELETE")
