"""Messages about accounts: links that let in go by mail alone, sealed until they are out; notices go to their owner."""

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.announcements.service import mail_token, of_account
from health_services.notifications.models import Channel
from health_services.one_time_tokens.models import Purpose
from health_services.outgoing.errors import NotNow, Undeliverable
from tests.api.answers import refusal
from tests.auth.post import Post, link_in
from tests.factories import Person, World
from tests.notifications.ledger import Carrier

TOKEN = "t" * 43
PAGES = {
    Purpose.EMAIL_VERIFICATION: "verify-email",
    Purpose.PASSWORD_RESET: "reset-password",
    Purpose.INVITATION: "accept-invitation",
}


@pytest.fixture
def post(owner: asyncpg.Connection, app: FastAPI) -> Post:
    """Sends mails into a box."""
    return Post(owner, app)


@pytest.fixture
async def person(world: World) -> Person:
    """Somebody with every address, who likes to be told by SMS."""
    person = await world.patient(user={"mobile_no": "+15550142"})
    await world.owner.execute(
        "INSERT INTO push_subscriptions (user_id, endpoint, p256dh, auth) VALUES ($1, 'https://p.example', '', '')",
        person.user_id,
    )
    channels = {kind: ["sms", "push"] for kind in ("email_verification", "password_reset", "security_notice")}
    await world.owner.execute(
        "INSERT INTO notification_preferences (user_id, channels) VALUES ($1, $2)", person.user_id, json.dumps(channels)
    )
    return person


async def mail(app: FastAPI, person: Person, purpose: Purpose, now: datetime | None = None) -> None:
    async with app.state.worker_database.writing() as session, session.begin():
        await mail_token(session, purpose, person.user_id, TOKEN, now or datetime.now(UTC))


async def tell(app: FastAPI, person: Person, about: str = "password_changed", to: str | None = None) -> None:
    async with app.state.worker_database.writing() as session, session.begin():
        await of_account(session, about, person.user_id, datetime.now(UTC), to=to)


async def enclosed(post: Post) -> list[tuple[str, str, bool]]:
    """Channel and state of each message, and whether anything is enclosed."""
    return [(row["channel"], row["state"], "enclosed" in row["data"]) for row in await post.ledger.rows()]


@pytest.mark.parametrize("purpose", PAGES)
async def test_a_link_goes_by_mail_alone(app: FastAPI, person: Person, post: Post, purpose: Purpose):
    await mail(app, person, purpose)
    assert await enclosed(post) == [("email", "queued", True)]
    assert TOKEN not in str(await post.ledger.rows())
    (sent,) = await post.sent()
    assert sent.to == person.email
    assert link_in(sent) == (PAGES[purpose], TOKEN)
    assert f"/{PAGES[purpose]}#token=" in sent.text, "what stands behind # is sent to no server"
    assert sent.headers == {}, "nobody stops these, and a program that follows links for him would use it up"
    assert sent.calendar is None
    assert await enclosed(post) == [("email", "sent", False)]


@pytest.mark.parametrize("purpose", PAGES)
async def test_a_link_that_is_over_is_not_sent(app: FastAPI, person: Person, post: Post, purpose: Purpose):
    await mail(app, person, purpose, datetime.now(UTC) - timedelta(days=7, seconds=1))
    assert await post.sent() == []
    assert await enclosed(post) == [("email", "skipped", False)]


async def test_a_link_that_no_mail_server_takes_goes_nowhere_else(app: FastAPI, person: Person, post: Post):
    """Neither by SMS, nor to the call list: nobody can read it out."""
    post.box.failure = Undeliverable("no such mailbox")
    await mail(app, person, Purpose.PASSWORD_RESET)
    await post.sent()
    assert await enclosed(post) == [("email", "failed", False)]
    assert not (await post.ledger.rows())[0]["is_unreachable"]


async def test_a_link_waits_for_a_mail_server_that_is_busy(app: FastAPI, person: Person, post: Post):
    post.box.failure = NotNow("busy")
    await mail(app, person, Purpose.PASSWORD_RESET)
    await post.sent()
    assert await enclosed(post) == [("email", "queued", True)]
    post.box.failure = None
    await post.ledger.make_due((await post.ledger.rows())[0]["id"])
    (sent,) = await post.sent()
    assert link_in(sent) == ("reset-password", TOKEN)


async def test_a_link_that_was_forgotten_is_not_sent_again(
    app: FastAPI, api: httpx.AsyncClient, world: World, person: Person, post: Post
):
    admin = await world.admin()
    post.box.failure = Undeliverable("no such mailbox")
    await mail(app, person, Purpose.INVITATION)
    await post.sent()
    (row,) = await post.ledger.rows()
    refusal(await api.post(f"/notifications/{row['id']}/retry", headers=admin.headers), "CONFLICT")
    assert await enclosed(post) == [("email", "failed", False)]


async def test_a_link_goes_to_nobody_whose_account_is_closed(
    app: FastAPI, person: Person, post: Post, owner: asyncpg.Connection
):
    await mail(app, person, Purpose.PASSWORD_RESET)
    await owner.execute("UPDATE users SET is_active = false")
    assert await post.sent() == []
    assert await enclosed(post) == [("email", "skipped", False)]


async def test_what_is_sealed_for_one_person_opens_for_no_other(
    app: FastAPI, person: Person, post: Post, world: World, owner: asyncpg.Connection
):
    """Whoever can write to the database cannot have somebody's link mailed to himself."""
    thief = await world.user()
    await mail(app, person, Purpose.PASSWORD_RESET)
    await owner.execute("ALTER TABLE notifications DISABLE TRIGGER USER")
    await owner.execute("UPDATE notifications SET user_id = $1", thief.user_id)
    await owner.execute("ALTER TABLE notifications ENABLE TRIGGER USER")
    assert await post.sent() == []
    assert TOKEN not in str(await post.ledger.rows())


async def test_a_notice_is_always_mailed(app: FastAPI, person: Person, post: Post):
    await tell(app, person)
    assert await enclosed(post) == [("email", "queued", False)], "nobody can switch the mail off"
    (sent,) = await post.sent()
    assert "The password of your account has been changed." in sent.text
    assert "List-Unsubscribe" not in sent.headers


async def test_a_notice_that_no_mail_server_takes_goes_the_next_way(app: FastAPI, person: Person, post: Post):
    post.box.failure = Undeliverable("no such mailbox")
    await tell(app, person)
    await post.sent()
    assert [(channel, state) for channel, state, _ in await enclosed(post)] == [("email", "failed"), ("sms", "queued")]
    carrier = Carrier()
    await post.ledger.send(carrier, Channel.SMS)
    assert json.loads(carrier.carried[0].data) == {"about": "password_changed"}


async def test_a_notice_to_an_address_of_before(app: FastAPI, person: Person, post: Post):
    await tell(app, person, "email_changed", to="before@example.org")
    assert "before@example.org" not in str(await post.ledger.rows())
    assert await enclosed(post) == [("email", "queued", True)]
    (sent,) = await post.sent()
    assert sent.to == "before@example.org"
    assert await enclosed(post) == [("email", "sent", False)]


async def test_that_address_is_told_nothing_by_another_way(app: FastAPI, person: Person, post: Post):
    post.box.failure = Undeliverable("no such mailbox")
    await tell(app, person, "email_changed", to="before@example.org")
    await post.sent()
    rows = await enclosed(post)
    assert rows == [("email", "failed", False), ("sms", "queued", False)], "the person is told all the same"
