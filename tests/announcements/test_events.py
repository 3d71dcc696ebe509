"""What webhooks are told of: which events, which webhooks, in which order, with what; and that nothing notifies."""

import json
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from tests.api.answers import instant
from tests.factories import Person, World, booking, soon
from tests.races.test_commit import failing_commit
from tests.webhooks.hooks import Hooks

ALL = ["appointment.booked", "appointment.cancelled", "slot.created", "slot.deleted"]
QUEUE = "SELECT webhook_id, event, subject, body, state FROM webhook_deliveries ORDER BY id"


@pytest.fixture
def hooks(owner: asyncpg.Connection, app: FastAPI) -> Hooks:
    """Makes webhooks."""
    return Hooks(owner, app)


async def queued(owner: asyncpg.Connection) -> list[tuple[int, str, str, Any]]:
    """Each delivery: the webhook, event, subject, and the data of its body."""
    found = []
    for row in await owner.fetch(QUEUE):
        body = json.loads(row["body"])
        assert body.keys() == {"type", "timestamp", "data"}
        assert body["type"] == row["event"]
        assert instant(body["timestamp"])
        assert row["state"] == "queued"
        found.append((row["webhook_id"], row["event"], row["subject"], body["data"]))
    return found


async def make_slots(api: httpx.AsyncClient, doctor: Person, count: int) -> list[dict[str, Any]]:
    """What the API answers to a list of slots, given in no order of time."""
    starts = [soon() + timedelta(hours=hour) for hour in range(72, 72 + count)]
    slot = {"doctor_id": doctor.doctor_id, "clinic_id": doctor.clinic_id}
    body = [slot | {"slot_datetime": start.isoformat()} for start in (*starts[1::2], *starts[::2])]
    made = await api.post("/slots", json=body, headers=doctor.headers)
    assert made.status_code == 201, made.text
    found: list[dict[str, Any]] = made.json()
    return found


async def test_a_booking_and_its_cancelling_as_the_api_shows_them(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, hooks: Hooks
):
    webhook = await hooks.webhook("https://8.8.8.8/", events=ALL)
    doctor, patient = await world.doctor(), await world.patient()
    body = booking(patient, doctor, await world.slot(doctor), reason_for_visit="Palpitations")
    booked = await api.post("/appointments/book", json=body, headers=patient.headers)
    one = f"/appointments/{booked.json()['id']}"
    await owner.execute("UPDATE appointments SET notes = 'Blood pressure 120/80.'")
    reason = {"cancelled_reason": "in hospital"}
    cancelled = await api.post(f"{one}/cancel", json=reason, headers=doctor.headers)
    subject = f"appointment:{booked.json()['id']}"
    hidden = {"reason_for_visit": None, "notes": None, "cancelled_reason": None}
    assert await queued(owner) == [
        (webhook, "appointment.booked", subject, booked.json() | hidden),
        (webhook, "appointment.cancelled", subject, cancelled.json() | hidden),
    ]
    assert (booked.json()["status"], cancelled.json()["status"]) == ("pending", "cancelled")
    assert (booked.json()["revision"], cancelled.json()["revision"]) == (0, 1)


async def test_slots_made_and_taken_back(api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, hooks: Hooks):
    webhook, doctor, admin = (
        await hooks.webhook("https://8.8.8.8/", events=ALL),
        await world.doctor(),
        await world.admin(),
    )
    made = await make_slots(api, doctor, 5)
    assert await queued(owner) == [(webhook, "slot.created", f"slot:{slot['id']}", slot) for slot in made]
    await owner.execute("DELETE FROM webhook_deliveries")
    path = f"/slots/{made[2]['id']}"
    assert (await api.delete(path, headers=admin.headers)).status_code == 200
    gone = (await api.get(path)).json()
    assert gone["is_active"] is False
    assert await queued(owner) == [(webhook, "slot.deleted", f"slot:{gone['id']}", gone)]
    assert (await api.delete(path, headers=admin.headers)).status_code == 404
    assert len(await queued(owner)) == 1


