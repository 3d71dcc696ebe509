"""The link in a mail: what it asks, what it stops, and that nobody can make one."""

import asyncio
import base64
import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
import structlog
from fastapi import FastAPI

from health_services.api import middleware
from health_services.languages.locales import LOCALES
from health_services.notifications.carriers import MailCarrier, Voice
from health_services.notifications.models import SECURITY_KINDS, Kind
from health_services.notifications.unsubscribing import UnsubscribeLinks
from health_services.outgoing.mail import Mail
from tests.api.answers import digest, refusal
from tests.factories import Person, World, soon
from tests.notifications.ledger import BOOKED, REMINDER, Carrier, Ledger, book, prefer, vault_of_app

FORM: dict[str, Any] = {
    "content": b"List-Unsubscribe=One-Click",
    "headers": {"Content-Type": "application/x-www-form-urlencoded"},
}
MULTIPART: dict[str, Any] = {"files": {"List-Unsubscribe": (None, "One-Click")}}


def path_of(app: FastAPI, person: Person, kind: str = REMINDER) -> str:
    """The link's path below /api/v1."""
    url = app.state.links.url(person.user_id, Kind(kind))
    assert url.startswith("http://localhost:8000/api/v1/unsubscribe/")
    return str(url.removeprefix("http://localhost:8000/api/v1"))


async def channels(api: httpx.AsyncClient, person: Person) -> dict[str, list[str]]:
    answer = await api.get("/users/me/preferences", headers=person.headers)
    found: dict[str, list[str]] = answer.json()["channels"]
    return found


