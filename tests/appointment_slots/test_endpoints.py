"""Slots, as a caller sees them."""

from datetime import datetime, timedelta, timezone
from typing import Any

import asyncpg
import httpx

from health_services.pagination import write_cursor
from tests.api.answers import instant, next_page, read_pages, refusal, shape
from tests.factories import Person, World, soon

KEYS = {
    "id", "doctor_id", "clinic_id", "slot_datetime", "duration_minutes", "capacity", "booked_count", "available_slots",
    "is_booked", "is_active", "created_at", "updated_at",
}  # fmt: skip

# One instant for all: a test that crosses a full hour must not notice.
SOON = soon()


def offer(doctor: Person, start: datetime | None = None, **more: Any) -> dict[str, Any]:
    """The body of a new slot."""
    start = start or SOON
    return {"doctor_id": doctor.doctor_id, "clinic_id": doctor.clinic_id, "slot_datetime": start.isoformat(), **more}


async def listed(api: httpx.AsyncClient, **params: Any) -> list[int]:
    """The ids of the slots that can be booked."""
    answer = await api.get("/slots", params=params)
    assert answer.status_code == 200, answer.text
    return [slot["id"] for slot in answer.json()]


async def test_the_guides_example(api: httpx.AsyncClient, world: World):
    doctor = await world.doctor()
    sent = offer(doctor, duration_minutes=30, capacity=1)
    made = await api.post("/slots", json=sent, headers=doctor.headers)
    assert made.status_code == 201, made.text
    body = shape(made.json(), KEYS)
    assert instant(body["slot_datetime"]) == SOON
    new = {"duration_minutes": 30, "capacity": 1, "booked_count": 0, "available_slots": 1, "is_booked": False}
    assert body | new | {"is_active": True} == body
    assert (await api.get(f"/slots/{body['id']}")).json() == body
    assert (await api.get("/slots")).json() == [body]


async def test_defaults_and_bounds(api: httpx.AsyncClient, world: World):
    doctor = await world.doctor()
    plain = (await api.post("/slots", json=offer(doctor), headers=doctor.headers)).json()
    assert (plain["duration_minutes"], plain["capacity"]) == (30, 1)
    for day, size in enumerate(
        ({"duration_minutes": 5, "capacity": 1000}, {"duration_minutes": 480, "capacity": 1}), 1
    ):
        sent = offer(doctor, SOON + timedelta(days=day), **size)
        made = await api.post("/slots", json=sent, headers=doctor.headers)
        assert made.status_code == 201, made.text
        assert made.json() | size == made.json()


async def test_any_offset_is_answered_in_utc(api: httpx.AsyncClient, world: World):
    doctor, start = await world.doctor(), SOON
    offsets = (timedelta(hours=5, minutes=45), timedelta(hours=-11), timedelta(hours=14), timedelta(0))
    for day, offset in enumerate(offsets):
        local = (start + timedelta(days=day)).astimezone(timezone(offset))
        made = await api.post("/slots", json=offer(doctor, local), headers=doctor.headers)
        assert instant(made.json()["slot_datetime"]) == local
    for day, text in enumerate(("%Y-%m-%dt%H:%M:%Sz", "%Y-%m-%dT%H:%M:%S.5Z", "%Y-%m-%dT%H:%M:%S.123456789Z"), 10):
        sent = offer(doctor) | {"slot_datetime": (start + timedelta(days=day)).strftime(text)}
        made = await api.post("/slots", json=sent, headers=doctor.headers)
        assert made.status_code == 201, made.text
        assert instant(made.json()["slot_datetime"]).replace(microsecond=0) == start + timedelta(days=day)


async def test_a_slot_starts_in_the_future_at_the_doctors_own_clinic(api: httpx.AsyncClient, world: World):
    doctor, elsewhere, admin = await world.doctor(), await world.clinic(), await world.admin()
    just_gone = datetime.now(SOON.tzinfo) - timedelta(seconds=1)
    for person in (doctor, admin):
        answer = await api.post("/slots", json=offer(doctor, just_gone), headers=person.headers)
        refusal(answer, "VALIDATION_ERROR", "slot_datetime")
    answer = await api.post("/slots", json=offer(doctor) | {"clinic_id": elsewhere}, headers=admin.headers)
    refusal(answer, "VALIDATION_ERROR", "clinic_id")
    for change, field in (({"doctor_id": 999}, "doctor_id"), ({"clinic_id": 999}, "clinic_id")):
        answer = await api.post("/slots", json=offer(doctor) | change, headers=admin.headers)
        refusal(answer, "RESOURCE_NOT_FOUND", field)
    assert await listed(api) == []