async def test_only_webhooks_that_are_on_and_asked_for_it(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, hooks: Hooks
):
    first = await hooks.webhook("https://8.8.8.8/", events=ALL)
    await hooks.webhook("https://8.8.8.8/", events=ALL, is_active=False)
    deleted = await hooks.webhook("https://8.8.8.8/", events=ALL)
    await hooks.set("webhooks", deleted, deleted_at="now()")
    await hooks.webhook("https://8.8.8.8/", events=["appointment.confirmed", "slot.deleted"])
    last = await hooks.webhook("https://8.8.8.8/", events=["slot.created"])
    doctor, patient = await world.doctor(), await world.patient()
    made = await make_slots(api, doctor, 2)
    told = [(webhook, slot["id"]) for slot in made for webhook in (first, last)]
    assert [(webhook, data["id"]) for webhook, _, _, data in await queued(owner)] == told
    await api.post("/appointments/book", json=booking(patient, doctor, made[0]["id"]), headers=patient.headers)
    assert [(webhook, event) for webhook, event, _, _ in await queued(owner)][4:] == [(first, "appointment.booked")]


async def test_what_was_refused_or_undone_is_no_event(
    api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, hooks: Hooks
):
    await hooks.webhook("https://8.8.8.8/", events=ALL)
    doctor, patient, admin = await world.doctor(), await world.patient(), await world.admin()
    slot, taken = await world.slot(doctor), await world.slot(doctor)
    over = await world.appointment(patient, doctor, await world.slot(doctor), status="cancelled")
    await world.appointment(await world.patient(), doctor, taken)
    overlapping = [
        {"doctor_id": doctor.doctor_id, "clinic_id": doctor.clinic_id, "slot_datetime": f"{soon().isoformat()}"}
    ] * 2
    body = booking(patient, doctor, slot)
    async with failing_commit(owner, "XX000"):
        assert (await api.post("/appointments/book", json=body, headers=patient.headers)).status_code == 500
    for method, path, sent in (
        ("POST", "/appointments/book", booking(patient, doctor, taken)),
        ("POST", f"/appointments/{over}/cancel", {}),
        ("POST", "/slots", overlapping),
        ("DELETE", f"/slots/{taken}", None),
    ):
        assert (await api.request(method, path, json=sent, headers=admin.headers)).status_code == 409
    assert await queued(owner) == []
    headers = patient.headers | {"Idempotency-Key": "once"}
    for _ in range(2):
        assert (await api.post("/appointments/book", json=body, headers=headers)).status_code == 201
    assert [event for _, event, _, _ in await queued(owner)] == ["appointment.booked"]


# Whatever runs in the database: functions, rules, views, and the calls in triggers, policies and defaults.
SOURCES = """
    SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS source FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND p.prokind IN ('f', 'p') AND NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    UNION ALL SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger
    UNION ALL SELECT rulename, pg_get_ruledef(oid) FROM pg_rewrite WHERE ev_class >= 16384
    UNION ALL SELECT adrelid::regclass::text, pg_get_expr(adbin, adrelid) FROM pg_attrdef"""


async def notifying(owner: asyncpg.Connection) -> set[str]:
    """What could notify by name; each table's triggers call one of the functions that are looked at."""
    foreign = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgfoid < 16384"
    assert await owner.fetchval(foreign) == 0
    rows = await owner.fetch(SOURCES)
    assert len(rows) > 20
    return {row["name"] for row in rows if "notify" in row["source"].lower()}


async def test_nothing_in_the_database_notifies(owner: asyncpg.Connection):
    assert await notifying(owner) == set()
    await owner.execute(
        """CREATE FUNCTION wake() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN PERFORM pg_notify('worker', ''); RETURN NULL; END $$"""
    )
    try:
        assert await notifying(owner) == {"wake()"}
    finally:
        await owner.execute("DROP FUNCTION wake")
