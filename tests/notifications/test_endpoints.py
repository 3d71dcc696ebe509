"""The ledger as administrators see it, the messages of an appointment, the call list, and trying again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from health_services.notifications.models import Channel
from health_services.notifications.repository import LEASE
from health_services.outgoing.errors import NotNow, Undeliverable
from tests.access.cast import make_cast
from tests.api.answers import next_page, read_pages, refusal, shape
from tests.api.refusals import bad_ids, bad_pages, urls_refused
from tests.factories import Person, World, booking
from tests.notifications.ledger import BOOKED, CANCELLED, REMINDER, Carrier, Ledger, book, failing

KEYS = {
    "id", "kind", "channel", "user_id", "appointment_id", "revision", "lead_minutes", "state", "due_at",
    "next_attempt_at", "attempts", "last_error", "sent_at", "created_at", "updated_at",
}  # fmt: skip
CALL_KEYS = {
    "notification_id", "kind", "user_id", "patient_id", "name", "mobile_no", "last_error", "failed_at",
    "appointment_id", "clinic_id", "clinic_name", "starts_at",
}  # fmt: skip
UNREACHABLE = "/notifications/unreachable"
GONE = Undeliverable("no such box")


def ahead(hours: float) -> datetime:
    """So many hours from now, without fractions of a second."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(hours=hours)


@pytest.fixture
async def admin(world: World) -> Person:
    return await world.admin()


async def call_list(api: httpx.AsyncClient, person: Person) -> list[dict[str, Any]]:
    answer = await api.get(UNREACHABLE, headers=person.headers)
    assert answer.status_code == 200, answer.text
    for row in answer.json():
        assert row.keys() == CALL_KEYS
    found: list[dict[str, Any]] = answer.json()
    return found


async def test_a_message_as_it_is_shown(api: httpx.AsyncClient, world: World, ledger: Ledger, admin: Person):
    patient, start = await world.patient(user={"name": "Carla Jones", "mobile_no": "+1 555 0199"}), ahead(72)
    appointment = await book(api, world, patient, start)
    answer = await api.get("/notifications", headers=admin.headers)
    told, reminder, _ = (shape(row, KEYS) for row in answer.json())
    assert (told["kind"], told["channel"], told["state"]) == (BOOKED, "email", "queued")
    assert (told["user_id"], told["appointment_id"]) == (patient.user_id, appointment)
    assert (told["attempts"], told["last_error"], told["sent_at"], told["lead_minutes"]) == (0, None, None, None)
    assert (reminder["kind"], reminder["lead_minutes"], reminder["revision"]) == (REMINDER, 1440, 0)
    assert datetime.fromisoformat(reminder["due_at"]) == start - timedelta(days=1)
    assert not any(secret in answer.text for secret in ("Carla", "555", patient.email))
    await ledger.send(Carrier())
    sent = (await api.get("/notifications", headers=admin.headers)).json()[0]
    assert (sent["state"], sent["attempts"], sent["sent_at"] is None) == ("sent", 1, False)


async def test_filters_and_pages(api: httpx.AsyncClient, world: World, ledger: Ledger, admin: Person):
    for _ in range(2):
        await book(api, world, await world.patient(), ahead(72))
    rows = await ledger.rows()
    await ledger.set(rows[0]["id"], state="'failed'")
    await ledger.set(rows[1]["id"], state="'sent'")
    await ledger.set(rows[2]["id"], channel="'sms'", state="'skipped'")
    ids = [row["id"] for row in rows]
    assert await read_pages(api, "/notifications", 4, headers=admin.headers) == [ids[:4], ids[4:]]
    for query, places in (
        ("state=failed", [0]),
        ("state=sent", [1]),
        ("state=skipped", [2]),
        ("state=queued", [3, 4, 5]),
        (f"kind={BOOKED}", [0, 3]),
        ("kind=security_notice", []),
        ("channel=sms", [2]),
        (f"state=queued&kind={REMINDER}&channel=email", [4, 5]),
        (f"state=queued&kind={REMINDER}&channel=sms", []),
    ):
        found = await read_pages(api, f"/notifications?{query}", 2, headers=admin.headers)
        assert [number for page in found for number in page] == [ids[place] for place in places], query


