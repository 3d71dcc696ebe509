"""What lists and searches hold for whom, and what inactive or half-made accounts and records are good for."""

from typing import Any

import asyncpg
import httpx
import pytest

from tests.access.cast import make_cast
from tests.access.test_visibility import listed
from tests.factories import Person, World, booking


async def test_each_role_finds_his_part_of_a_patients_appointments(api: httpx.AsyncClient, world: World):
    here, there, stranger = await world.doctor(), await world.doctor(), await world.doctor()
    patient, admin = await world.patient(), await world.admin()
    colleague = await world.doctor(here.clinic_id)
    first = await world.appointment(patient, here)
    second = await world.appointment(patient, there, status="cancelled")
    third = await world.appointment(patient, colleague)
    await world.appointment(patient, here, status="completed", is_active=False)
    await world.appointment(await world.patient(), here)
    expected: list[tuple[Person, set[int]]] = [
        (patient, {first, second, third}),
        (admin, {first, second, third}),
        (here, {first}),
        (there, {second}),
        (stranger, set()),
        (await world.staff(here.clinic_id), {first, third}),
        (await world.staff(there.clinic_id), {second}),
        (await world.staff(), set()),
    ]
    for person, appointments in expected:
        answer = await api.get(f"/patients/{patient.patient_id}/appointments", headers=person.headers)
        assert listed(answer) == appointments


async def test_staff_find_the_appointments_of_their_clinics(api: httpx.AsyncClient, world: World):
    here, there = await world.doctor(), await world.doctor()
    one, other = await world.patient(), await world.patient()
    first, second = await world.appointment(one, here), await world.appointment(other, there)
    await world.appointment(one, there, status="completed", is_active=False)
    staff, of_none = await world.staff(here.clinic_id), await world.user("staff")

    assert listed(await api.get("/appointments", headers=(await world.admin()).headers)) == {first, second}
    assert listed(await api.get("/appointments", headers=staff.headers)) == {first}
    assert listed(await api.get("/appointments", headers=of_none.headers)) == set()
    for query in ({"clinic_id": there.clinic_id}, {"doctor_id": there.doctor_id}, {"patient_id": other.patient_id}):
        assert listed(await api.get("/appointments", params=query, headers=staff.headers)) == set()


