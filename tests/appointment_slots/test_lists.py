"""Many slots in one request: all or none, in order."""

from datetime import timedelta

import asyncpg
import httpx

from tests.api.answers import digest, instant, refusal, shape
from tests.appointment_slots.test_endpoints import KEYS, SOON, offer
from tests.factories import World


async def test_the_answer_has_the_order_of_the_request(api: httpx.AsyncClient, world: World):
    first, second, admin = await world.doctor(), await world.doctor(), await world.admin()
    hours = [7, 2, 9, 0, 5, 4, 8, 1]
    sent = [
        offer(doctor, SOON + timedelta(hours=hour), capacity=hour + 1) for hour in hours for doctor in (first, second)
    ]
    made = await api.post("/slots", json=sent, headers=admin.headers)
    assert made.status_code == 201, made.text
    rows = [shape(row, KEYS) for row in made.json()]
    assert [row | body | {"slot_datetime": row["slot_datetime"]} for row, body in zip(rows, sent, strict=True)] == rows
    assert [instant(row["slot_datetime"]).isoformat() for row in rows] == [body["slot_datetime"] for body in sent]
    assert (await api.get(f"/slots/{rows[3]['id']}")).json() == rows[3]


async def test_a_list_of_one_is_answered_with_a_list(api: httpx.AsyncClient, world: World):
    doctor = await world.doctor()
    made = await api.post("/slots", json=[offer(doctor)], headers=doctor.headers)
    assert [set(row) for row in made.json()] == [KEYS]


async def test_slots_of_one_list_may_touch_but_not_overlap(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    doctor, other, admin = await world.doctor(), await world.doctor(), await world.admin()
    day = [offer(doctor, SOON + timedelta(minutes=30 * n)) for n in range(8)]
    before = await digest(owner)
    within = offer(doctor, SOON + timedelta(minutes=15), duration_minutes=5)
    long = offer(doctor, SOON - timedelta(minutes=60), duration_minutes=480)
    for body, places in (
        ([*day, within], [8]),
        ([within, *day], [0]),
        ([day[0], day[0]], [1]),
        ([*day[:2], long], [0, 1]),
        ([day[0], within, day[0]], [1, 2]),
    ):
        answer = await api.post("/slots", json=body, headers=admin.headers)
        refusal(answer, "CONFLICT", *(f"items[{place}].slot_datetime" for place in places))
        assert await digest(owner) == before
    both = [*day, *(body | {"doctor_id": other.doctor_id, "clinic_id": other.clinic_id} for body in day)]
    assert (await api.post("/slots", json=both, headers=admin.headers)).status_code == 201


async def test_a_list_may_not_overlap_what_is_there(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor = await world.doctor()
    await world.slot(doctor, SOON + timedelta(hours=1))
    await world.slot(doctor, SOON + timedelta(hours=3))
    await world.slot(doctor, SOON + timedelta(hours=5), is_active=False)
    day = [offer(doctor, SOON + timedelta(minutes=30 * n)) for n in range(12)]
    before = await digest(owner)
    answer = await api.post("/slots", json=day, headers=doctor.headers)
    refusal(answer, "CONFLICT", "items[2].slot_datetime", "items[6].slot_datetime")
    assert await digest(owner) == before
    free = [slot for place, slot in enumerate(day) if place not in {2, 6}]
    assert (await api.post("/slots", json=free, headers=doctor.headers)).status_code == 201


async def test_a_doctor_offers_only_his_own_slots_in_a_list(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    doctor, other = await world.doctor(), await world.doctor()
    before = await digest(owner)
    answer = await api.post("/slots", json=[offer(doctor), offer(other)], headers=doctor.headers)
    refusal(answer, "AUTHORIZATION_ERROR", "items[1].doctor_id")
    assert await digest(owner) == before


async def test_every_wrong_place_is_named_at_once(api: httpx.AsyncClient, world: World):
    doctor = await world.doctor()
    past = offer(doctor, SOON - timedelta(days=3))
    answer = await api.post("/slots", json=[past, offer(doctor), past], headers=doctor.headers)
    refusal(answer, "VALIDATION_ERROR", "items[0].slot_datetime", "items[2].slot_datetime")
    answer = await api.post("/slots", json=[{}, offer(doctor, capacity=0)], headers=doctor.headers)
    missing = [f"items[0].{name}" for name in ("doctor_id", "clinic_id", "slot_datetime")]
    refusal(answer, "VALIDATION_ERROR", *missing, "items[1].capacity")