async def test_the_messages_of_an_appointment(api: httpx.AsyncClient, world: World, ledger: Ledger):
    doctor, patient = await world.doctor(), await world.patient()
    staff, admin = await world.staff(doctor.clinic_id), await world.admin()
    appointment = await book(api, world, patient, ahead(72), doctor)
    await book(api, world, patient, ahead(96), doctor)
    path = f"/appointments/{appointment}/notifications"
    await api.post(f"/appointments/{appointment}/cancel", headers=doctor.headers)
    expected = [(BOOKED, "skipped"), (REMINDER, "skipped"), (REMINDER, "skipped"), (CANCELLED, "queued")]
    for person in (patient, doctor, staff, admin):
        answer = await api.get(path, headers=person.headers)
        assert [(shape(row, KEYS)["kind"], row["state"]) for row in answer.json()] == expected
    ids = [row["id"] for row in await ledger.rows(appointment_id=appointment)]
    assert await read_pages(api, path, 3, headers=patient.headers) == [ids[:3], ids[3:]]
    for person in (await world.patient(), await world.doctor(doctor.clinic_id), await world.staff()):
        refusal(await api.get(path, headers=person.headers), "AUTHORIZATION_ERROR")
    refusal(await api.get("/appointments/999/notifications", headers=admin.headers), "RESOURCE_NOT_FOUND")


async def test_who_has_no_address_is_to_be_called_at_once(api: httpx.AsyncClient, world: World, ledger: Ledger):
    doctor = await world.doctor()
    patient = await world.patient(user={"name": "Grace Okafor", "email": None, "password_hash": None})
    staff, start = await world.staff(doctor.clinic_id), ahead(1.5)
    body = booking(patient, doctor, await world.slot(doctor, start))
    booked = await api.post("/appointments/book", json=body, headers=staff.headers)
    (row,) = await call_list(api, staff)
    name = await ledger.owner.fetchval("SELECT name FROM clinics WHERE id = $1", doctor.clinic_id)
    assert row.pop("failed_at")
    assert row == {
        "notification_id": 1,
        "kind": BOOKED,
        "user_id": patient.user_id,
        "patient_id": patient.patient_id,
        "name": "Grace Okafor",
        "mobile_no": None,
        "last_error": "no address",
        "appointment_id": booked.json()["id"],
        "clinic_id": doctor.clinic_id,
        "clinic_name": name,
        "starts_at": start.isoformat().replace("+00:00", "Z"),
    }
    assert (await ledger.row(1))["state"] == "failed"


async def test_whom_each_may_call(api: httpx.AsyncClient, world: World, ledger: Ledger, admin: Person):
    here, there = await world.doctor(), await world.doctor()
    at_both = await world.staff(here.clinic_id)
    await ledger.owner.execute("INSERT INTO clinic_staff VALUES ($1, $2)", there.clinic_id, at_both.user_id)
    patients = {doctor.doctor_id: await world.patient(user={"mobile_no": "12"}) for doctor in (here, there)}
    for doctor in (here, there):
        await book(api, world, patients[doctor.doctor_id], ahead(1.5), doctor)
    # what is about no appointment is the administrators' alone
    await ledger.owner.execute(
        """INSERT INTO notifications (kind, channel, user_id, subject, state, due_at, next_attempt_at,
                                      is_unreachable)
           VALUES ('security_notice', 'email', $1, 'x', 'failed', now(), now(), true)""",
        here.user_id,
    )
    assert [row["user_id"] for row in await call_list(api, admin)] == [here.user_id]
    await ledger.send(failing(GONE))
    await ledger.send(failing(GONE), Channel.SMS)
    first, second = patients[here.doctor_id].user_id, patients[there.doctor_id].user_id
    for person, users in (
        # what has no end is the least urgent
        (admin, [first, second, here.user_id]),
        (at_both, [first, second]),
        (await world.staff(here.clinic_id), [first]),
        (await world.staff(there.clinic_id), [second]),
        (await world.staff(), []),
    ):
        assert [row["user_id"] for row in await call_list(api, person)] == users
    for person in (patients[here.doctor_id], here):
        refusal(await api.get(UNREACHABLE, headers=person.headers), "AUTHORIZATION_ERROR")
    first_page = await api.get(f"{UNREACHABLE}?limit=2", headers=admin.headers)
    assert len(first_page.json()) == 2
    second_page = await api.get((next_page(first_page) or "").removeprefix("/api/v1"), headers=admin.headers)
    assert [row["user_id"] for row in second_page.json()] == [here.user_id]


async def test_who_was_reached_after_all_or_whose_visit_began_is_not_called(
    api: httpx.AsyncClient, world: World, ledger: Ledger, admin: Person
):
    for _ in range(2):
        await book(api, world, await world.patient(), ahead(1.5))
    await ledger.send(failing(GONE))
    reached, over = (row["notification_id"] for row in await call_list(api, admin))
    await api.post(f"/notifications/{reached}/retry", headers=admin.headers)
    await ledger.send(Carrier())
    assert [row["notification_id"] for row in await call_list(api, admin)] == [over]
    await ledger.set(over, expires_at="now()")
    assert await call_list(api, admin) == []
    assert (await ledger.row(over))["is_unreachable"] is True


