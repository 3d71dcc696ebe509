"""Who sees what of a person: the care relation, clinical text, notes, lists."""

from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from tests.access.cast import make_cast
from tests.factories import Person, World, booking, soon

CLINICAL: dict[str, Any] = {"blood_group": "AB-", "allergies": "Penicillin"}
HIDDEN = {"blood_group": None, "allergies": None}
NOTES = "Blood pressure 120/80."

# The appointment, the days since its slot, and the status that the doctor gets for the patient's record.
RELATIONS: dict[str, tuple[dict[str, Any], int, int]] = {
    "pending": ({"status": "pending"}, -30, 200),
    "confirmed": ({"status": "confirmed"}, -30, 200),
    "completed today": ({"status": "completed"}, 2, 200),
    "completed 364 days ago": ({"status": "completed"}, 364, 200),
    "completed 367 days ago": ({"status": "completed"}, 367, 403),
    "completed 13 months ago": ({"status": "completed"}, 396, 403),
    "cancelled": ({"status": "cancelled"}, -30, 403),
    "no-show": ({"status": "no_show"}, 2, 403),
    "pending, booked by the doctor alone": ({"status": "pending", "is_agreed": False}, -30, 403),
    "completed, booked by the doctor alone": ({"status": "completed", "is_agreed": False}, 2, 403),
    "completed, entered in error": ({"status": "completed", "is_active": False}, 2, 403),
}


def clinical(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {name: answer.json()[name] for name in CLINICAL}


def listed(answer: httpx.Response) -> set[int]:
    assert answer.status_code == 200, answer.text
    return {row["id"] for row in answer.json()}


@pytest.mark.parametrize("kind", RELATIONS)
async def test_a_doctor_reads_the_records_of_patients_in_his_care(api: httpx.AsyncClient, world: World, kind: str):
    values, days_ago, status = RELATIONS[kind]
    doctor, patient = await world.doctor(), await world.patient(**CLINICAL)
    slot = await world.slot(doctor, soon() - timedelta(days=days_ago + 1))
    await world.appointment(patient, doctor, slot, **values)

    answer = await api.get(f"/patients/{patient.patient_id}", headers=doctor.headers)
    assert answer.status_code == status
    assert (CLINICAL["allergies"] in answer.text) == (status == 200)
    colleague = await world.doctor(doctor.clinic_id)
    assert (await api.get(f"/patients/{patient.patient_id}", headers=colleague.headers)).status_code == 403


async def test_a_doctor_cannot_make_a_care_relation_alone(api: httpx.AsyncClient, world: World):
    doctor, patient = await world.doctor(), await world.patient(**CLINICAL)
    staff = await world.staff(doctor.clinic_id)
    record = f"/patients/{patient.patient_id}"

    async def book(caller: Person) -> str:
        body = booking(patient, doctor, await world.slot(doctor))
        answer = await api.post("/appointments/book", json=body, headers=caller.headers)
        assert answer.status_code == 201, answer.text
        return f"/appointments/{answer.json()['id']}/cancel"

    await book(doctor)
    assert (await api.get(record, headers=doctor.headers)).status_code == 403
    for who in (patient, staff, await world.admin()):
        cancel = await book(who)
        assert clinical(await api.get(record, headers=doctor.headers)) == CLINICAL
        await api.post(cancel, headers=who.headers)
        assert (await api.get(record, headers=doctor.headers)).status_code == 403


async def test_the_doctor_in_a_care_relation_changes_nothing(api: httpx.AsyncClient, world: World):
    cast = await make_cast(world)
    record = f"/patients/{cast.patient.patient_id}"
    for body in ({"allergies": "none"}, {"emergency_contact": "Sister"}, {}):
        assert (await api.put(record, json=body, headers=cast.doctor.headers)).status_code == 403


async def test_staff_see_and_change_no_clinical_text(api: httpx.AsyncClient, world: World):
    doctor, patient = await world.doctor(), await world.patient(**CLINICAL)
    staff = await world.staff(doctor.clinic_id)
    await world.appointment(patient, doctor)
    record = f"/patients/{patient.patient_id}"

    assert clinical(await api.get(record, headers=staff.headers)) == HIDDEN
    changed = await api.put(record, json={"emergency_contact": "Sister"}, headers=staff.headers)
    assert clinical(changed) == HIDDEN
    assert changed.json()["emergency_contact"] == "Sister"
    for body in ({"allergies": "none"}, {"blood_group": "A+"}, {"allergies": None}, {"blood_group": None}):
        refused = await api.put(record, json=body | {"emergency_contact": "Brother"}, headers=staff.headers)
        assert refused.status_code == 403

    for who in (patient, doctor, await world.admin()):
        answer = await api.get(record, headers=who.headers)
        assert clinical(answer) == CLINICAL
        assert answer.json()["emergency_contact"] == "Sister"


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"status": "pending"}, 200),
        ({"status": "cancelled"}, 200),
        ({"status": "no_show"}, 200),
        ({"status": "completed"}, 200),
        ({"status": "completed", "is_active": False}, 403),
    ],
)
async def test_staff_know_who_has_or_had_an_appointment_at_their_clinic(
    api: httpx.AsyncClient, world: World, values: dict[str, Any], status: int
):
    doctor, patient = await world.doctor(), await world.patient(**CLINICAL)
    staff, others = await world.staff(doctor.clinic_id), await world.staff()
    slot = await world.slot(doctor, soon() - timedelta(days=1000))
    await world.appointment(patient, doctor, slot, **values)
    record = f"/patients/{patient.patient_id}"
    assert (await api.get(record, headers=staff.headers)).status_code == status
    assert (await api.put(record, json={"sex": "female"}, headers=staff.headers)).status_code == status
    assert (await api.get(record, headers=others.headers)).status_code == 403


