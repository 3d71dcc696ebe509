"""When a webhook is switched off, and that whoever made it is told; and when only a message is given up."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from aiohttp import web
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from health_services.database.base import AnyRow
from health_services.webhooks.delivery import Deliveries
from tests.factories import World
from tests.outgoing.servers import answering, hanging, serving
from tests.webhooks.hooks import BODY, Hooks, send_all
from tests.webhooks.test_failures import SECONDS

POISON = BODY.replace("12", "13")


class Announcements:
    """What was announced; writes something along, and fails if it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.made: list[tuple[int, str, Any, int]] = []
        self._error = error

    async def __call__(self, session: AsyncSession, webhook: AnyRow, delivery_id: int) -> None:
        self.made.append((webhook.id, webhook.url, webhook.created_by_user_id, delivery_id))
        await session.execute(text("UPDATE webhook_deliveries SET last_error = 'told' WHERE state = 'queued'"))
        if self._error is not None:
            raise self._error


async def off(hooks: Hooks, webhook: int) -> tuple[bool, str | None]:
    """Whether it is on, and why not."""
    row = await hooks.owner.fetchrow("SELECT is_active, disabled_reason FROM webhooks WHERE id = $1", webhook)
    return row["is_active"], row["disabled_reason"]


async def test_gone_switches_off_at_once_and_is_announced(world: World, hooks: Hooks):
    admin, announcements = await world.admin(), Announcements()
    async with serving(answering(410)) as server, hooks.sender(announce=announcements) as sender:
        webhook = await hooks.webhook(server.url, created_by_user_id=admin.user_id)
        delivery, other = await hooks.queue(webhook), await hooks.queue(webhook)
        (job, _) = await sender.take(2)
        await sender.carry_out(job)
        await hooks.make_due(other)
        assert await sender.take(10) == []
    assert announcements.made == [(webhook, server.url, admin.user_id, delivery)]
    assert await off(hooks, webhook) == (False, "gone (410)")
    row = await hooks.delivery(delivery)
    assert (row["state"], row["attempts"], row["response_status"], row["last_error"]) == (
        *("failed", 1, 410),
        "answered 410",
    )


async def test_the_tenth_failure_switches_off_and_is_announced(world: World, hooks: Hooks):
    admin, announcements = await world.admin(), Announcements()
    async with serving(answering(500)) as server, hooks.sender(announce=announcements) as sender:
        webhook = await hooks.webhook(server.url, created_by_user_id=admin.user_id)
        delivery = await hooks.queue(webhook)
        for attempt in range(1, 10):
            await hooks.make_due(delivery)
            await send_all(sender)
            row = await hooks.delivery(delivery)
            assert (row["state"], row["attempts"]) == ("queued", attempt)
            assert row["wait"] == timedelta(seconds=SECONDS[attempt - 1])
        assert (await off(hooks, webhook), announcements.made) == ((True, None), [])
        waiting = await hooks.queue(webhook)
        await hooks.set("webhook_deliveries", waiting, next_attempt_at="now() + interval '1 hour'")
        await hooks.make_due(delivery)
        await send_all(sender)
    assert announcements.made == [(webhook, server.url, admin.user_id, delivery)]
    assert await off(hooks, webhook) == (False, "no success in 10 attempts")
    row = await hooks.delivery(delivery)
    assert (row["state"], row["attempts"], row["last_error"]) == ("failed", 10, "answered 500")
    row = await hooks.delivery(waiting)
    assert (row["state"], row["last_error"]) == ("queued", "told")
    assert len(server.received) == 10


async def test_what_two_give_up_at_once_is_announced_once(hooks: Hooks):
    announcements = Announcements()
    async with serving(answering(500)) as server, hooks.sender(announce=announcements) as sender:
        webhook = await hooks.webhook(server.url)
        deliveries = [await hooks.queue(webhook), await hooks.queue(webhook)]
        await hooks.owner.execute("UPDATE webhook_deliveries SET attempts = 9")
        await send_all(sender)
    assert await hooks.states(*deliveries) == ["failed", "failed"]
    assert [made[0] for made in announcements.made] == [webhook]


async def test_what_cannot_be_announced_is_not_given_up(hooks: Hooks):
    announcements = Announcements(OSError("the ledger"))
    async with serving(answering(500)) as server, hooks.sender(announce=announcements) as sender:
        webhook = await hooks.webhook(server.url)
        delivery = await hooks.queue(webhook)
        await hooks.set("webhook_deliveries", delivery, attempts="9")
        (job,) = await sender.take(1)
        with pytest.raises(OSError, match="the ledger"):
            await sender.carry_out(job)
    assert len(announcements.made) == 1
    assert await off(hooks, webhook) == (True, None)
    row = await hooks.delivery(delivery)
    assert (row["state"], row["attempts"], row["last_error"]) == ("queued", 10, None)


async def test_a_worker_that_died_at_the_last_attempt_is_followed_by_one_that_gives_up(hooks: Hooks):
    announcements = Announcements()
    async with serving(answering(500)) as server, hooks.sender(announce=announcements) as sender:
        webhook = await hooks.webhook(server.url)
        delivery = await hooks.queue(webhook)
        await hooks.set("webhook_deliveries", delivery, attempts="10")
        await send_all(sender)
    assert await hooks.states(delivery) == ["failed"]
    assert await off(hooks, webhook) == (False, "no success in 10 attempts")


