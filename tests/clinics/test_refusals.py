"""What the endpoints of clinics refuse by form."""

import asyncpg
import httpx

from tests.api.answers import refusal
from tests.api.refusals import (
    Wrong,
    all_refused,
    bad_ids,
    bad_pages,
    bodies,
    each,
    emails,
    ids,
    texts,
    urls_refused,
)  # fmt: skip
from tests.factories import World

TEXTS = [
    *texts("address", 500),
    *texts("phone", 32),
    *emails("email", nullable=True),
    *texts("city", 100),
    *texts("state", 100),
    *texts("zip_code", 32),
]
ZONES = each(
    "time_zone", "", " ", "Mars/Olympus", "localtime", "america/new_york", "+02:00", "../etc/passwd", 1, None, []
)


async def test_create(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin = await world.admin()
    good = {"name": "North"}
    cases = [
        *bodies("name"),
        *texts("name", 200, required=True),
        *TEXTS,
        *ZONES,
        Wrong({"is_active": True}, ("is_active",)),
    ]
    await all_refused(api, owner, ("POST", "/clinics"), admin.headers, good, cases)
    assert (await api.post("/clinics", json=good, headers=admin.headers)).status_code == 201


async def test_update(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, clinic = await world.admin(), await world.clinic()
    cases = [*bodies(), *texts("name", 200, required=True), *each("name", None), *TEXTS, *ZONES]
    cases += each("is_active", None, "true", 1, "", [])
    await all_refused(api, owner, ("PUT", f"/clinics/{clinic}"), admin.headers, {}, cases)
    assert (await api.put(f"/clinics/{clinic}", json={}, headers=admin.headers)).status_code == 200


async def test_no_body_at_all(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, clinic = await world.admin(), await world.clinic()
    refusal(await api.post("/clinics", headers=admin.headers), "VALIDATION_ERROR", "body")
    refusal(await api.put(f"/clinics/{clinic}", headers=admin.headers), "VALIDATION_ERROR", "body")


async def test_staff(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, clinic, member = await world.admin(), await world.clinic(), await world.user("staff")
    patient = await world.patient()
    cases = [*bodies("user_id"), *ids("user_id"), Wrong({"user_id": patient.user_id}, ("user_id",))]
    cases += [Wrong({"user_id": 999}, code="RESOURCE_NOT_FOUND")]
    good = {"user_id": member.user_id}
    await all_refused(api, owner, ("POST", f"/clinics/{clinic}/staff"), admin.headers, good, cases)
    assert (await api.post(f"/clinics/{clinic}/staff", json=good, headers=admin.headers)).status_code == 201


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers, clinic = (await world.admin()).headers, await world.clinic()
    lists = bad_pages("/clinics") | bad_pages(f"/clinics/{clinic}/doctors")
    cities = {"/clinics?city=": "city", "/clinics?city=%00": "city", f"/clinics?city={'x' * 101}": "city"}
    paths = bad_ids("/clinics/{}", "clinic_id") | bad_ids("/clinics/{}/doctors", "clinic_id")
    paths |= bad_ids("/clinics/{}/staff", "clinic_id") | {f"/clinics/{clinic}?x=1": "x"}
    await urls_refused(api, owner, headers, lists | cities | paths, "GET")
    await urls_refused(api, owner, headers, bad_ids("/clinics/{}", "clinic_id"), "PUT")
    await urls_refused(api, owner, headers, bad_ids("/clinics/{}/staff", "clinic_id"), "POST")
    await urls_refused(api, owner, headers, bad_ids(f"/clinics/{clinic}/staff/{{}}", "user_id"), "DELETE")