@pytest.mark.parametrize("status", ["pending", "confirmed", "cancelled", "no_show", "completed"])
async def test_notes_are_the_doctors_and_the_patients_once_completed(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, status: str
):
    cast = await make_cast(world, status=status, notes=NOTES)
    one = f"/appointments/{cast.ids['appointment_id']}"
    of_patient = f"/patients/{cast.patient.patient_id}/appointments"
    of_doctor = f"/doctors/{cast.doctor.doctor_id}/appointments"
    readers: list[tuple[Person, list[str], bool]] = [
        (cast.doctor, [one, of_patient, of_doctor], True),
        (cast.patient, [one, of_patient], status == "completed"),
        (cast.staff, [one, of_patient, of_doctor, "/appointments"], False),
        (cast.admin, [one, of_patient, of_doctor, "/appointments"], False),
    ]
    for person, paths, sees_notes in readers:
        for path in paths:
            answer = await api.get(path, headers=person.headers)
            found = answer.json() if isinstance(answer.json(), list) else [answer.json()]
            mine = [row["notes"] for row in found if row["id"] == cast.ids["appointment_id"]]
            assert mine == [NOTES if sees_notes else None], f"{path} {answer.text}"


async def test_notes_are_in_no_answer_to_a_change(api: httpx.AsyncClient, world: World):
    for column in ("patient concerned", "staff of the clinic", "administrator"):
        cast = await make_cast(world, notes=NOTES)
        person = cast.caller(column)
        assert person is not None
        answer = await api.post(f"/appointments/{cast.ids['appointment_id']}/cancel", headers=person.headers)
        assert (answer.status_code, answer.json()["notes"]) == (200, None)
    cast = await make_cast(world, status="completed", notes=NOTES)
    one = f"/appointments/{cast.ids['appointment_id']}"
    assert (await api.put(one, json={"is_active": False}, headers=cast.admin.headers)).json()["notes"] is None
    written = await api.put(one, json={"notes": "Rest."}, headers=cast.doctor.headers)
    assert written.json()["notes"] == "Rest."
    assert (await api.get(one, headers=cast.patient.headers)).json()["notes"] == "Rest."
