"""What was sent, as an administrator sees it; sending again; switching off and on."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from health_services.webhooks.signing import new_secret
from tests.api.answers import read_pages, refusal, shape
from tests.factories import Person, World
from tests.outgoing.servers import answering, serving
from tests.webhooks.hooks import Hooks, send_all, verify

KEYS = {
    "id", "message_id", "event", "subject", "state", "attempts", "response_status", "last_error", "next_attempt_at",
    "sent_at", "created_at",
}  # fmt: skip


@pytest.fixture
async def admin(world: World) -> Person:
    return await world.admin()


async def listed(api: httpx.AsyncClient, admin: Person, webhook: int, query: str = "") -> list[dict[str, Any]]:
    answer = await api.get(f"/webhooks/{webhook}/deliveries{query}", headers=admin.headers)
    assert answer.status_code == 200, answer.text
    assert "Zürich" not in answer.text
    return [shape(row, KEYS) for row in answer.json()]


async def test_the_list(api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    async with serving(answering()) as well, hooks.sender() as sender:
        webhook, other = await hooks.webhook(well.url), await hooks.webhook(well.url)
        first, second = await hooks.queue(webhook, "appointment:12"), await hooks.queue(webhook)
        await hooks.queue(other)
        await hooks.set("webhook_deliveries", second, next_attempt_at="now() + interval '1 hour'")
        await send_all(sender)
    rows = await listed(api, admin, webhook)
    assert [(row["id"], row["state"]) for row in rows] == [(second, "queued"), (first, "sent")]
    waiting, sent = rows
    assert sent["message_id"] == well.received[0].headers["webhook-id"]
    assert (sent["event"], sent["subject"], sent["attempts"]) == ("appointment.booked", "appointment:12", 1)
    assert (sent["response_status"], sent["last_error"], sent["next_attempt_at"]) == (200, None, None)
    assert sent["sent_at"] is not None
    assert (waiting["sent_at"], waiting["attempts"], waiting["response_status"]) == (None, 0, None)
    assert waiting["next_attempt_at"] is not None


async def test_pages_and_states(api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    webhook = await hooks.webhook("https://8.8.8.8/")
    made = [await hooks.queue(webhook) for _ in range(5)]
    for delivery, state in zip(made, ["sent", "failed", "skipped", "queued", "sent"], strict=True):
        await hooks.set("webhook_deliveries", delivery, state=f"'{state}'")
    path = f"/webhooks/{webhook}/deliveries"
    newest_first = made[::-1]
    pages = await read_pages(api, path, 2, headers=admin.headers)
    assert pages == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    assert await read_pages(api, f"{path}?state=sent", 1, headers=admin.headers) == [[made[4]], [made[0]]]
    for state, delivery in (("failed", made[1]), ("skipped", made[2]), ("queued", made[3])):
        assert [row["id"] for row in await listed(api, admin, webhook, f"?state={state}")] == [delivery]


async def test_redelivery_of_what_was_sent_and_of_what_was_given_up(
    api: httpx.AsyncClient, admin: Person, hooks: Hooks
):
    secret = new_secret()
    async with serving(answering()) as server, hooks.sender() as sender:
        webhook = await hooks.webhook(server.url, secret)
        sent, failed = await hooks.queue(webhook), await hooks.queue(webhook)
        await send_all(sender)
        failure = {"state": "'failed'", "attempts": "10", "response_status": "500", "last_error": "'answered 500'"}
        await hooks.set("webhook_deliveries", failed, sent_at="NULL", **failure)
        for delivery in (sent, failed):
            path = f"/webhooks/{webhook}/deliveries/{delivery}/redeliver"
            answer = await api.post(path, headers=admin.headers)
            assert answer.status_code == 200
            row = shape(answer.json(), KEYS)
            assert (row["id"], row["state"], row["attempts"]) == (delivery, "queued", 0)
            assert (row["response_status"], row["last_error"], row["sent_at"]) == (None, None, None)
            refusal(await api.post(path, headers=admin.headers), "CONFLICT")
        await send_all(sender)
    assert await hooks.states(sent, failed) == ["sent", "sent"]
    ids = [verify(secret, received) and received.headers["webhook-id"] for received in server.received]
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2


async def test_what_cannot_be_sent_again(api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    webhook = await hooks.webhook("https://8.8.8.8/")
    off = await hooks.webhook("https://8.8.8.8/", is_active=False)
    queued, failed = await hooks.queue(webhook), await hooks.queue(off)
    await hooks.set("webhook_deliveries", failed, state="'failed'")

    async def again(webhook_id: int, delivery_id: int) -> httpx.Response:
        return await api.post(f"/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", headers=admin.headers)

    refusal(await again(webhook, queued), "CONFLICT")
    refusal(await again(off, failed), "CONFLICT")
    refusal(await again(webhook, failed), "RESOURCE_NOT_FOUND")
    refusal(await again(webhook, 999), "RESOURCE_NOT_FOUND")
    refusal(await again(999, queued), "RESOURCE_NOT_FOUND")
    assert await hooks.states(queued, failed) == ["queued", "failed"]


async def waiting_since_long(hooks: Hooks, webhook: int) -> tuple[int, int]:
    """One that failed nine times and waits for a day, and one whose time came while nothing was sent."""
    postponed, overdue = await hooks.queue(webhook), await hooks.queue(webhook)
    await hooks.set("webhook_deliveries", postponed, attempts="9", next_attempt_at="now() + interval '20 hours'")
    await hooks.set("webhook_deliveries", overdue, attempts="9", next_attempt_at="now() - interval '20 hours'")
    return postponed, overdue


async def test_switching_on_sends_what_waits_with_all_its_attempts(api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    async with serving(answering(500)) as server, hooks.sender() as sender:
        webhook = await hooks.webhook(server.url, is_active=False)
        waiting = await waiting_since_long(hooks, webhook)
        assert await sender.take(10) == []
        answer = await api.put(f"/webhooks/{webhook}", json={"is_active": True}, headers=admin.headers)
        assert answer.status_code == 200
        assert sorted(job.id for job in await send_all(sender)) == sorted(waiting)
    assert await hooks.states(*waiting) == ["queued", "queued"]
    for delivery in waiting:
        row = await hooks.delivery(delivery)
        assert (row["attempts"], row["wait"]) == (1, timedelta(seconds=5))


@pytest.mark.usefixtures("private_allowed")
async def test_another_url_gets_what_waits(api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    async with serving(answering()) as server, hooks.sender() as sender:
        webhook = await hooks.webhook("http://127.0.0.1:9/")
        waiting = await waiting_since_long(hooks, webhook)
        answer = await api.put(f"/webhooks/{webhook}", json={"url": server.url}, headers=admin.headers)
        assert answer.status_code == 200
        await send_all(sender)
    assert await hooks.states(*waiting) == ["sent", "sent"]


@pytest.mark.parametrize("change", [{"is_active": True}, {"events": ["slot.created"]}, {}])
async def test_other_changes_let_it_wait(change: dict[str, Any], api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    webhook = await hooks.webhook("https://8.8.8.8/")
    postponed, _ = await waiting_since_long(hooks, webhook)
    before = await hooks.delivery(postponed)
    assert (await api.put(f"/webhooks/{webhook}", json=change, headers=admin.headers)).status_code == 200
    assert await hooks.delivery(postponed) == before


async def test_switching_off_and_on_leaves_what_is_under_way(api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    async with serving(answering()) as server, hooks.sender() as sender:
        webhook = await hooks.webhook(server.url)
        delivery = await hooks.queue(webhook)
        (job,) = await sender.take(1)
        for is_active in (False, True):
            await api.put(f"/webhooks/{webhook}", json={"is_active": is_active}, headers=admin.headers)
        assert await sender.take(1) == []
        await sender.carry_out(job)
    row = await hooks.delivery(delivery)
    assert (row["state"], row["attempts"], len(server.received)) == ("sent", 1, 1)


async def test_what_is_deleted_while_under_way_stays_skipped(api: httpx.AsyncClient, admin: Person, hooks: Hooks):
    for status in (200, 500):
        async with serving(answering(status)) as server, hooks.sender() as sender:
            webhook = await hooks.webhook(server.url)
            delivery = await hooks.queue(webhook)
            (job,) = await sender.take(1)
            assert (await api.delete(f"/webhooks/{webhook}", headers=admin.headers)).status_code == 204
            await sender.carry_out(job)
            assert await sender.take(1) == []
        assert await hooks.states(delivery) == ["skipped"]