class Mailbox:
    """A mailer that keeps what it is given."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    async def send(self, mail: Mail) -> None:
        self.mails.append(mail)

    async def close(self) -> None:
        """Nothing is open."""


async def test_the_link_of_a_mail_works(api: httpx.AsyncClient, world: World, app: FastAPI, owner: asyncpg.Connection):
    patient, mailbox, ledger = await world.patient(), Mailbox(), Ledger(owner, app)
    await book(api, world, patient, soon() + timedelta(days=2))
    await ledger.make_due((await ledger.rows(lead_minutes=120))[0]["id"])
    voice = Voice("en", app.state.links)
    await ledger.send(MailCarrier(mailbox, voice, "clinic@example.org", vault_of_app(app)))  # type: ignore[arg-type]
    assert len(mailbox.mails) == 2
    for mail in mailbox.mails:
        assert mail.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        url = mail.headers["List-Unsubscribe"].strip("<>")
        assert url in mail.text
        assert url in mail.html
        assert (await api.post(url.partition("/api/v1")[2], **FORM)).status_code == 200
    left = await channels(api, patient)
    assert {kind for kind, names in left.items() if names == []} == {BOOKED, REMINDER}


async def test_the_page_asks_and_changes_nothing(
    api: httpx.AsyncClient, world: World, app: FastAPI, owner: asyncpg.Connection
):
    patient = await world.patient(user={"name": "Carla Jones"})
    path, before = path_of(app, patient), await digest(owner)
    page = await api.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Reminders of appointments" in page.text
    assert re.search(r'<form method="post">.*<button>', page.text, re.DOTALL)
    assert page.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not any(
        secret in page.text for secret in ("Carla", patient.email, path.rpartition("/")[2], "<script", "http")
    )
    assert (await api.head(path)).status_code in {200, 405}
    assert await digest(owner) == before


@pytest.mark.parametrize("sent", [FORM, MULTIPART, {}, {"json": {}}], ids=["form", "multipart", "nothing", "json"])
async def test_one_click_stops_messages_of_that_kind_only(
    api: httpx.AsyncClient, world: World, app: FastAPI, sent: dict[str, Any]
):
    patient, other = await world.patient(), await world.patient()
    before = await channels(api, patient)
    for _ in range(2):
        done = await api.post(path_of(app, patient), **sent)
        assert (done.status_code, done.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "Reminders of appointments" in done.text
        assert await channels(api, patient) == before | {REMINDER: []}
    assert await channels(api, other) == before


async def test_other_wishes_stay_and_can_be_changed_again(api: httpx.AsyncClient, world: World, app: FastAPI):
    patient = await world.patient()
    await prefer(api, patient, channels={REMINDER: ["push", "email"], BOOKED: ["sms"]}, locale="de")
    await api.post(path_of(app, patient), **FORM)
    after = (await api.get("/users/me/preferences", headers=patient.headers)).json()
    assert (after["channels"][REMINDER], after["channels"][BOOKED], after["locale"]) == ([], ["sms"], "de")
    await prefer(api, patient, channels={REMINDER: ["email"]})
    assert (await channels(api, patient))[REMINDER] == ["email"]
    # the link is good for the next time too
    await api.post(path_of(app, patient), **FORM)
    assert (await channels(api, patient))[REMINDER] == []


@pytest.mark.parametrize("mobile", ["+1 555 0100", None])
async def test_who_stops_reminders_gets_none_elsewhere_and_is_not_called(
    api: httpx.AsyncClient, world: World, app: FastAPI, owner: asyncpg.Connection, mobile: str | None
):
    patient, ledger = await world.patient(user={"mobile_no": mobile}), Ledger(owner, app)
    admin = await world.admin()
    await book(api, world, patient, soon() + timedelta(days=2))
    assert len(await ledger.rows(kind=REMINDER, state="queued")) == 2
    await api.post(path_of(app, patient), **FORM)
    await book(api, world, patient, soon() + timedelta(days=9))
    assert await ledger.states(kind=REMINDER) == [
        (REMINDER, 1440, "email", "skipped"),
        (REMINDER, 120, "email", "skipped"),
    ]
    assert (await api.get("/notifications/unreachable", headers=admin.headers)).json() == []
    assert [row["channel"] for row in await ledger.rows(kind=BOOKED, state="queued")] == ["email", "email"]

    await prefer(api, patient, channels={REMINDER: ["email"]})
    assert len(await ledger.rows(kind=REMINDER, state="queued")) == 4


async def test_what_waits_to_be_sent_is_stopped_too(
    api: httpx.AsyncClient, world: World, app: FastAPI, owner: asyncpg.Connection
):
    patient, ledger = await world.patient(user={"mobile_no": "+1 555 0100"}), Ledger(owner, app)
    await book(api, world, patient, soon() + timedelta(days=2))
    await api.post(path_of(app, patient, BOOKED), **FORM)
    carrier = Carrier()
    assert await ledger.send(carrier) == 1
    assert carrier.carried == []
    assert await ledger.states(kind=BOOKED) == [(BOOKED, None, "email", "skipped")]


# The heading of the question, the kind of message, and what is said when it is done.
WORDS = {
    "en": ("Stop these messages?", "Reminders of appointments", "Done"),
    "de": ("Diese Nachrichten beenden?", "Erinnerungen an Termine", "Erledigt"),
    "es": ("¿Dejar de recibir estos mensajes?", "Recordatorios de citas", "Hecho"),
    "fr": ("Ne plus recevoir ces messages ?", "Rappels de rendez-vous", "C’est fait"),
    "pt": ("Deixar de receber estas mensagens?", "Lembretes de consultas", "Pronto"),
    "hi": ("ये संदेश बंद करें?", "अपॉइंटमेंट की याद", "हो गया"),
    "ar": ("هل تريدون إيقاف هذه الرسائل؟", "رسائل التذكير بالمواعيد", "تم"),
}


@pytest.mark.parametrize("locale", LOCALES)
async def test_the_pages_speak_the_language_of_whose_link_it_is(
    api: httpx.AsyncClient, world: World, app: FastAPI, locale: str
):
    patient = await world.patient(preferred_language="fr")
    await prefer(api, patient, locale=locale)
    question, kind, done = WORDS[locale]
    asked = (await api.get(path_of(app, patient))).text
    answered = (await api.post(path_of(app, patient), **FORM)).text
    direction = "rtl" if locale == "ar" else "ltr"
    for page, heading in ((asked, question), (answered, done)):
        assert f'<html lang="{locale}" dir="{direction}">' in page
        assert f"<title>{heading}</title>" in page
        assert f"<h1>{heading}</h1>" in page
        assert kind in page
        assert not re.search(r"(?<!-)\bmails?\b|appointment_", page, re.IGNORECASE)


async def test_every_kind_that_can_be_stopped_has_a_name_in_every_language(
    api: httpx.AsyncClient, world: World, app: FastAPI
):
    patient, pages = await world.patient(), set()
    for locale in LOCALES:
        await prefer(api, patient, locale=locale)
        kinds = set(Kind) - SECURITY_KINDS
        found = {(await api.get(path_of(app, patient, kind))).text for kind in kinds}
        assert len(found) == len(kinds)
        pages |= found
    assert len(pages) == len(LOCALES) * len(kinds)


async def test_who_chose_no_language_reads_his_records_or_that_of_the_house(
    api: httpx.AsyncClient, world: World, app: FastAPI
):
    patient, doctor = await world.patient(preferred_language="Deutsch"), await world.doctor()
    before = app.state.settings
    app.state.settings = before.model_copy(update={"default_locale": "es"})
    try:
        pages = [(await api.get(path_of(app, person))).text for person in (patient, doctor)]
    finally:
        app.state.settings = before
    assert [re.findall(r'lang="(\w+)"', page) for page in pages] == [["de"], ["es"]]


def test_security_mail_has_no_link(app: FastAPI):
    for kind in Kind:
        assert (app.state.links.url(7, kind) is None) == (kind in SECURITY_KINDS)


def forged(token: str) -> Iterator[str]:
    """Tokens that we did not make: each byte another one, shortened, lengthened, of others, and no tokens at all."""
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        yield base64.urlsafe_b64encode(changed).decode().rstrip("=")
    for part in (raw[:-1], raw[:20], raw[:19], raw[20:], raw + b"1", bytes(20) + raw[20:], b"", raw[:20] + b"1."):
        yield base64.urlsafe_b64encode(part).decode().rstrip("=") or "="
    yield from ("a", "ab", "abc", "abcd", "!", "%00", "%20", "%F0%9F%98%80", "..%2e", "-" * 5000, "null", "1")
    yield token + "A"
    yield token.upper()
    yield token[::-1]


async def test_nobody_else_makes_such_a_link(
    api: httpx.AsyncClient, world: World, app: FastAPI, owner: asyncpg.Connection
):
    patient = await world.patient()
    token = path_of(app, patient).rpartition("/")[2]
    others = UnsubscribeLinks((b"another secret, and long enough.",), "http://localhost:8000")
    foreign = str(others.url(patient.user_id, Kind.APPOINTMENT_REMINDER)).rpartition("/")[2]
    before = await digest(owner)
    for wrong in (*forged(token), foreign):
        refusal(await api.get(f"/unsubscribe/{wrong}"), "RESOURCE_NOT_FOUND")
        refusal(await api.post(f"/unsubscribe/{wrong}", **FORM), "RESOURCE_NOT_FOUND")
    assert await digest(owner) == before
    assert (await api.get(f"/unsubscribe/{token}")).status_code == 200
    refusal(await api.get(f"/unsubscribe/{token}?x=1"), "VALIDATION_ERROR", "x")


async def test_the_token_opens_no_other_door(api: httpx.AsyncClient, world: World, app: FastAPI):
    token = path_of(app, await world.patient()).rpartition("/")[2]
    for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"token={token}"}):
        refusal(await api.get("/users/me/preferences", headers=headers), "AUTHENTICATION_ERROR")
    refusal(await api.get(f"/auth/profile?token={token}"), "AUTHENTICATION_ERROR")
    refusal(await api.get(f"/calendar/{token}.ics"), "RESOURCE_NOT_FOUND")


async def test_the_token_is_not_in_the_log(
    api: httpx.AsyncClient, world: World, app: FastAPI, monkeypatch: pytest.MonkeyPatch
):
    path = path_of(app, await world.patient())
    token = path.rpartition("/")[2]
    before, written = structlog.get_config(), io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    middleware.configure_logging("debug", as_text=False)
    monkeypatch.setattr(middleware, "log", structlog.get_logger("health_services.http"))
    try:
        await api.get(path)
        await api.post(path, **FORM)
        await api.get(path + "x")
        await api.patch(path)
        await api.get(f"{path}?{token}={token}")
    finally:
        structlog.configure(**before)
    paths = [json.loads(line)["path"] for line in written.getvalue().splitlines()]
    assert paths == ["/api/v1/unsubscribe/…"] * 5
    assert token[:24] not in written.getvalue()


async def test_a_wish_of_the_same_moment_is_not_undone(api: httpx.AsyncClient, world: World, app: FastAPI):
    for _ in range(10):
        patient = await world.patient()
        await prefer(api, patient, locale="en")
        wish = {"channels": {BOOKED: ["push", "email"]}}
        await asyncio.gather(
            api.put("/users/me/preferences", json=wish, headers=patient.headers),
            *(api.post(path_of(app, patient), **FORM) for _ in range(3)),
        )
        found = await channels(api, patient)
        assert (found[BOOKED], found[REMINDER]) == (["push", "email"], [])
