"""Public answers that are given again: always what the database would say, and at once after a change."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from health_services.appointment_slots.schemas import SlotRead
from health_services.main import create_app
from tests.conftest import test_settings
from tests.factories import Person, World, booking
from tests.servers import TestDatabase


async def client(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test/api/v1")


@pytest.fixture
async def two(database: TestDatabase, owner: asyncpg.Connection) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients of two processes' applications on one machine, which keep answers for a minute."""
    apps = [create_app(test_settings(database.app_url).model_copy(update={"keep_seconds": 60})) for _ in range(2)]
    async with apps[0].router.lifespan_context(apps[0]), apps[1].router.lifespan_context(apps[1]):
        clients = [await client(app) for app in apps]
        yield clients
        for one in clients:
            await one.aclose()


@pytest.fixture
async def admin(world: World) -> Person:
    return await world.user("admin")


LISTS = ("/slots", "/slots?doctor_id={doctor}", "/slots?clinic_id={clinic}", "/slots/{slot}", "/doctors", "/clinics",
         "/doctors/{doctor}", "/clinics/{clinic}", "/clinics/{clinic}/doctors")  # fmt: skip


async def all_of(clients: list[httpx.AsyncClient], **names: int) -> list[list[tuple[int, bytes]]]:
    """What each process answers to each question, twice, so that the second answer is one that was kept."""
    answers = []
    for one in clients:
        for _ in range(2):
            got = [await one.get(path.format(**names)) for path in LISTS]
        answers.append([(answer.status_code, answer.content) for answer in got])
    return answers


async def test_a_change_is_seen_at_once_in_every_process(two: list[httpx.AsyncClient], world: World, admin: Person):
    """Each way to change something public, through one process, and read through both."""
    doctor, patient = await world.doctor(), await world.patient()
    slot = await world.slot(doctor, capacity=2)
    names = {"doctor": doctor.doctor_id, "clinic": doctor.clinic_id, "slot": slot}
    later = (datetime.now(UTC) + timedelta(days=9)).isoformat()
    new_slot = {"doctor_id": doctor.doctor_id, "clinic_id": doctor.clinic_id, "slot_datetime": later}
    changes: list[tuple[str, str, Person, dict[str, object] | None]] = [
        ("POST", "/appointments/book", patient, booking(patient, doctor, slot)),
        ("POST", "/appointments/1/cancel", patient, None),
        ("POST", "/slots", admin, new_slot),
        ("PUT", f"/doctors/{doctor.doctor_id}", admin, {"specialty": "Surgery"}),
        ("PUT", "/users/me", doctor, {"name": "Her own name"}),
        ("PUT", f"/clinics/{doctor.clinic_id}", admin, {"city": "Lima"}),
        ("POST", "/clinics", admin, {"name": "New"}),
        ("PUT", f"/clinics/{doctor.clinic_id}", admin, {"is_active": False}),
        ("PUT", f"/clinics/{doctor.clinic_id}", admin, {"is_active": True}),
        ("DELETE", f"/slots/{slot}", admin, None),
        ("PUT", f"/doctors/{doctor.doctor_id}", admin, {"is_active": False}),
    ]
    new_doctor = {"user_id": (await world.user("doctor")).user_id, "clinic_id": doctor.clinic_id}
    changes.insert(0, ("POST", "/doctors", admin, new_doctor | {"specialty": "Surgery", "license_number": "new"}))
    before = await all_of(two, **names)
    for method, path, caller, body in changes:
        answer = await two[0].request(method, path, json=body, headers=caller.headers)
        assert answer.status_code < 300, (path, answer.text)
        one, other = await all_of(two, **names)
        assert one == other, path
        assert one != before[0], path
        before = [one, other]


@pytest.mark.parametrize("kind", ["doctor", "clinic"])
async def test_slots_of_who_is_not_active_are_in_no_list(
    two: list[httpx.AsyncClient], world: World, admin: Person, kind: str
):
    doctor = await world.doctor()
    await world.slot(doctor)
    assert [len((await one.get("/slots")).json()) for one in two] == [1, 1]
    path = f"/{kind}s/{getattr(doctor, f'{kind}_id')}"
    assert (await two[0].put(path, json={"is_active": False}, headers=admin.headers)).status_code == 200
    assert [(await one.get("/slots")).json() for one in two] == [[], []]