async def test_staff_see_a_doctors_past_at_their_clinic_only(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    doctor, patient = await world.doctor(), await world.patient()
    old, new = doctor.clinic_id, await world.clinic()
    await world.appointment(patient, doctor)
    await owner.execute("UPDATE doctors SET clinic_id = $1 WHERE id = $2", new, doctor.doctor_id)
    path = f"/doctors/{doctor.doctor_id}/appointments"
    assert listed(await api.get(path, headers=(await world.staff(new)).headers)) == set()
    assert (await api.get(path, headers=(await world.staff(old)).headers)).status_code == 403
    assert len(listed(await api.get(path, headers=doctor.headers))) == 1


async def test_the_search_finds_for_staff_whom_they_know_or_can_name(api: httpx.AsyncClient, world: World):
    doctor = await world.doctor()
    staff, admin = await world.staff(doctor.clinic_id), await world.admin()
    known = await world.patient(user={"name": "Carla Jones", "mobile_no": "+1 555 0100"})
    unknown = await world.patient(user={"name": "Carla Jonsson", "mobile_no": "+1 555 0101"})
    mistaken = await world.patient(user={"name": "Carla Johns"})
    await world.appointment(known, doctor)
    await world.appointment(mistaken, doctor, status="completed", is_active=False)
    all_three = {known.patient_id, unknown.patient_id, mistaken.patient_id}
    expected: dict[str, tuple[set[int], set[int]]] = {
        "carla": (all_three, {known.patient_id}),
        "jon": ({known.patient_id, unknown.patient_id}, {known.patient_id}),
        "jones carla": ({known.patient_id}, {known.patient_id}),
        "CARLA JONSSON": ({unknown.patient_id}, {unknown.patient_id}),
        "jonsson": ({unknown.patient_id}, set()),
        unknown.email.upper(): ({unknown.patient_id}, {unknown.patient_id}),
        unknown.email[:-1]: (set(), set()),
        "+1 555 0101": ({unknown.patient_id}, {unknown.patient_id}),
        "+1 555": (set(), set()),
        "onsson": (set(), set()),
        "%a%": (set(), set()),
        # marks are nobody's name, and no operators either
        "' | 'carla": (all_three, {known.patient_id}),
        "!jones": ({known.patient_id}, {known.patient_id}),
        "nobody | carla": (set(), set()),
        "carla <-> nobody": (set(), set()),
    }
    for query, (for_admin, for_staff) in expected.items():
        for person, wanted in ((admin, for_admin), (staff, for_staff)):
            answer = await api.post("/patients/search", json={"query": query}, headers=person.headers)
            assert listed(answer) == wanted, f"{query} {answer.text}"


async def test_a_hit_shows_no_more_than_tells_two_persons_apart(api: httpx.AsyncClient, world: World):
    await world.patient(user={"name": "Carla Jones"}, allergies="Penicillin", emergency_contact="Sister")
    answer = await api.post("/patients/search", json={"query": "carla"}, headers=(await world.admin()).headers)
    assert [set(row) for row in answer.json()] == [{"id", "name", "date_of_birth", "is_active"}]


@pytest.mark.parametrize(("table", "path"), [("doctors", "/doctors"), ("clinics", "/clinics")])
async def test_what_is_inactive_is_not_listed_but_can_be_read(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, table: str, path: str
):
    doctor, other = await world.doctor(), await world.doctor()
    await world.slot(doctor)
    gone = {"doctors": doctor.doctor_id, "clinics": doctor.clinic_id}[table]
    there = {"doctors": other.doctor_id, "clinics": other.clinic_id}[table]
    assert listed(await api.get(path)) == {gone, there}
    await owner.execute(f"UPDATE {table} SET is_active = false WHERE id = $1", gone)
    assert listed(await api.get(path)) == {there}
    assert listed(await api.get("/slots")) == set()
    answer = await api.get(f"{path}/{gone}")
    assert (answer.status_code, answer.json()["is_active"]) == (200, False)


async def test_an_inactive_account_gets_nothing_personal(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    cast = await make_cast(world)
    await owner.execute("UPDATE users SET is_active = false")
    for person in (cast.patient, cast.doctor, cast.staff, cast.admin):
        for path in ("/auth/profile", f"/patients/{cast.patient.patient_id}", "/appointments"):
            assert (await api.get(path, headers=person.headers)).status_code == 401
        body = booking(cast.patient, cast.doctor, cast.free_slot)
        assert (await api.post("/appointments/book", json=body, headers=person.headers)).status_code == 401
        assert (await api.get("/clinics", headers=person.headers)).status_code == 200


async def test_the_role_doctor_alone_has_no_doctors_right(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    cast = await make_cast(world, is_agreed=True)
    half = await world.user("doctor")
    refused = await _as_doctor(api, cast.doctor, cast.ids, cast.free_slot, half.headers)
    assert set(refused.values()) == {403}, refused
    await owner.execute("UPDATE users SET role = 'patient' WHERE id = $1", cast.doctor.user_id)
    headers = await world.sign_in(cast.doctor.user_id)  # the change of role has ended his session
    refused = await _as_doctor(api, cast.doctor, cast.ids, cast.free_slot, headers)
    assert set(refused.values()) == {403}, refused


async def _as_doctor(
    api: httpx.AsyncClient, doctor: Person, ids: dict[str, int], slot: int, headers: dict[str, str]
) -> dict[str, int]:
    """What somebody gets for each thing that only the doctor concerned may do."""
    place: dict[str, Any] = {"doctor_id": doctor.doctor_id, "clinic_id": doctor.clinic_id}
    requests: list[tuple[str, str, Any]] = [
        ("POST", "/slots", place | {"slot_datetime": "2100-01-01T10:00:00Z"}),
        ("POST", "/appointments/book", place | {"patient_id": ids["patient_id"], "slot_id": slot}),
        ("POST", f"/appointments/{ids['appointment_id']}/cancel", {}),
        ("PUT", f"/appointments/{ids['appointment_id']}", {"notes": "Rest."}),
        ("GET", f"/appointments/{ids['appointment_id']}", None),
        ("GET", f"/patients/{ids['patient_id']}", None),
        ("GET", f"/patients/{ids['patient_id']}/appointments", None),
        ("GET", f"/doctors/{doctor.doctor_id}/appointments", None),
    ]
    return {
        f"{method} {path}": (await api.request(method, path, json=body, headers=headers)).status_code
        for method, path, body in requests
    }


async def test_staff_who_are_removed_lose_their_rights_at_once(api: httpx.AsyncClient, world: World):
    cast = await make_cast(world)
    headers, admin = cast.staff.headers, cast.admin.headers
    paths = [f"/appointments/{cast.ids['appointment_id']}", f"/patients/{cast.patient.patient_id}"]
    for path in paths:
        assert (await api.get(path, headers=headers)).status_code == 200
    desk = f"/clinics/{cast.doctor.clinic_id}/staff"
    assert (await api.delete(f"{desk}/{cast.staff.user_id}", headers=admin)).status_code == 204
    for path in paths:
        assert (await api.get(path, headers=headers)).status_code == 403
    body = booking(cast.patient, cast.doctor, cast.free_slot)
    assert (await api.post("/appointments/book", json=body, headers=headers)).status_code == 403
    assert (await api.delete(f"/slots/{cast.free_slot}", headers=headers)).status_code == 403
    assert listed(await api.get("/appointments", headers=headers)) == set()
    assert (await api.post(desk, json={"user_id": cast.staff.user_id}, headers=admin)).status_code == 201
    assert (await api.get(paths[0], headers=headers)).status_code == 200
