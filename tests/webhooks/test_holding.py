"""A receiver that is not reached is held as a whole: it is asked seldom, and takes no room from the others."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from aiohttp import web

from tests.factories import World
from tests.outgoing.servers import Handler, answering, hanging, serving, speaking
from tests.webhooks.hooks import Hooks, send_all

NOWHERE = "http://127.0.0.1:9/"
MINUTE = timedelta(minutes=1)


async def hold(hooks: Hooks, webhook: int) -> asyncpg.Record:
    """`failing_since` and `held_until`, and whether that is still to come."""
    query = "SELECT failing_since, held_until, held_until > now() AS is_held FROM webhooks WHERE id = $1"
    return await hooks.owner.fetchrow(query, webhook)


async def failing(hooks: Hooks, url: str = NOWHERE, since: str = "1 minute") -> int:
    """A webhook that has not been reached for so long; whose pause is over."""
    webhook = await hooks.webhook(url)
    await hooks.set("webhooks", webhook, failing_since=f"now() - interval '{since}'", held_until="now()")
    return webhook


async def test_nothing_more_goes_to_a_receiver_that_hangs(hooks: Hooks):
    async with serving(hanging) as server, hooks.sender(timeout=0.3) as sender, hooks.sender() as elsewhere:
        webhook = await hooks.webhook(server.url)
        waiting = [await hooks.queue(webhook) for _ in range(5)]
        (job,) = await sender.take(1)
        await sender.carry_out(job)
        assert await sender.take(10) == []
        assert await elsewhere.take(10) == []
        for worker in (sender, elsewhere):
            assert (await worker.next_due() or timedelta(0)) > timedelta(seconds=1), "it spins"
    assert len(server.received) == 1
    assert (await hold(hooks, webhook))["is_held"]
    rows = [await hooks.delivery(delivery) for delivery in waiting]
    assert [(row["state"], row["attempts"]) for row in rows] == [("queued", 1)] + [("queued", 0)] * 4


async def test_nor_to_one_that_is_not_there_or_hangs_up(hooks: Hooks):
    async with serving(hanging) as gone:
        pass
    async with speaking(b"") as rude, hooks.sender() as sender:
        webhooks = [await hooks.webhook(gone.url), await hooks.webhook(rude.url)]
        for webhook in webhooks:
            await hooks.queue(webhook)
        await send_all(sender)
        assert [(await hold(hooks, webhook))["is_held"] for webhook in webhooks] == [True, True]


@pytest.mark.parametrize("handler", [answering(200), answering(500), answering(429), answering(301)])
async def test_one_that_answers_is_not_held_and_its_row_not_written(handler: Handler, hooks: Hooks):
    async with serving(handler) as server, hooks.sender() as sender:
        webhook = await hooks.webhook(server.url)
        written = "SELECT xmin::text FROM webhooks WHERE id = $1"
        before = await hooks.owner.fetchval(written, webhook)
        await hooks.queue(webhook)
        await send_all(sender)
        assert (await hold(hooks, webhook))["held_until"] is None
        assert await hooks.owner.fetchval(written, webhook) == before


@pytest.mark.parametrize(("since", "pause"), [("1 second", 5), ("70 seconds", 70), ("1 hour", 300)])
async def test_the_pause_grows_to_five_minutes(since: str, pause: int, hooks: Hooks):
    async with serving(hanging) as gone:
        pass
    async with hooks.sender() as sender:
        webhook = await failing(hooks, gone.url, since)
        delivery = await hooks.queue(webhook)
        began = (await hold(hooks, webhook))["failing_since"]
        await send_all(sender)
    found, row = await hold(hooks, webhook), await hooks.delivery(delivery)
    assert found["failing_since"] == began
    waits = found["held_until"] - row["updated_at"]
    passed = row["updated_at"] - began
    assert waits == max(timedelta(seconds=5), min(passed, timedelta(minutes=5)))
    assert timedelta(seconds=pause) <= waits < timedelta(seconds=pause) + MINUTE


async def test_two_that_fail_together_are_one_failure(hooks: Hooks):
    async with serving(hanging) as server, hooks.sender(timeout=0.3) as sender:
        webhook = await hooks.webhook(server.url)
        deliveries = [await hooks.queue(webhook), await hooks.queue(webhook)]
        await asyncio.gather(*[sender.carry_out(job) for job in await sender.take(10)])
        held_until = (await hold(hooks, webhook))["held_until"]
        ended = [(await hooks.delivery(delivery))["updated_at"] for delivery in deliveries]
        assert held_until - timedelta(seconds=5) in ended


async def test_one_at_a_time_finds_out_whether_it_is_back(hooks: Hooks):
    async with hooks.sender() as one, hooks.sender() as other:
        webhook = await failing(hooks)
        waiting = [await hooks.queue(webhook) for _ in range(3)]
        assert [job.id for job in await one.take(10)] == waiting[:1]
        for worker in (one, other):
            assert await worker.take(10) == []
        due = await other.next_due()
        assert due is not None
        assert due > MINUTE, "it spins"
        # the worker that asked has died
        await hooks.set("webhooks", webhook, held_until="now()")
        assert [job.id for job in await other.take(10)] == waiting[1:2]


async def test_of_many_workers_one_finds_out(hooks: Hooks):
    webhooks = [await failing(hooks) for _ in range(3)]
    for webhook in webhooks * 4:
        await hooks.queue(webhook)
    taken: list[int] = []

    async def work() -> None:
        async with hooks.sender() as sender:
            taken.extend(job.webhook_id for job in await sender.take(10))

    await asyncio.gather(*[work() for _ in range(8)])
    await work()
    assert sorted(taken) == webhooks


async def test_what_was_begun_before_is_waited_for(hooks: Hooks):
    async with serving(hanging) as gone:
        pass
    async with hooks.sender() as sender:
        webhook = await hooks.webhook(gone.url)
        for _ in range(4):
            await hooks.queue(webhook)
        first, second = await sender.take(10)
        await sender.carry_out(first)
        await hooks.set("webhooks", webhook, held_until="now()")
        assert (await sender.take(10), await sender.next_due()) == ([], None)
        await sender.carry_out(second)
        await hooks.set("webhooks", webhook, held_until="now()")
        assert len(await sender.take(10)) == 1


async def test_the_first_success_ends_it_and_all_goes_out_in_its_order(hooks: Hooks):
    async with serving(answering(204)) as server, hooks.sender() as sender:
        webhook = await failing(hooks, server.url)
        first, second, third = [await hooks.queue(webhook, "appointment:1") for _ in range(3)]
        beside, last = await hooks.queue(webhook), await hooks.queue(webhook)
        rounds = [[job.id for job in await send_all(sender)] for _ in range(4)]
        assert rounds == [[first], [second, beside], [third, last], []]
    found = await hold(hooks, webhook)
    assert (found["failing_since"], found["held_until"]) == (None, None)
    rows = [await hooks.delivery(delivery) for delivery in (first, second, third, beside, last)]
    assert {(row["state"], row["attempts"]) for row in rows} == {("sent", 1)}


async def test_an_error_is_no_success(hooks: Hooks):
    statuses = iter([500, 200])

    async def moody(_: web.Request) -> web.Response:
        return web.Response(status=next(statuses))

    async with serving(moody) as server, hooks.sender() as sender:
        webhook = await failing(hooks, server.url)
        for _ in range(3):
            await hooks.queue(webhook)
        assert len(await send_all(sender)) == 1
        assert (await hold(hooks, webhook))["is_held"]
        assert await sender.take(10) == []
        await hooks.set("webhooks", webhook, held_until="now()")
        assert len(await send_all(sender)) == 1
        assert (await hold(hooks, webhook))["held_until"] is None


@pytest.mark.parametrize(("concurrency", "room"), [(8, 4), (9, 4), (2, 1), (1, 1)])
async def test_all_that_fail_have_half_of_the_room(concurrency: int, room: int, hooks: Hooks):
    async with hooks.sender(concurrency=concurrency) as sender:
        webhooks = [await failing(hooks) for _ in range(8)]
        for webhook in webhooks * 2:
            await hooks.queue(webhook)
        taken = await sender.take(100)
        assert len({job.webhook_id for job in taken}) == len(taken) == room
        assert (await sender.take(100), await sender.next_due()) == ([], None)
        well = await hooks.webhook(NOWHERE)
        healthy = await hooks.queue(well)
        assert [job.id for job in await sender.take(100)] == [healthy]


async def test_the_room_is_given_to_the_next_when_one_has_ended(hooks: Hooks):
    async with serving(hanging) as gone:
        pass
    async with hooks.sender(concurrency=2) as sender:
        webhooks = [await failing(hooks, gone.url) for _ in range(3)]
        for webhook in webhooks:
            await hooks.queue(webhook)
        asked = [job.webhook_id for _ in range(4) for job in await send_all(sender)]
    assert asked == webhooks


async def test_who_was_not_taken_for_want_of_room_is_not_held(hooks: Hooks):
    async with hooks.sender() as sender:
        webhooks = [await failing(hooks) for _ in range(3)]
        for webhook in webhooks:
            await hooks.queue(webhook)
        (job,) = await sender.take(1)
        held = [webhook for webhook in webhooks if (await hold(hooks, webhook))["is_held"]]
        assert held == [job.webhook_id]


async def test_a_failing_one_without_messages_is_left_alone(hooks: Hooks):
    async with hooks.sender() as sender:
        webhook = await failing(hooks)
        before = await hold(hooks, webhook)
        assert (await sender.take(10), await sender.next_due()) == ([], None)
        assert await hold(hooks, webhook) == before


@pytest.mark.parametrize("change", [{"is_active": True}, {"url": "https://8.8.8.8/"}, {"events": ["slot.created"]}])
async def test_an_administrator_ends_it(change: dict[str, Any], api: httpx.AsyncClient, world: World, hooks: Hooks):
    admin, webhook = await world.admin(), await failing(hooks)
    await hooks.set("webhooks", webhook, held_until="now() + interval '5 minutes'")
    waiting = [await hooks.queue(webhook) for _ in range(2)]
    assert (await api.put(f"/webhooks/{webhook}", json=change, headers=admin.headers)).status_code == 200
    async with hooks.sender() as sender:
        assert [job.id for job in await sender.take(10)] == waiting


async def test_so_does_sending_again(api: httpx.AsyncClient, world: World, hooks: Hooks):
    admin, webhook = await world.admin(), await failing(hooks)
    await hooks.set("webhooks", webhook, held_until="now() + interval '5 minutes'")
    delivery = await hooks.queue(webhook)
    await hooks.set("webhook_deliveries", delivery, state="'failed'")
    path = f"/webhooks/{webhook}/deliveries/{delivery}/redeliver"
    assert (await api.post(path, headers=admin.headers)).status_code == 200
    async with hooks.sender() as sender:
        assert [job.id for job in await sender.take(10)] == [delivery]


async def test_the_backlog_of_some_does_not_come_before_the_first_message_of_another(hooks: Hooks):
    """Also where they do answer, only late: nothing says yet that they fail."""
    async with hooks.sender(concurrency=8) as sender:
        for webhook in [await hooks.webhook(NOWHERE) for _ in range(6)]:
            for _ in range(3):
                await hooks.make_due(await hooks.queue(webhook))
        first = await hooks.queue(await hooks.webhook(NOWHERE))
        assert first in [job.id for job in await sender.take(8)]