async def test_what_was_erased_is_in_no_answer(
    two: list[httpx.AsyncClient], world: World, owner: asyncpg.Connection, admin: Person
):
    """Of a doctor who does not work here any more, and was a patient too."""
    former = await world.patient()
    clinic = await world.clinic()
    doctor = await owner.fetchval(
        """INSERT INTO doctors (user_id, clinic_id, name, specialty, license_number, qualifications, is_active)
           VALUES ($1, $2, 'Ada', 'Surgery', 'L1', 'MD', false) RETURNING id""",
        former.user_id,
        clinic,
    )
    path, erasure = f"/doctors/{doctor}", f"/patients/{former.patient_id}/erase"
    assert [(await one.get(path)).json()["qualifications"] for one in two] == ["MD", "MD"]
    assert (await two[0].post(erasure, json={"reason": "asked for it"}, headers=admin.headers)).status_code == 200
    assert [(await one.get(path)).json()["qualifications"] for one in two] == [None, None]


async def test_what_is_kept_is_what_was_said(two: list[httpx.AsyncClient], world: World, owner: asyncpg.Connection):
    """Body, headers, and the ETag that a caller may know; until it is told, or a minute is over."""
    doctor = await world.doctor()
    for _ in range(3):
        await world.slot(doctor)
    first = await two[0].get("/slots?limit=2")
    await owner.execute("UPDATE appointment_slots SET is_active = false")  # behind the service's back
    second = await two[0].get("/slots?limit=2")
    assert second.content == first.content
    own = {"x-request-id", "date"}
    assert {k: v for k, v in second.headers.items() if k not in own} == {
        k: v for k, v in first.headers.items() if k not in own
    }
    known = await two[0].get("/slots?limit=2", headers={"If-None-Match": first.headers["etag"]})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (await two[0].head("/slots?limit=2")).headers["content-length"] == str(len(first.content))
    assert (await two[0].get("/slots?limit=1")).json() == []


async def test_what_a_replica_shows_is_given_to_nobody_who_may_have_changed_it(
    database: TestDatabase, world: World, owner: asyncpg.Connection
):
    """He shows who he is, and is answered from the main database, whatever others have found."""
    doctor, replica = await world.doctor(), database.app_url
    settings = {"keep_seconds": 60, "read_database_url": SecretStr(replica)}
    app = create_app(test_settings(database.app_url).model_copy(update=settings))
    async with app.router.lifespan_context(app), await client(app) as api:
        assert len((await api.get("/doctors")).json()) == 1
        await owner.execute("UPDATE doctors SET is_active = false")
        assert len((await api.get("/doctors")).json()) == 1
        assert (await api.get("/doctors", headers=doctor.headers)).json() == []
        assert (await api.get("/doctors", headers={"X-API-Key": "any"})).json() == []


async def test_a_list_ends_when_its_first_slot_begins(
    two: list[httpx.AsyncClient], world: World, monkeypatch: pytest.MonkeyPatch
):
    doctor = await world.doctor()
    start = datetime.now(UTC) + timedelta(seconds=30)
    await world.slot(doctor, start)
    assert len((await two[0].get("/slots")).json()) == 1
    monkeypatch.setattr("health_services.freshness.answers.time.time", (start + timedelta(seconds=1)).timestamp)
    app = two[0]._transport.app  # type: ignore[attr-defined]
    assert app.state.answers.get(("/api/v1/slots", b"")) is None


async def test_what_is_not_public_or_no_200_is_never_kept(two: list[httpx.AsyncClient], world: World):
    doctor = await world.doctor()
    for path in (f"/doctors/{doctor.doctor_id}/appointments", "/slots/999", "/slots?limit=0", "/slots?skip=1"):
        await two[0].get(path, headers=doctor.headers)
    app = two[0]._transport.app  # type: ignore[attr-defined]
    assert not app.state.answers._kept


async def test_each_row_is_what_the_shape_says(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection):
    """The database writes the rows of the list itself, byte for byte as the framework would."""
    doctor = await world.doctor()
    for number, microseconds in enumerate((0, 1, 120_000, 999_999)):
        start = datetime.now(UTC).replace(microsecond=microseconds) + timedelta(days=2 + number)
        await world.slot(doctor, start, capacity=3)
    await owner.execute("UPDATE appointment_slots SET created_at = date_trunc('second', created_at) WHERE id = 1")
    listed = await api.get("/slots")
    shapes = [SlotRead.model_validate(row) for row in listed.json()]
    assert len(shapes) == 4
    assert listed.content == b"[" + b",".join(shape.model_dump_json().encode() for shape in shapes) + b"]"
    for shape in shapes:
        assert (await api.get(f"/slots/{shape.id}")).content == shape.model_dump_json().encode()
