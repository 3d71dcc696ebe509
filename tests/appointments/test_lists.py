"""Lists of appointments: what is in them, in which order, and how they are narrowed."""

from datetime import timedelta
from typing import Any

import asyncpg
import httpx

from tests.api.answers import read_pages, refusal, shape
from tests.appointments.test_endpoints import KEYS
from tests.factories import Person, World, soon


async def ids(api: httpx.AsyncClient, path: str, person: Person, **params: Any) -> list[int]:
    """The ids of a list, in its order."""
    answer = await api.get(path, params=params, headers=person.headers)
    assert answer.status_code == 200, answer.text
    return [shape(row, KEYS)["id"] for row in answer.json()]


async def test_everything_by_id_in_pages(api: httpx.AsyncClient, world: World):
    doctor, patient, admin = await world.doctor(), await world.patient(), await world.admin()
    start = soon()
    slots = [await world.slot(doctor, start + timedelta(hours=n)) for n in (4, 0, 3, 1, 2)]
    made = [await world.appointment(patient, doctor, slot) for slot in slots]
    pages = [made[:2], made[2:4], made[4:]]
    for path, person in (
        ("/appointments", admin),
        (f"/appointments?status=pending&doctor_id={doctor.doctor_id}", admin),
        (f"/doctors/{doctor.doctor_id}/appointments", doctor),
        (f"/patients/{patient.patient_id}/appointments", patient),
    ):
        assert await read_pages(api, path, 2, headers=person.headers) == pages, path
        assert await ids(api, path, person) == made


async def test_filters(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    first, second, admin = await world.doctor(), await world.doctor(), await world.admin()
    ann, bob, start = await world.patient(), await world.patient(), soon()
    statuses = ("pending", "confirmed", "cancelled", "completed", "no_show")
    made = {}
    for n, status in enumerate(statuses):
        slot = await world.slot(first, start + timedelta(hours=n))
        made[status] = await world.appointment(ann, first, slot, status=status)
    theirs = await world.appointment(bob, second, await world.slot(second, start + timedelta(hours=1)))

    every = [*made.values(), theirs]
    mine = f"/doctors/{first.doctor_id}/appointments"
    assert await ids(api, "/appointments", admin) == every
    for status in statuses:
        found = [made[status], *([theirs] if status == "pending" else [])]
        assert await ids(api, "/appointments", admin, status=status) == found
        assert await ids(api, mine, first, status=status) == [made[status]]
    assert await ids(api, "/appointments", admin, doctor_id=second.doctor_id) == [theirs]
    assert await ids(api, "/appointments", admin, clinic_id=second.clinic_id) == [theirs]
    assert await ids(api, "/appointments", admin, patient_id=bob.patient_id) == [theirs]
    assert await ids(api, "/appointments", admin, patient_id=bob.patient_id, doctor_id=first.doctor_id) == []
    assert await ids(api, mine, first, patient_id=bob.patient_id) == []
    assert await ids(api, mine, first, clinic_id=second.clinic_id) == []
    bounds = {
        "date_from": (start + timedelta(hours=1)).isoformat(),
        "date_to": (start + timedelta(hours=3)).isoformat(),
    }
    inside = [made[status] for status in statuses[1:4]]
    assert await ids(api, "/appointments", admin, **bounds) == [*inside, theirs]
    assert await ids(api, mine, first, **bounds) == inside
    assert await ids(api, mine, first, **bounds, status="cancelled") == [made["cancelled"]]


async def test_staff_read_those_of_their_clinics(api: httpx.AsyncClient, world: World):
    here, there, patient = await world.doctor(), await world.doctor(), await world.patient()
    staff = await world.staff(here.clinic_id)
    mine, other = await world.appointment(patient, here), await world.appointment(patient, there)
    assert await ids(api, "/appointments", staff) == [mine]
    assert await ids(api, "/appointments", staff, clinic_id=there.clinic_id) == []
    assert await ids(api, f"/patients/{patient.patient_id}/appointments", staff) == [mine]
    assert await ids(api, f"/doctors/{here.doctor_id}/appointments", staff) == [mine]
    assert await ids(api, f"/patients/{patient.patient_id}/appointments", patient) == [mine, other]
    assert await ids(api, f"/patients/{patient.patient_id}/appointments", there) == [other]


async def test_notes_stay_with_the_doctor_in_lists_too(api: httpx.AsyncClient, world: World):
    doctor, patient, admin = await world.doctor(), await world.patient(), await world.admin()
    await world.appointment(patient, doctor, notes="secret")
    for path, person, notes in (
        ("/appointments", admin, None),
        (f"/doctors/{doctor.doctor_id}/appointments", doctor, "secret"),
        (f"/patients/{patient.patient_id}/appointments", patient, None),
        (f"/patients/{patient.patient_id}/appointments", doctor, "secret"),
    ):
        assert [row["notes"] for row in (await api.get(path, headers=person.headers)).json()] == [notes]


async def test_lists_of_nobody(api: httpx.AsyncClient, world: World):
    admin, doctor, patient = await world.admin(), await world.doctor(), await world.patient()
    for path in ("/patients/999/appointments", "/doctors/999/appointments"):
        refusal(await api.get(path, headers=admin.headers), "RESOURCE_NOT_FOUND")
    assert await ids(api, "/appointments", admin) == []
    assert await ids(api, f"/doctors/{doctor.doctor_id}/appointments", doctor) == []
    assert await ids(api, f"/patients/{patient.patient_id}/appointments", patient) == []
    assert await ids(api, "/appointments", admin, patient_id=999) == []