async def poisoned(request: web.Request) -> web.Response:
    """Takes all messages but one."""
    return web.Response(status=400 if await request.text() == POISON else 204)


async def last_attempt(hooks: Hooks, sender: Deliveries, delivery: int) -> None:
    """Send it once more, after nine attempts."""
    await hooks.set("webhook_deliveries", delivery, attempts="9")
    await hooks.make_due(delivery)
    await send_all(sender)


async def test_a_message_that_is_refused_does_not_switch_off_who_takes_others(hooks: Hooks):
    async with serving(poisoned) as server, hooks.sender() as sender:
        webhook = await hooks.webhook(server.url)
        bad, good = await hooks.queue(webhook, body=POISON), await hooks.queue(webhook)
        first, second = await sender.take(10)
        await sender.carry_out(second)  # while the first attempt of the other is under way
        await sender.carry_out(first)
        await last_attempt(hooks, sender, bad)
        assert await hooks.states(bad, good) == ["failed", "sent"]
        assert await off(hooks, webhook) == (True, None)
        again = await hooks.queue(webhook)
        await send_all(sender)
    assert await hooks.states(again) == ["sent"]


async def test_what_was_taken_before_its_first_attempt_does_not_count(hooks: Hooks):
    announcements = Announcements()
    async with serving(poisoned) as server, hooks.sender(announce=announcements) as sender:
        webhook = await hooks.webhook(server.url)
        bad, good = await hooks.queue(webhook, body=POISON), await hooks.queue(webhook)
        await hooks.set("webhook_deliveries", bad, next_attempt_at="now() + interval '1 hour'")
        await send_all(sender)
        await hooks.make_due(bad)
        await send_all(sender)
        await last_attempt(hooks, sender, bad)
    assert await hooks.states(bad, good) == ["failed", "sent"]
    assert await off(hooks, webhook) == (False, "no success in 10 attempts")
    assert len(announcements.made) == 1


async def test_what_others_take_does_not_count(hooks: Hooks):
    announcements = Announcements()
    async with serving(poisoned) as server, hooks.sender(announce=announcements) as sender:
        webhook, other = await hooks.webhook(server.url), await hooks.webhook(server.url)
        bad = await hooks.queue(webhook, body=POISON)
        await send_all(sender)
        await hooks.queue(other)
        await send_all(sender)
        await last_attempt(hooks, sender, bad)
    assert [(await off(hooks, one))[0] for one in (webhook, other)] == [False, True]


async def test_attempts_before_an_administrator_sent_it_again_do_not_count(
    api: httpx.AsyncClient, world: World, hooks: Hooks
):
    admin, announcements = await world.admin(), Announcements()
    async with serving(poisoned) as server, hooks.sender(announce=announcements) as sender:
        webhook = await hooks.webhook(server.url)
        bad = await hooks.queue(webhook, body=POISON)
        await send_all(sender)
        await hooks.queue(webhook)
        await send_all(sender)
        await last_attempt(hooks, sender, bad)
        assert (await off(hooks, webhook))[0]
        path = f"/webhooks/{webhook}/deliveries/{bad}/redeliver"
        assert (await api.post(path, headers=admin.headers)).status_code == 200
        await send_all(sender)
        await last_attempt(hooks, sender, bad)
    assert not (await off(hooks, webhook))[0]


async def test_a_message_that_makes_the_receiver_hang_holds_up_nothing_once_it_is_given_up(hooks: Hooks):
    async def choking(request: web.Request) -> web.StreamResponse:
        return await (hanging if await request.text() == POISON else answering(204))(request)

    async with serving(choking) as server, hooks.sender(timeout=0.3) as sender:
        webhook = await hooks.webhook(server.url)
        bad, good = await hooks.queue(webhook, body=POISON), await hooks.queue(webhook)
        for job in await sender.take(10):
            await sender.carry_out(job)
        await last_attempt(hooks, sender, bad)
        assert await hooks.states(bad, good) == ["failed", "sent"]
        waiting = [await hooks.queue(webhook) for _ in range(2)]
        assert [job.id for job in await send_all(sender)] == waiting


async def test_four_days_without_a_success_switch_off_whatever_the_attempts(world: World, hooks: Hooks):
    """Of many that wait for a receiver that is not there, each is seldom tried."""
    admin, announcements = await world.admin(), Announcements()
    async with serving(hanging) as gone:
        pass
    async with hooks.sender(announce=announcements) as sender:
        webhook = await hooks.webhook(gone.url, created_by_user_id=admin.user_id)
        waiting = [await hooks.queue(webhook) for _ in range(2)]
        for days in (3, 4):
            since = f"now() - interval '{days} days'"
            await hooks.set("webhooks", webhook, failing_since=since, held_until="now()")
            assert (await off(hooks, webhook), announcements.made) == ((True, None), [])
            await send_all(sender)
    assert await off(hooks, webhook) == (False, "no success in 4 days")
    assert announcements.made == [(webhook, gone.url, admin.user_id, waiting[1])]
    assert await hooks.states(*waiting) == ["queued", "queued"]
