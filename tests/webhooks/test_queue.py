"""Whose turn it is: order, fairness, and workers side by side."""

import asyncio
from datetime import timedelta

import pytest
from aiohttp import web

from tests.factories import World
from tests.outgoing.servers import answering, hanging, serving
from tests.webhooks.hooks import Hooks, anybody, send_all


async def test_those_of_one_subject_go_out_in_their_order(hooks: Hooks):
    async with serving(answering()) as server, hooks.sender(per_endpoint=5) as sender:
        webhook, other = await hooks.webhook(server.url), await hooks.webhook(server.url)
        first, second, third = [await hooks.queue(webhook, "appointment:1") for _ in range(3)]
        beside, elsewhere = await hooks.queue(webhook, "appointment:2"), await hooks.queue(other, "appointment:1")
        await hooks.set("webhook_deliveries", third, next_attempt_at="now() - interval '1 day'")
        rounds = [[job.id for job in await send_all(sender)] for _ in range(4)]
    assert rounds == [[first, beside, elsewhere], [second], [third], []]


async def test_what_is_behind_a_failure_waits_for_it(hooks: Hooks):
    statuses = iter([500, 500, 200, 200])

    async def moody(_: web.Request) -> web.Response:
        return web.Response(status=next(statuses))

    async with serving(moody) as server, hooks.sender() as sender:
        webhook = await hooks.webhook(server.url)
        first, second = await hooks.queue(webhook, "slot:1"), await hooks.queue(webhook, "slot:1")
        await send_all(sender)
        await hooks.make_due(second)
        assert await sender.take(10) == []
        await hooks.make_due(first)
        await send_all(sender)
        assert (await hooks.delivery(second))["next_attempt_at"] == (await hooks.delivery(first))["next_attempt_at"]
        await hooks.make_due(first, second)
        assert [[job.id for job in await send_all(sender)] for _ in range(2)] == [[first], [second]]


async def test_what_is_given_up_does_not_hold_up_the_next(api, world: World, hooks: Hooks):
    admin = await world.admin()
    async with serving(answering(410)) as server, hooks.sender(announce=anybody) as sender:
        webhook = await hooks.webhook(server.url)
        first, second = await hooks.queue(webhook, "slot:1"), await hooks.queue(webhook, "slot:1")
        await send_all(sender)
        await api.put(f"/webhooks/{webhook}", json={"is_active": True}, headers=admin.headers)
        assert [job.id for job in await sender.take(10)] == [second]
    assert await hooks.states(first) == ["failed"]


async def test_a_receiver_that_hangs_holds_up_nobody_else(hooks: Hooks):
    async with serving(hanging) as stuck, serving(answering()) as well, hooks.sender() as sender:
        bad, good = await hooks.webhook(stuck.url), await hooks.webhook(well.url)
        stuck_ones = [await hooks.queue(bad) for _ in range(20)]
        under_way = [asyncio.create_task(sender.carry_out(job)) for job in await sender.take(2)]
        others = [await hooks.queue(good) for _ in range(6)]
        sent: list[int] = []
        while jobs := await send_all(sender, limit=6):
            sent += [job.id for job in jobs]
        assert sent == others
        assert await sender.next_due() is None
        assert not any(task.done() for task in under_way)
        assert await hooks.states(*others) == ["sent"] * 6
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        assert [job.id for job in await sender.take(6)] == stuck_ones[2:4]


@pytest.mark.parametrize(
    ("concurrency", "per_endpoint", "taken"), [(8, 2, 2), (8, 5, 5), (2, 2, 1), (1, 2, 1), (4, 9, 3)]
)
async def test_how_many_one_webhook_gets(concurrency: int, per_endpoint: int, taken: int, hooks: Hooks):
    """Never all that the worker does at once, unless that is one."""
    async with hooks.sender(concurrency=concurrency, per_endpoint=per_endpoint) as sender:
        webhook = await hooks.webhook("http://127.0.0.1:9/")
        for _ in range(12):
            await hooks.queue(webhook)
        assert len(await sender.take(10)) == taken
        assert await sender.take(10) == []


