"""Browsers whose push service is not reached: they are left alone for a while, and forgotten in the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from health_services.database.base import AnyRow
from health_services.notifications.carriers import PushCarrier, Voice
from health_services.notifications.models import Channel
from health_services.notifications.sender import Sender
from health_services.notifications.unsubscribing import links_of
from health_services.outgoing.errors import NotNow, SendingFailed
from health_services.outgoing.http import NoAnswer
from health_services.outgoing.push import Subscription, SubscriptionGone
from tests.factories import Person, World
from tests.push_subscriptions.conftest import AUTH, P256DH, browser

SILENT, BUSY, GONE = NoAnswer("no answer in time"), NotNow("busy"), SubscriptionGone()


@dataclass
class Gateway:
    """Takes what is pushed, but to the endpoints that fail; `asked` says which were tried, and with which TTL."""

    fails: dict[str, SendingFailed] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)
    public_key: str = ""

    async def send(self, subscription: Subscription, payload: bytes, *, ttl: int, topic: str) -> None:
        self.asked.append((subscription.endpoint, ttl))
        if subscription.endpoint in self.fails:
            raise self.fails[subscription.endpoint]

    async def close(self) -> None:
        """Nothing is held."""

    def taken(self) -> list[str]:
        """Who was tried since this was last asked."""
        found = [endpoint for endpoint, _ in self.asked]
        self.asked.clear()
        return found


@dataclass
class Phones:
    """One person's browsers, and the worker that pushes to them."""

    owner: asyncpg.Connection
    person: Person
    gateway: Gateway
    sender: Sender

    async def add(self, endpoint: str, since: str | None = None) -> int:
        """A subscription's id; one that fails since so long ago, and may be tried again, where that is given."""
        query = """INSERT INTO push_subscriptions (user_id, endpoint, p256dh, auth, failing_since, held_until)
                   VALUES ($1, $2, $3, $4, now() - $5::text::interval, CASE WHEN $5 IS NOT NULL THEN now() END)
                   RETURNING id"""
        return int(await self.owner.fetchval(query, self.person.user_id, endpoint, P256DH, AUTH, since))

    async def row(self, subscription: int) -> asyncpg.Record | None:
        query = "SELECT *, held_until > now() AS is_held FROM push_subscriptions WHERE id = $1"
        return await self.owner.fetchrow(query, subscription)

    async def tell(self, expires_at: str = "NULL") -> int:
        """A message's id, due now."""
        query = f"""INSERT INTO notifications (kind, channel, user_id, subject, due_at, next_attempt_at, expires_at)
                    SELECT 'security_notice', 'push', $1, 'notice:' || count(*), now(), now(), {expires_at}
                    FROM notifications RETURNING id"""
        return int(await self.owner.fetchval(query, self.person.user_id))

    async def take(self) -> Sequence[AnyRow]:
        """What is due."""
        return await self.sender.take(10)

    async def push(self) -> asyncpg.Record:
        """Send one message; its row then."""
        notification = await self.tell()
        (row,) = await self.take()
        await self.sender.carry_out(row)
        return await self.owner.fetchrow("SELECT * FROM notifications WHERE id = $1", notification)


@pytest.fixture
async def phones(app: FastAPI, world: World, owner: asyncpg.Connection) -> Phones:
    gateway, database = Gateway(), app.state.worker_database
    carrier = PushCarrier(gateway, Voice("en", links_of(app.state.settings)), database)
    return Phones(owner, await world.patient(), gateway, Sender(database, Channel.PUSH, carrier, luck=lambda: 0.5))


async def test_one_that_was_not_reached_is_left_alone(phones: Phones):
    silent = await phones.add("silent")
    phones.gateway.fails["silent"] = SILENT
    first = await phones.push()
    assert (first["state"], first["last_error"], first["attempts"]) == ("queued", "no answer in time", 1)
    found = await phones.row(silent)
    assert found is not None
    assert (found["is_held"], found["held_until"] - found["failing_since"]) == (True, timedelta(seconds=30))
    second = await phones.push()
    assert phones.gateway.taken() == ["silent"]
    assert (second["state"], second["last_error"]) == ("queued", "no push service was reached a moment ago")
    assert second["next_attempt_at"] == found["held_until"]


