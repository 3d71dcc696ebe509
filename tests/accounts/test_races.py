"""Two at once: one administrator stays, and nobody is listed as a doctor who is none."""

import asyncpg
import httpx

from tests.accounts.ledger import together
from tests.factories import World

ADMINS = "SELECT count(*) FROM users WHERE role = 'admin' AND is_active"
# What an update of an account and the making of its doctor record both have to wait for.
GATE = "SELECT FROM users WHERE id = {} FOR UPDATE"


async def test_two_administrators_who_demote_each_other(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    one, other = await world.admin(), await world.admin()
    # Nobody changes an account yet: both have been recognised as administrators, and found each other to be one.
    answers = await together(
        owner,
        "LOCK TABLE users IN SHARE MODE",
        api.put(f"/users/{other.user_id}", json={"role": "patient"}, headers=one.headers),
        api.put(f"/users/{one.user_id}", json={"is_active": False}, headers=other.headers),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert await owner.fetchval(ADMINS) == 1


async def test_a_role_that_changes_while_the_doctor_record_is_made(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    admin, person, clinic = await world.admin(), await world.user("doctor"), await world.clinic()
    record = {"user_id": person.user_id, "clinic_id": clinic, "specialty": "Cardiology", "license_number": "LIC-RACE"}
    answers = await together(
        owner,
        GATE.format(person.user_id),
        api.put(f"/users/{person.user_id}", json={"role": "patient"}, headers=admin.headers),
        api.post("/doctors", json=record, headers=admin.headers),
    )
    assert sorted(answer.is_success for answer in answers) == [False, True], [answer.text for answer in answers]


async def test_a_role_that_changes_while_somebody_joins_a_clinic(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    admin, person, clinic = await world.admin(), await world.user("staff"), await world.clinic()
    await together(
        owner,
        GATE.format(person.user_id),
        api.put(f"/users/{person.user_id}", json={"role": "doctor"}, headers=admin.headers),
        api.post(f"/clinics/{clinic}/staff", json={"user_id": person.user_id}, headers=admin.headers),
    )
    wrong = "SELECT count(*) FROM clinic_staff JOIN users u ON u.id = user_id WHERE u.role <> 'staff'"
    assert await owner.fetchval(wrong) == 0