async def test_of_a_visit_that_was_cancelled_only_that_is_to_be_told(
    api: httpx.AsyncClient, world: World, ledger: Ledger, admin: Person
):
    patient = await world.patient(user={"email": None, "password_hash": None})
    appointment = await book(api, world, patient, ahead(72))
    assert [row["kind"] for row in await call_list(api, admin)] == [BOOKED]
    await api.post(f"/appointments/{appointment}/cancel", headers=admin.headers)
    assert [row["kind"] for row in await call_list(api, admin)] == [CANCELLED]


async def test_trying_again(api: httpx.AsyncClient, world: World, ledger: Ledger, admin: Person):
    await book(api, world, await world.patient(), ahead(1.5))
    await ledger.send(failing(GONE))
    (message,) = await ledger.rows()
    path = f"/notifications/{message['id']}/retry"
    answer = await api.post(path, headers=admin.headers)
    again = shape(answer.json(), KEYS)
    assert (again["id"], again["state"], again["attempts"]) == (message["id"], "queued", 0)
    refusal(await api.post(path, headers=admin.headers), "CONFLICT")
    await ledger.send(failing(GONE))
    assert [row["notification_id"] for row in await call_list(api, admin)] == [message["id"]]
    await api.post(path, headers=admin.headers)
    carrier = Carrier()
    await ledger.send(carrier)
    assert carrier.sent() == [(BOOKED, None)]
    assert "sent" in refusal(await api.post(path, headers=admin.headers), "CONFLICT")["detail"]


async def test_a_reminder_that_is_tried_again_still_waits_for_its_time(
    api: httpx.AsyncClient, world: World, ledger: Ledger, admin: Person
):
    await book(api, world, await world.patient(), ahead(72))
    (reminder, _) = await ledger.rows(kind=REMINDER)
    await ledger.set(reminder["id"], state="'failed'")
    assert (await api.post(f"/notifications/{reminder['id']}/retry", headers=admin.headers)).status_code == 200
    carrier = Carrier()
    await ledger.send(carrier)
    assert carrier.sent() == [(BOOKED, None)]
    assert [row["next_attempt_at"] - row["due_at"] for row in await ledger.rows(kind=REMINDER)] == [timedelta()] * 2


async def test_what_waits_for_its_next_attempt_can_be_hurried(
    api: httpx.AsyncClient, world: World, ledger: Ledger, admin: Person
):
    """But not before an attempt that may be under way has ended: it would come twice."""
    await book(api, world, await world.patient(), ahead(72))
    (told,) = await ledger.rows(kind=BOOKED)
    path = f"/notifications/{told['id']}/retry"
    await ledger.send(failing(NotNow("busy")))
    await ledger.set(told["id"], next_attempt_at="now() + interval '4 hours'")
    again = shape((await api.post(path, headers=admin.headers)).json(), KEYS)
    assert (again["state"], again["attempts"], again["last_error"]) == ("queued", 1, "busy")
    waiting = (await ledger.row(told["id"]))["next_attempt_at"] - datetime.now(UTC)
    assert timedelta(minutes=1) < waiting <= LEASE
    await ledger.set(told["id"], next_attempt_at="now()")
    assert (await api.post(path, headers=admin.headers)).status_code == 200
    assert await ledger.send(Carrier()) == 1


async def test_what_cannot_be_tried_again(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger, admin: Person
):
    await book(api, world, await world.patient(), ahead(72))
    queued, skipped, late = await ledger.rows()
    await ledger.set(skipped["id"], state="'skipped'")
    await ledger.set(late["id"], state="'failed'", expires_at="now()")
    cast = await make_cast(world)
    before = await ledger.rows()
    for row in (queued, skipped, late):
        refusal(await api.post(f"/notifications/{row['id']}/retry", headers=admin.headers), "CONFLICT")
    refusal(await api.post("/notifications/999/retry", headers=admin.headers), "RESOURCE_NOT_FOUND")
    for person in (cast.patient, cast.doctor, cast.staff):
        for method, path in (("GET", "/notifications"), ("POST", f"/notifications/{late['id']}/retry")):
            refusal(await api.request(method, path, headers=person.headers), "AUTHORIZATION_ERROR")
    assert await ledger.rows() == before


async def test_addresses_that_are_refused(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, admin: Person
):
    await urls_refused(api, owner, admin.headers, bad_ids("/notifications/{}/retry", "notification_id"), "POST")
    await urls_refused(api, owner, admin.headers, bad_ids("/appointments/{}/notifications", "appointment_id"), "GET")
    wrong = {f"/notifications?{name}=none": name for name in ("state", "kind", "channel", "user_id")}
    wrong |= {"/notifications?state=sent&state=sent": "state", "/notifications?state=": "state"}
    for cases in (
        wrong,
        bad_pages("/notifications"),
        bad_pages(UNREACHABLE),
        bad_pages("/appointments/1/notifications"),
    ):
        await urls_refused(api, owner, admin.headers, cases, "GET")
