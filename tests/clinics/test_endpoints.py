"""Clinics, as a caller sees them."""

import asyncio

import httpx
import pytest

from health_services.pagination import write_cursor
from tests.api.answers import instant, next_page, read_pages, refusal, shape
from tests.factories import World

KEYS = {
    "id", "name", "address", "phone", "email", "city", "state", "zip_code", "time_zone", "is_active", "created_at",
    "updated_at",
}  # fmt: skip
GUIDE = {
    "name": "City Health Center",
    "address": "123 Main St",
    "phone": "9876543210",
    "email": "info@cityhealthcenter.com",
    "city": "New York",
    "state": "NY",
    "zip_code": "10001",
}
TEXTS = (
    "Praxis am Zoo \U0001f981\U0001f3fd",
    "\u05de\u05e8\u05e4\u05d0\u05d4 \u05e8\u05d0\u05e9\u05d9\u05ea",
    "\u0639\u064a\u0627\u062f\u0629 (A&B) <b>\"'\\",
    "\u91cc\u300d%_\u200d",
)


async def test_the_guides_example(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    made = await api.post("/clinics", json=GUIDE, headers=admin.headers)
    assert made.status_code == 201
    body = shape(made.json(), KEYS)
    assert body | GUIDE == body
    assert (body["time_zone"], body["is_active"]) == ("UTC", True)
    read = await api.get(f"/clinics/{body['id']}")
    assert (read.status_code, read.json()) == (200, body)
    assert (await api.get("/clinics")).json() == [body]


async def test_only_the_name_is_required(api: httpx.AsyncClient, world: World):
    made = await api.post("/clinics", json={"name": "  North \t"}, headers=(await world.admin()).headers)
    body = shape(made.json(), KEYS)
    assert body["name"] == "North"
    assert all(body[field] is None for field in ("address", "phone", "email", "city", "state", "zip_code"))


async def test_longest_fields_and_every_script_come_back_unchanged(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    longest = {"name": 200, "address": 500, "phone": 32, "city": 100, "state": 100, "zip_code": 32}
    for sent in (
        {field: "\U0001f600" * length for field, length in longest.items()},
        *({"name": text, "city": text, "address": text} for text in TEXTS),
        {"name": "x", "email": "first.last+tag@sub.example.org", "time_zone": "Australia/Lord_Howe"},
    ):
        made = await api.post("/clinics", json=sent, headers=admin.headers)
        assert made.status_code == 201, made.text
        assert made.json() | sent == made.json()
        assert (await api.get(f"/clinics/{made.json()['id']}")).json() == made.json()
    for text in TEXTS:
        assert [c["city"] for c in (await api.get("/clinics", params={"city": text})).json()] == [text]


async def test_blank_optional_texts_are_null(api: httpx.AsyncClient, world: World):
    blank = dict.fromkeys(("address", "phone", "email", "city", "state", "zip_code"), " \u00a0 ")
    made = await api.post("/clinics", json={"name": "x"} | blank, headers=(await world.admin()).headers)
    assert made.status_code == 201, made.text
    assert {made.json()[field] for field in blank} == {None}


async def test_an_update_changes_only_what_is_sent(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    made = (await api.post("/clinics", json=GUIDE, headers=admin.headers)).json()
    path = f"/clinics/{made['id']}"
    assert (await api.put(path, json={}, headers=admin.headers)).json() == made
    changed = await api.put(path, json={"phone": "1", "address": None}, headers=admin.headers)
    assert changed.status_code == 200
    body = shape(changed.json(), KEYS)
    assert instant(body["updated_at"]) > instant(made["updated_at"])
    assert body == made | {"phone": "1", "address": None, "updated_at": body["updated_at"]}
    assert (await api.get(path)).json() == body
    for field in ("name", "time_zone", "is_active"):
        refusal(await api.put(path, json={field: None}, headers=admin.headers), "VALIDATION_ERROR", field)
    cleared = dict.fromkeys(("phone", "email", "city", "state", "zip_code"))
    assert (await api.put(path, json=cleared, headers=admin.headers)).json() | cleared == body | cleared | {
        "updated_at": (await api.get(path)).json()["updated_at"]
    }


async def test_an_inactive_clinic_is_not_listed_but_answers_by_id(api: httpx.AsyncClient, world: World):
    admin, clinic, other = await world.admin(), await world.clinic(), await world.clinic()
    gone = await api.put(f"/clinics/{clinic}", json={"is_active": False}, headers=admin.headers)
    assert gone.json()["is_active"] is False
    assert [c["id"] for c in (await api.get("/clinics")).json()] == [other]
    assert (await api.get(f"/clinics/{clinic}")).json()["is_active"] is False
    await api.put(f"/clinics/{clinic}", json={"is_active": True}, headers=admin.headers)
    assert len((await api.get("/clinics")).json()) == 2


@pytest.mark.parametrize("asked", ["new york", "NEW YORK", " New York "])
async def test_the_city_is_found_without_regard_to_case(api: httpx.AsyncClient, world: World, asked: str):
    clinic = await world.clinic(city="New York")
    await world.clinic(city="New Yorkshire")
    await world.clinic(city=None)
    assert [c["id"] for c in (await api.get("/clinics", params={"city": asked})).json()] == [clinic]


async def test_case_is_that_of_every_alphabet(api: httpx.AsyncClient, world: World):
    cities = {
        "Z\u00fcrich": "Z\u00dcRICH",
        "\u0141\u00f3d\u017a": "\u0142\u00f3d\u017a",
        "\u041c\u043e\u0441\u043a\u0432\u0430": "\u041c\u041e\u0421\u041a\u0412\u0410",
    }
    for city, asked in cities.items():
        clinic = await world.clinic(city=city)
        assert [c["id"] for c in (await api.get("/clinics", params={"city": asked})).json()] == [clinic], city


async def test_a_percent_sign_is_no_wildcard(api: httpx.AsyncClient, world: World):
    await world.clinic(city="Bath")
    assert (await api.get("/clinics", params={"city": "%"})).json() == []
    assert (await api.get("/clinics", params={"city": "B_th"})).json() == []


async def test_pages_by_id(api: httpx.AsyncClient, world: World):
    made = [await world.clinic(city="A & B") for _ in range(5)]
    assert await read_pages(api, "/clinics", 2) == [made[:2], made[2:4], made[4:]]
    assert await read_pages(api, "/clinics?city=a+%26+b", 2) == [made[:2], made[2:4], made[4:]]
    assert await read_pages(api, "/clinics", 5) == [made]
    answer = await api.get("/clinics?skip=1&limit=3")
    assert [c["id"] for c in answer.json()] == made[1:4]
    assert next_page(answer) == f"/api/v1/clinics?cursor={write_cursor((made[3],))}&limit=3"
    assert (await api.get("/clinics?skip=5")).json() == []


async def test_a_page_has_100_at_most_and_by_default(api: httpx.AsyncClient, world: World):
    for _ in range(101):
        await world.clinic()
    first = await api.get("/clinics")
    assert len(first.json()) == 100
    assert next_page(first) == f"/api/v1/clinics?cursor={write_cursor((100,))}&limit=100"
    assert len((await api.get("/clinics?limit=100")).json()) == 100
    assert await read_pages(api, "/clinics", 100) == [list(range(1, 101)), [101]]


async def test_the_zone_is_fixed_while_appointments_are_to_come(api: httpx.AsyncClient, world: World):
    admin, doctor, patient = await world.admin(), await world.doctor(), await world.patient()
    path, zone = f"/clinics/{doctor.clinic_id}", {"time_zone": "Asia/Tokyo"}
    appointment = await world.appointment(patient, doctor)
    refusal(await api.put(path, json=zone, headers=admin.headers), "CONFLICT")
    assert (await api.get(path)).json()["time_zone"] == "UTC"
    assert (await api.put(path, json={"time_zone": "UTC", "city": "Bath"}, headers=admin.headers)).status_code == 200
    await api.post(f"/appointments/{appointment}/cancel", headers=admin.headers)
    changed = await api.put(path, json=zone, headers=admin.headers)
    assert changed.json()["time_zone"] == "Asia/Tokyo"


async def test_unknown_clinics(api: httpx.AsyncClient, world: World):
    admin = await world.admin()
    for path in ("/clinics/999", "/clinics/999/doctors", "/clinics/999/staff", f"/clinics/{2**63 - 1}"):
        refusal(await api.get(path, headers=admin.headers), "RESOURCE_NOT_FOUND")
    refusal(await api.put("/clinics/999", json={}, headers=admin.headers), "RESOURCE_NOT_FOUND")


async def test_staff_come_and_go(api: httpx.AsyncClient, world: World):
    admin, clinic = await world.admin(), await world.clinic()
    first, second = await world.user("staff", name="Zoe"), await world.user("staff", name="Abe")
    path = f"/clinics/{clinic}/staff"
    for member in (second, first):
        made = await api.post(path, json={"user_id": member.user_id}, headers=admin.headers)
        assert made.status_code == 201
        shape(made.json(), {"user_id", "name", "created_at"})
    listed = (await api.get(path, headers=admin.headers)).json()
    assert [member["name"] for member in listed] == ["Zoe", "Abe"]
    refusal(await api.post(path, json={"user_id": first.user_id}, headers=admin.headers), "CONFLICT")
    gone = await api.delete(f"{path}/{first.user_id}", headers=admin.headers)
    assert (gone.status_code, gone.content) == (204, b"")
    refusal(await api.delete(f"{path}/{first.user_id}", headers=admin.headers), "RESOURCE_NOT_FOUND")
    assert len((await api.get(path, headers=admin.headers)).json()) == 1


async def test_somebody_added_many_times_at_once_is_added_once(api: httpx.AsyncClient, world: World):
    admin, clinic, member = await world.admin(), await world.clinic(), await world.user("staff")
    path, body = f"/clinics/{clinic}/staff", {"user_id": member.user_id}
    answers = await asyncio.gather(*(api.post(path, json=body, headers=admin.headers) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 11