async def test_slots_of_an_inactive_doctor_or_clinic_are_not_made(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    doctor, admin = await world.doctor(), await world.admin()
    for table in ("doctors", "clinics"):
        await owner.execute(f"UPDATE {table} SET is_active = false")
        refusal(await api.post("/slots", json=offer(doctor), headers=admin.headers), "CONFLICT", "doctor_id")
        await owner.execute(f"UPDATE {table} SET is_active = true")


async def test_touching_is_allowed_and_overlapping_is_not(api: httpx.AsyncClient, world: World):
    doctor, other, start = await world.doctor(), await world.doctor(), SOON
    minutes = timedelta(minutes=1)
    assert (await api.post("/slots", json=offer(doctor, start), headers=doctor.headers)).status_code == 201
    for offset, duration, code in (
        (0, 30, 409), (29, 30, 409), (-29, 30, 409), (10, 5, 409), (-10, 60, 409), (30, 30, 201), (-30, 30, 201),
        (-31, 5, 409), (60, 480, 201), (539, 5, 409), (540, 5, 201),
    ):  # fmt: skip
        body = offer(doctor, start + offset * minutes, duration_minutes=duration)
        answer = await api.post("/slots", json=body, headers=doctor.headers)
        assert answer.status_code == code, (offset, duration, answer.text)
        if code == 409:
            refusal(answer, "CONFLICT", "slot_datetime")
    assert (await api.post("/slots", json=offer(other, start), headers=other.headers)).status_code == 201


async def test_a_deleted_slot_makes_room(api: httpx.AsyncClient, world: World):
    doctor, admin = await world.doctor(), await world.admin()
    slot = (await api.post("/slots", json=offer(doctor), headers=doctor.headers)).json()["id"]
    assert (await api.delete(f"/slots/{slot}", headers=admin.headers)).status_code == 200
    assert (await api.post("/slots", json=offer(doctor), headers=doctor.headers)).status_code == 201


async def test_only_what_can_be_booked_is_listed(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    doctor, patient = await world.doctor(), await world.patient()
    free, half = await world.slot(doctor), await world.slot(doctor, capacity=2)
    full = await world.slot(doctor)
    await world.slot(doctor, is_active=False)
    await world.slot(doctor, SOON - timedelta(days=2))
    for slot in (half, full):
        await world.appointment(patient, doctor, slot)
    for table in ("doctors", "clinics"):
        idle = await world.doctor()
        await world.slot(idle)
        row = idle.doctor_id if table == "doctors" else idle.clinic_id
        await owner.execute(f"UPDATE {table} SET is_active = false WHERE id = $1", row)
    slots = (await api.get("/slots")).json()
    assert [(slot["id"], slot["available_slots"], slot["booked_count"]) for slot in slots] == [
        (free, 1, 0),
        (half, 1, 1),
    ]
    gone = shape((await api.get(f"/slots/{full}")).json(), KEYS)
    assert (gone["is_booked"], gone["available_slots"], gone["booked_count"]) == (True, 0, 1)


async def test_slots_come_by_start_then_id(api: httpx.AsyncClient, world: World):
    first, second, start = await world.doctor(), await world.doctor(), SOON
    late = await world.slot(first, start + timedelta(hours=2))
    early = await world.slot(second, start)
    same = await world.slot(first, start)
    middle = await world.slot(second, start + timedelta(hours=1))
    expected = [early, same, middle, late]
    assert await listed(api) == expected
    assert await read_pages(api, "/slots", 1) == [[slot] for slot in expected]


async def test_filters_include_both_ends(api: httpx.AsyncClient, world: World):
    doctor, other, start = await world.doctor(), await world.doctor(), SOON
    hour = timedelta(hours=1)
    slots = [await world.slot(doctor, start + n * hour) for n in range(4)]
    theirs = await world.slot(other, start + hour)
    assert await listed(api, doctor_id=doctor.doctor_id) == slots
    assert await listed(api, clinic_id=other.clinic_id) == [theirs]
    assert await listed(api, doctor_id=doctor.doctor_id, clinic_id=other.clinic_id) == []
    bounds = {"date_from": (start + hour).isoformat(), "date_to": (start + 2 * hour).isoformat()}
    assert await listed(api, **bounds) == [slots[1], theirs, slots[2]]
    second = timedelta(seconds=1)
    inside = {"date_from": (start + second).isoformat(), "date_to": (start + 3 * hour - second).isoformat()}
    assert await listed(api, **inside, doctor_id=doctor.doctor_id) == slots[1:3]
    local = (start + 3 * hour).astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    assert await listed(api, date_from=local) == [slots[3]]
    assert await listed(api, date_from=bounds["date_to"], date_to=bounds["date_from"]) == []


async def test_the_next_page_keeps_the_filter(api: httpx.AsyncClient, world: World):
    doctor, start = await world.doctor(), SOON
    slots = [await world.slot(doctor, start + timedelta(hours=n)) for n in range(5)]
    path = f"/slots?date_from={start.isoformat().replace('+', '%2B')}&doctor_id={doctor.doctor_id}"
    assert await read_pages(api, path, 2) == [slots[:2], slots[2:4], slots[4:]]
    cursor = write_cursor((start + timedelta(hours=1), slots[1]))
    assert next_page(await api.get("/slots?skip=0&limit=2")) == f"/api/v1/slots?cursor={cursor}&limit=2"


async def test_deleting(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    admin, doctor, patient = await world.admin(), await world.doctor(), await world.patient()
    slot = await world.slot(doctor)
    appointment = await world.appointment(patient, doctor, slot)
    for status in ("pending", "confirmed"):
        await owner.execute("UPDATE appointments SET status = $1", status)
        refusal(await api.delete(f"/slots/{slot}", headers=admin.headers), "CONFLICT")
        assert (await api.get(f"/slots/{slot}")).json()["is_active"] is True
    await api.post(f"/appointments/{appointment}/cancel", headers=admin.headers)
    deleted = await api.delete(f"/slots/{slot}", headers=admin.headers)
    assert (deleted.status_code, deleted.json()) == (200, {"message": "Slot deleted successfully"})
    refusal(await api.delete(f"/slots/{slot}", headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.delete("/slots/999", headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.get("/slots/999"), "RESOURCE_NOT_FOUND")
    assert (await api.get(f"/slots/{slot}")).json()["is_active"] is False
    assert await listed(api) == []
