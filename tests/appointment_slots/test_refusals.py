"""What the endpoints of slots refuse by form."""

from datetime import timedelta
from typing import Any

import asyncpg
import httpx

from tests.api.answers import digest, refusal
from tests.api.refusals import (
    INSTANTS,
    Wrong,
    all_refused,
    bad_ids,
    bad_instants,
    bad_pages,
    bodies,
    each,
    ids,
    instants,
    numbers,
    urls_refused,
)
from tests.appointment_slots.test_endpoints import SOON
from tests.factories import Person, World


def slot(doctor: Person, **more: object) -> dict[str, object]:
    return {
        "doctor_id": doctor.doctor_id,
        "clinic_id": doctor.clinic_id,
        "slot_datetime": SOON.isoformat(),
        **more,
    }


async def test_create(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, elsewhere = await world.doctor(), await world.clinic()
    good = slot(doctor)
    cases = [case for case in bodies(*good) if case.body != []]
    cases += [*ids("doctor_id"), *ids("clinic_id"), *instants("slot_datetime")]
    cases += [*numbers("duration_minutes", 5, 480), *numbers("capacity", 1, 1000)]
    cases += each(
        "slot_datetime", "2020-01-01T00:00:00Z", (SOON - timedelta(days=2)).isoformat(), "1900-01-01T00:00:00Z"
    )
    cases += [Wrong({"is_booked": True}, ("is_booked",)), Wrong({"booked_count": 1}, ("booked_count",))]
    await all_refused(api, owner, ("POST", "/slots"), doctor.headers, good, cases)
    cases = [Wrong({"clinic_id": elsewhere}, ("clinic_id",))]
    cases += [Wrong({"doctor_id": 999}, ("doctor_id",), "RESOURCE_NOT_FOUND")]
    cases += [Wrong({"clinic_id": 999}, ("clinic_id",), "RESOURCE_NOT_FOUND")]
    await all_refused(api, owner, ("POST", "/slots"), (await world.admin()).headers, good, cases)
    refusal(await api.post("/slots", headers=doctor.headers), "VALIDATION_ERROR", "body")
    assert (await api.post("/slots", json=good, headers=doctor.headers)).status_code == 201


async def test_each_error_of_a_list_names_its_place(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, admin, elsewhere = await world.doctor(), await world.admin(), await world.clinic()
    good = [slot(doctor, slot_datetime=(SOON + timedelta(hours=n)).isoformat()) for n in range(5)]
    before = await digest(owner)
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        *(({"slot_datetime": text}, "VALIDATION_ERROR") for text in (*INSTANTS, "2020-01-01T00:00:00Z", None)),
        ({"duration_minutes": 4}, "VALIDATION_ERROR"),
        ({"duration_minutes": "30"}, "VALIDATION_ERROR"),
        ({"capacity": 1001}, "VALIDATION_ERROR"),
        ({"capacity": True}, "VALIDATION_ERROR"),
        ({"doctor_id": 0}, "VALIDATION_ERROR"),
        ({"clinic_id": elsewhere}, "VALIDATION_ERROR"),
        ({"surprise": 1}, "VALIDATION_ERROR"),
        ({"doctor_id": 999}, "RESOURCE_NOT_FOUND"),
        ({"clinic_id": 999}, "RESOURCE_NOT_FOUND"),
        ({"slot_datetime": good[2]["slot_datetime"]}, "CONFLICT"),
    )
    for change, code in wrong:
        body = [*good[:3], good[3] | change, good[4]]
        answer = await api.post("/slots", json=body, headers=admin.headers)
        refusal(answer, code, f"items[3].{next(iter(change))}")
        assert await digest(owner) == before
    for answer, field in (
        (await api.post("/slots", json=[*good[:3], 5], headers=admin.headers), "items[3]"),
        (await api.post("/slots", json=[[good[0]]], headers=admin.headers), "items[0]"),
        (await api.post("/slots", json=[{}], headers=doctor.headers), None),
    ):
        fields = [f"items[0].{name}" for name in good[0]] if field is None else [field]
        refusal(answer, "VALIDATION_ERROR", *fields)
    assert await digest(owner) == before


async def test_a_list_has_1_to_500_slots(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor = await world.doctor()
    many = [
        slot(doctor, slot_datetime=(SOON + timedelta(minutes=5 * n)).isoformat(), duration_minutes=5)
        for n in range(501)
    ]
    before = await digest(owner)
    refusal(await api.post("/slots", json=[], headers=doctor.headers), "VALIDATION_ERROR", "body")
    refusal(await api.post("/slots", json=many, headers=doctor.headers), "VALIDATION_ERROR", "body")
    assert await digest(owner) == before
    made = await api.post("/slots", json=many[:500], headers=doctor.headers)
    assert made.status_code == 201
    assert len(made.json()) == 500


async def test_addresses(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    headers = (await world.admin()).headers
    cases = bad_pages("/slots") | bad_ids("/slots/{}", "slot_id") | bad_instants("/slots", "date_from", "date_to")
    cases |= bad_ids("/slots?doctor_id={}", "doctor_id") | bad_ids("/slots?clinic_id={}", "clinic_id")
    await urls_refused(api, owner, headers, cases, "GET")
    await urls_refused(api, owner, headers, bad_ids("/slots/{}", "slot_id"), "DELETE")