async def test_no_more_are_taken_than_asked_for_and_the_oldest_first(hooks: Hooks):
    async with hooks.sender() as sender:
        made = [await hooks.queue(await hooks.webhook("http://127.0.0.1:9/")) for _ in range(5)]
        for age, delivery in enumerate(reversed(made)):
            await hooks.set("webhook_deliveries", delivery, next_attempt_at=f"now() - interval '{9 - age} min'")
        assert [job.id for job in await sender.take(2)] == made[3:]
        assert [job.id for job in await sender.take(10)] == made[:3]


async def test_when_the_next_is_due(hooks: Hooks):
    async with hooks.sender() as sender:
        assert await sender.next_due() is None
        webhook = await hooks.webhook("http://127.0.0.1:9/")
        later, sooner = await hooks.queue(webhook), await hooks.queue(webhook)
        blocked = await hooks.queue(webhook, (await hooks.delivery(later))["subject"])
        await hooks.set("webhook_deliveries", later, next_attempt_at="now() + interval '2 hours'")
        await hooks.set("webhook_deliveries", sooner, next_attempt_at="now() + interval '1 hour'")
        assert await sender.take(10) == []
        assert (await hooks.delivery(blocked))["state"] == "queued"
        due = await sender.next_due()
        assert due is not None
        assert timedelta(minutes=50) < due <= timedelta(hours=1)
        await hooks.make_due(sooner)
        due = await sender.next_due()
        assert due is not None
        assert due <= timedelta(0)


async def test_many_workers_take_each_delivery_once(hooks: Hooks):
    webhooks = [await hooks.webhook("http://127.0.0.1:9/") for _ in range(4)]
    made = [await hooks.queue(webhook) for _ in range(25) for webhook in webhooks]
    taken: list[int] = []

    async def work() -> None:
        async with hooks.sender(concurrency=99, per_endpoint=98) as sender:
            while jobs := await sender.take(3):
                taken.extend(job.id for job in jobs)

    await asyncio.gather(*[work() for _ in range(6)])
    # who finds all that is left locked by others stops early, so one more has a look
    await work()
    assert sorted(taken) == made


async def test_a_worker_that_dies_is_replaced_when_its_lease_is_over(hooks: Hooks):
    async with serving(answering()) as server, hooks.sender(lease=timedelta(minutes=7)) as dead:
        delivery = await hooks.queue(await hooks.webhook(server.url))
        (job,) = await dead.take(1)
        assert (job.id, job.attempt, (await hooks.delivery(delivery))["wait"]) == (delivery, 1, timedelta(minutes=7))
        async with hooks.sender() as alive:
            assert await alive.take(1) == []
            await hooks.make_due(delivery)
            assert [job.attempt for job in await send_all(alive)] == [2]
    assert await hooks.states(delivery) == ["sent"]


@pytest.mark.parametrize("late_status", [200, 410, 500])
async def test_a_late_worker_changes_nothing_of_a_newer_attempt(late_status: int, hooks: Hooks):
    async with serving(answering(late_status)) as server, hooks.sender() as late, hooks.sender() as other:
        webhook = await hooks.webhook(server.url)
        delivery = await hooks.queue(webhook)
        (slow,) = await late.take(1)
        await hooks.make_due(delivery)
        (newer,) = await other.take(1)
        before = await hooks.delivery(delivery)
        await late.carry_out(slow)
        assert await hooks.delivery(delivery) == before
        assert (newer.attempt, before["attempts"], before["state"]) == (2, 2, "queued")
        assert await hooks.owner.fetchval("SELECT is_active FROM webhooks WHERE id = $1", webhook)


async def test_a_failure_after_a_success_changes_nothing(hooks: Hooks):
    async with serving(answering(200)) as well, serving(answering(500)) as broken, hooks.sender() as sender:
        webhook = await hooks.webhook(broken.url)
        delivery = await hooks.queue(webhook)
        (slow,) = await sender.take(1)
        await hooks.make_due(delivery)
        await hooks.set("webhooks", webhook, url=f"'{well.url}'")
        await send_all(sender)
        before = await hooks.delivery(delivery)
        await sender.carry_out(slow)
        assert await hooks.delivery(delivery) == before
    assert (len(broken.received), before["state"]) == (1, "sent")
