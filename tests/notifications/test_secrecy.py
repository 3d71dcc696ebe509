"""What nothing that leaves the house may say: why somebody comes, and why somebody does not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.notifications.carriers import MailCarrier, PushCarrier, SmsCarrier, Voice
from health_services.notifications.models import Channel
from health_services.notifications.sender import Carrier
from health_services.outgoing.mail import Mail
from health_services.outgoing.push import Subscription
from tests.factories import World, soon
from tests.notifications.ledger import BOOKED, CANCELLED, REMINDER, Ledger, book, prefer, vault_of_app
from tests.webhooks.hooks import Hooks

SECRET, REGRET = "a cough that nobody should know of", "a quarrel that nobody should know of"


@dataclass
class Gateways:
    """Mail, SMS and push in one, which only write down all that they are given."""

    said: list[str] = field(default_factory=list)
    public_key = ""

    async def send(self, to: Mail | str | Subscription, content: str | bytes = "", *_: object, **__: object) -> None:
        if isinstance(to, Mail):
            invitation = (to.calendar or b"").decode().replace("\r\n ", "")
            content = "\n".join([to.subject, to.text, to.html, invitation, *to.headers.values()])
        self.said.append(content if isinstance(content, str) else content.decode())

    async def close(self) -> None:
        """Nothing is open."""


CARRIERS: dict[Channel, Callable[[Any, Voice, FastAPI], Carrier]] = {
    Channel.EMAIL: lambda to, voice, app: MailCarrier(to, voice, "clinic@example.org", vault_of_app(app)),
    Channel.SMS: lambda to, voice, _: SmsCarrier(to, voice),
    Channel.PUSH: lambda to, voice, app: PushCarrier(to, voice, app.state.worker_database),
}


@pytest.mark.parametrize("channel", Channel)
async def test_no_message_says_why_somebody_comes_or_does_not(
    app: FastAPI, api: httpx.AsyncClient, world: World, owner: asyncpg.Connection, ledger: Ledger, channel: Channel
):
    patient = await world.patient(user={"mobile_no": "+15550142"})
    query = "INSERT INTO push_subscriptions (user_id, endpoint, p256dh, auth) VALUES ($1, 'https://p.example', '', '')"
    await owner.execute(query, patient.user_id)
    await prefer(api, patient, channels={key: [channel] for key in (BOOKED, REMINDER, CANCELLED)})
    doctor = await world.doctor(await world.clinic(name="Harlem Clinic"))
    appointment = await book(api, world, patient, soon() + timedelta(days=2), doctor, reason_for_visit=SECRET)
    gateways = Gateways()
    carrier = CARRIERS[channel](gateways, Voice("en", app.state.links), app)
    await ledger.make_due((await ledger.rows(lead_minutes=120))[0]["id"])
    assert await ledger.send(carrier, channel) == 2  # type: ignore[arg-type]
    why = {"cancelled_reason": REGRET}
    answer = await api.post(f"/appointments/{appointment}/cancel", json=why, headers=patient.headers)
    assert answer.status_code == 200
    assert await ledger.send(carrier, channel) == 1  # type: ignore[arg-type]

    assert len(gateways.said) == 3
    for words in gateways.said:
        assert "Harlem Clinic" in words
        assert SECRET not in words
        assert REGRET not in words
    kept = (await api.get(f"/appointments/{appointment}", headers=patient.headers)).json()
    assert (kept["reason_for_visit"], kept["cancelled_reason"]) == (SECRET, REGRET)


async def test_no_calendar_and_no_webhook_says_it(
    app: FastAPI, api: httpx.AsyncClient, world: World, owner: asyncpg.Connection
):
    await Hooks(owner, app).webhook("https://hooks.example", events=["appointment.booked", "appointment.cancelled"])
    patient, doctor = await world.patient(), await world.doctor(await world.clinic(name="Harlem Clinic"))
    appointment = await book(api, world, patient, soon() + timedelta(days=2), doctor, reason_for_visit=SECRET)
    address = (await api.post("/users/me/calendar-feed", headers=patient.headers)).json()["url"]
    shown: list[str] = []
    for _ in range(2):
        file = await api.get(f"/appointments/{appointment}/calendar.ics", headers=patient.headers)
        shown += [(await api.get(address)).text, file.text]
        why = {"cancelled_reason": REGRET}
        await api.post(f"/appointments/{appointment}/cancel", json=why, headers=patient.headers)
    told = [row["body"] for row in await owner.fetch("SELECT body FROM webhook_deliveries ORDER BY id")]

    assert [text.count("STATUS:CANCELLED") for text in shown] == [0, 0, 1, 1]
    assert len(told) == 2
    for text in shown:
        assert "Harlem Clinic" in text
    for text in (*shown, *told):
        assert SECRET not in text.replace("\r\n ", "")
        assert REGRET not in text.replace("\r\n ", "")
    kept = (await api.get(f"/appointments/{appointment}", headers=patient.headers)).json()
    assert (kept["reason_for_visit"], kept["cancelled_reason"]) == (SECRET, REGRET)
