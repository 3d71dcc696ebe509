"""The whole way of a message: booked over HTTP, sent by the real worker to real servers on this machine."""

import asyncio
import contextlib
import email
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs

import asyncpg
import httpx
import icalendar
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from standardwebhooks import Webhook

from health_services.lanes import open_worker
from health_services.worker import Worker
from tests.factories import Person, World
from tests.notifications.ledger import Ledger, book
from tests.outgoing.servers import answering, serving
from tests.outgoing.smtp_servers import Desk, smtp_server, until

SECRET_REASON = "a cough that nobody should know of"


@asynccontextmanager
async def working(app: FastAPI, **settings: Any) -> AsyncIterator[Worker]:
    """The worker as `serve` runs it, with these settings, until the block ends."""
    changed = app.state.settings.model_copy(update={"worker_poll_seconds": 0.05, **settings})
    async with open_worker(changed, None) as worker:
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await running


def at(desk: Desk) -> dict[str, Any]:
    return {"smtp_url": SecretStr(f"smtp://127.0.0.1:{desk.port}"), "mail_from": "City Health <desk@example.org>"}


def parsed(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def invitation(message: EmailMessage) -> tuple[str, Any]:
    """The METHOD of a mail's calendar part, and its one event."""
    part = next(part for part in message.walk() if part.get_content_type() == "text/calendar")
    calendar = icalendar.Calendar.from_ical(part.get_payload(decode=True))  # type: ignore[arg-type]
    (event,) = calendar.walk("VEVENT")
    assert part.get_param("method") == calendar["METHOD"]
    return str(calendar["METHOD"]), event


def everything(message: EmailMessage) -> str:
    """All that the mail says: its headers, and each part as a reader sees it, lines unfolded."""
    parts = [part.get_payload(decode=True) for part in message.walk() if not part.is_multipart()]
    return "\n".join([*map(str, message.values()), *(bytes(part).decode() for part in parts)]).replace("\r\n ", "")


@pytest.fixture
async def visit(api: httpx.AsyncClient, world: World) -> tuple[Person, int]:
    """A patient with every kind of address, and his appointment of the day after tomorrow."""
    patient = await world.patient(user={"mobile_no": "+15550142", "name": "Jane Doe"})
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(days=2)
    clinic = await world.clinic("America/New_York", name="Harlem; Clinic\\, Inc", phone="+1 212 555 0150")
    doctor = await world.doctor(clinic)
    return patient, await book(api, world, patient, start, doctor, reason_for_visit=SECRET_REASON)


async def test_a_booking_and_its_cancelling_reach_the_calendar_by_mail(
    app: FastAPI, api: httpx.AsyncClient, visit: tuple[Person, int], ledger: Ledger
):
    patient, appointment = visit
    async with smtp_server(Desk()) as desk, working(app, **at(desk)):
        await until(lambda: len(desk.arrived) == 1)
        why = {"cancelled_reason": SECRET_REASON}
        cancelled = await api.post(f"/appointments/{appointment}/cancel", json=why, headers=patient.headers)
        assert cancelled.status_code == 200
        await until(lambda: len(desk.arrived) == 2)
    booked, withdrawn = (parsed(arrived.content) for arrived in desk.arrived)
    (method, event), (second_method, second) = invitation(booked), invitation(withdrawn)
    assert (method, second_method) == ("REQUEST", "CANCEL")
    assert event["UID"] == second["UID"]
    assert (event["SEQUENCE"], second["SEQUENCE"]) == (0, 1)
    assert second["STATUS"] == "CANCELLED"
    assert event["ATTENDEE"] == f"mailto:{patient.email}"
    assert event["ORGANIZER"] == "mailto:desk@example.org"
    start = await ledger.owner.fetchval("SELECT starts_at FROM notifications WHERE starts_at IS NOT NULL LIMIT 1")
    assert event["DTSTART"].dt == second["DTSTART"].dt == start
    assert booked["To"] == patient.email
    assert booked["Auto-Submitted"] == "auto-generated"
    for message in (booked, withdrawn):
        text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
        assert text is not None
        assert html is not None
        for words in (text.get_content(), html.get_content()):
            assert "Jane Doe" in words
            assert "Eastern" in words
            assert "Cardiology" not in words
    kept = (await api.get(f"/appointments/{appointment}", headers=patient.headers)).json()
    assert (kept["reason_for_visit"], kept["cancelled_reason"]) == (SECRET_REASON, SECRET_REASON)
    for message in (booked, withdrawn):
        assert SECRET_REASON not in everything(message)
    assert [state for *_, state in await ledger.states()] == ["sent", "skipped", "skipped", "sent"]


async def test_one_click_in_a_mail_that_arrived_stops_messages_of_its_kind_without_signing_in(
    app: FastAPI, api: httpx.AsyncClient, visit: tuple[Person, int]
):
    patient, _ = visit
    async with smtp_server(Desk()) as desk, working(app, **at(desk)):
        await until(lambda: len(desk.arrived) == 1)
    booked = parsed(desk.arrived[0].content)
    link = str(booked["List-Unsubscribe"]).strip("<>")
    assert booked["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    path = link.partition("/api/v1")[2]
    assert (await api.post(path, data={"List-Unsubscribe": "One-Click"})).status_code == 200
    preferences = (await api.get("/users/me/preferences", headers=patient.headers)).json()
    assert preferences["channels"]["appointment_booked"] == []


async def test_whom_the_mail_server_refuses_gets_an_sms_and_then_is_on_the_call_list(
    app: FastAPI, api: httpx.AsyncClient, world: World, visit: tuple[Person, int], ledger: Ledger
):
    patient, appointment = visit
    admin = await world.admin()
    async with (
        smtp_server(Desk(at_recipient={patient.email: "550 nobody of that name"})) as desk,
        serving(answering(400, b'{"code": 21610}')) as gateway,
    ):
        sms_url = SecretStr(f"http://AC1:token@127.0.0.1:{gateway.port}")
        async with working(app, **at(desk), sms_url=sms_url, sms_from="+15550100"):
            await until(lambda: len(gateway.received) == 1)
        shown = await api.get(f"/appointments/{appointment}/notifications", headers=patient.headers)
        told = [(row["channel"], row["state"]) for row in shown.json() if row["kind"] == "appointment_booked"]
        assert told == [("email", "failed"), ("sms", "failed")]
    assert desk.arrived == []
    form = parse_qs(gateway.received[0].body.decode())
    assert form["To"] == ["+15550142"]
    assert form["From"] == ["+15550100"]
    assert "Harlem" in form["Body"][0]
    assert SECRET_REASON not in form["Body"][0]
    unreachable = (await api.get("/notifications/unreachable", headers=admin.headers)).json()
    assert [(row["user_id"], row["appointment_id"]) for row in unreachable] == [(patient.user_id, appointment)]
    # once somebody has put the mail server right
    (failed,) = (await api.get("/notifications?state=failed&channel=email", headers=admin.headers)).json()
    retried = await api.post(f"/notifications/{failed['id']}/retry", headers=admin.headers)
    assert retried.json()["state"] == "queued"
    async with smtp_server(Desk()) as desk, working(app, **at(desk)):
        await until(lambda: len(desk.arrived) == 1)
    assert (await ledger.row(failed["id"]))["state"] == "sent"


async def test_a_mail_server_that_hangs_delays_no_webhook_and_no_other_channel(
    app: FastAPI, api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    admin = await world.admin()
    app.state.settings = (before := app.state.settings).model_copy(update={"webhook_allow_private": True})
    async with smtp_server(Desk(stops_after_data=True)) as desk, serving(answering(204)) as receiver:
        try:
            request = {"url": f"{receiver.url}/hook", "events": ["appointment.booked"]}
            made = (await api.post("/webhooks", json=request, headers=admin.headers)).json()
        finally:
            app.state.settings = before
        patient = await world.patient()
        doctor = await world.doctor()
        appointment = await book(
            api, world, patient, datetime.now(UTC) + timedelta(days=2), doctor, reason_for_visit=SECRET_REASON
        )
        async with open_worker(
            app.state.settings.model_copy(
                update={"worker_poll_seconds": 0.05, "webhook_allow_private": True, **at(desk)}
            ),
            None,
        ) as worker:
            running = asyncio.create_task(worker.run())
            await until(lambda: len(receiver.received) == 1 and desk.is_in_data)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
    delivered = receiver.received[0]
    body = Webhook(made["secret"]).verify(delivered.body.decode(), delivered.headers)
    assert body["type"] == "appointment.booked"
    assert body["data"]["id"] == appointment
    kept = await api.get(f"/appointments/{appointment}", headers=patient.headers)
    assert kept.json()["reason_for_visit"] == SECRET_REASON
    assert json.loads(delivered.body)["data"]["reason_for_visit"] is None
    assert SECRET_REASON not in delivered.body.decode()
    # what was not answered is not marked: it goes out again when the claim has run out
    assert await owner.fetchval("SELECT state FROM notifications WHERE kind = 'appointment_booked'") == "queued"