async def test_others_are_pushed_to_all_the_same(phones: Phones):
    await phones.add("silent")
    await phones.add("well")
    phones.gateway.fails["silent"] = SILENT
    assert (await phones.push())["state"] == "sent"
    assert sorted(phones.gateway.taken()) == ["silent", "well"]
    assert (await phones.push())["state"] == "sent"
    assert phones.gateway.taken() == ["well"]


async def test_a_message_waits_for_one_that_is_paused_if_the_others_are_gone(phones: Phones):
    await phones.add("silent")
    phones.gateway.fails |= {"silent": SILENT, "gone": GONE}
    await phones.push()
    gone = await phones.add("gone")
    assert (await phones.push())["state"] == "queued"
    assert await phones.row(gone) is None


async def test_of_several_the_first_that_may_be_tried_again_decides(phones: Phones):
    await phones.add("long ago", since="1 hour")
    newly = await phones.add("just now")
    phones.gateway.fails |= {"long ago": SILENT, "just now": SILENT}
    await phones.push()
    found = await phones.row(newly)
    assert found is not None
    assert (await phones.push())["next_attempt_at"] == found["held_until"]
    assert len(phones.gateway.asked) == 2


@pytest.mark.parametrize("since", ["10 seconds", "10 minutes", "5 hours", "13 days"])
async def test_the_pause_grows_to_an_hour(phones: Phones, since: str):
    silent = await phones.add("silent", since)
    before = await phones.row(silent)
    phones.gateway.fails["silent"] = SILENT
    await phones.push()
    after = await phones.row(silent)
    assert before is not None
    assert after is not None
    assert after["failing_since"] == before["failing_since"]
    passed = after["updated_at"] - before["failing_since"]
    pause = max(timedelta(seconds=30), min(passed, timedelta(hours=1)))
    assert after["held_until"] - after["updated_at"] == pause


async def test_a_success_ends_it(phones: Phones):
    silent = await phones.add("silent", since="2 hours")
    for _ in range(2):
        assert (await phones.push())["state"] == "sent"
    found = await phones.row(silent)
    assert found is not None
    assert (found["failing_since"], found["held_until"]) == (None, None)


async def test_so_does_subscribing_again(phones: Phones, api: httpx.AsyncClient):
    endpoint = "https://push.example.net/send/abc"
    silent = await phones.add(endpoint)
    phones.gateway.fails[endpoint] = SILENT
    await phones.push()
    request = ("/users/me/push-subscriptions", browser())
    made = await api.post(request[0], json=request[1], headers=phones.person.headers)
    assert (made.status_code, made.json()["id"]) == (201, silent)
    found = await phones.row(silent)
    assert found is not None
    assert (found["failing_since"], found["held_until"]) == (None, None)


@pytest.mark.parametrize("since", [None, "13 days"])
async def test_an_answer_that_is_no_success_changes_nothing(phones: Phones, since: str | None):
    busy = await phones.add("busy", since)
    phones.gateway.fails["busy"] = BUSY
    before = await phones.row(busy)
    assert (await phones.push())["last_error"] == "busy"
    assert await phones.row(busy) == before


async def test_it_is_forgotten_after_two_weeks(phones: Phones):
    silent, other = await phones.add("silent", since="14 days"), await phones.add("other", since="14 days")
    phones.gateway.fails["silent"] = SILENT
    assert (await phones.push())["state"] == "sent"
    assert await phones.row(silent) is None
    assert await phones.row(other) is not None


@pytest.mark.parametrize("expires", ["NULL", "now() + interval '30 days'", "now() + interval '2 hours'"])
async def test_a_push_service_keeps_it_for_a_day_or_until_it_is_too_late(phones: Phones, expires: str):
    await phones.add("well")
    await phones.tell(expires)
    (row,) = await phones.take()
    await phones.sender.carrier.carry(row)
    left = timedelta(hours=24) if row.expires_at is None else min(row.expires_at - row.now, timedelta(hours=24))
    assert phones.gateway.asked == [("well", int(left.total_seconds()))]
    assert (left < timedelta(hours=3)) == ("2 hours" in expires)


async def test_never_for_less_than_no_time(phones: Phones):
    await phones.add("well")
    await phones.tell("now() - interval '1 second'")
    (row,) = await phones.take()
    await phones.sender.carrier.carry(row)
    assert phones.gateway.asked == [("well", 0)]
