"""Sending: what receivers get, and what becomes of it; receivers are real ones on loopback."""

from datetime import timedelta

import pytest
from aiohttp import web
from standardwebhooks.webhooks import WebhookVerificationError

from health_services.webhooks import signing
from tests.outgoing.servers import answering, serving
from tests.webhooks.hooks import BODY, Hooks, send_all, verify


async def test_the_receivers_library_reads_what_was_queued(hooks: Hooks):
    secret = signing.new_secret()
    async with serving(answering(204)) as server, hooks.sender() as sender:
        delivery = await hooks.queue(await hooks.webhook(f"{server.url}/hooks?team=desk", secret))
        await send_all(sender)
    (received,) = server.received
    assert verify(secret, received)["data"] == {"id": 12, "place": "Zürich"}
    assert received.body == BODY.encode()
    assert (received.method, received.path) == ("POST", "/hooks?team=desk")
    assert received.headers["Content-Type"] == "application/json"
    row = await hooks.delivery(delivery)
    assert received.headers["webhook-id"] == f"msg_{row['message_id'].hex}"
    assert (row["state"], row["attempts"], row["response_status"], row["last_error"]) == ("sent", 1, 204, None)
    assert row["sent_at"] == row["updated_at"]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_success(status: int, hooks: Hooks):
    async with serving(answering(status)) as server, hooks.sender() as sender:
        delivery = await hooks.queue(await hooks.webhook(server.url))
        await send_all(sender)
        assert await sender.take(10) == []
    row = await hooks.delivery(delivery)
    assert (row["state"], row["response_status"]) == ("sent", status)


async def test_each_attempt_has_the_same_id_and_its_own_time(hooks: Hooks):
    secret, statuses = signing.new_secret(), iter([500, 503, 200])

    async def moody(_: web.Request) -> web.Response:
        return web.Response(status=next(statuses), text="what a patient said")

    async with serving(moody) as server, hooks.sender() as sender:
        delivery = await hooks.queue(await hooks.webhook(server.url, secret))
        for attempt, error in enumerate(["answered 500", "answered 503", None], start=1):
            await hooks.make_due(delivery)
            await send_all(sender)
            row = await hooks.delivery(delivery)
            assert (row["attempts"], row["last_error"]) == (attempt, error)
    assert row["state"] == "sent"
    assert len({received.headers["webhook-id"] for received in server.received}) == 1
    assert {received.body for received in server.received} == {BODY.encode()}
    for received in server.received:
        verify(secret, received)


async def test_the_time_that_is_signed_is_the_attempts(hooks: Hooks):
    """A row that waited for days is believed by a library that believes nothing older than five minutes."""
    secret = signing.new_secret()
    async with serving(answering()) as server, hooks.sender() as sender:
        delivery = await hooks.queue(await hooks.webhook(server.url, secret))
        long_ago = "now() - interval '3 days'"
        await hooks.set("webhook_deliveries", delivery, created_at=long_ago, next_attempt_at=long_ago)
        await send_all(sender)
    verify(secret, server.received[0])


async def test_for_a_day_after_a_rotation_both_secrets_sign(api, world, hooks: Hooks):
    old, admin = signing.new_secret(), await world.admin()
    async with serving(answering()) as server, hooks.sender() as sender:
        webhook = await hooks.webhook(server.url, old)
        answer = await api.post(f"/webhooks/{webhook}/rotate-secret", headers=admin.headers)
        new = answer.json()["secret"]
        await hooks.queue(webhook)
        await send_all(sender)
        left = "SELECT previous_secret_until - updated_at FROM webhooks WHERE id = $1"
        assert 86_390 < (await hooks.owner.fetchval(left, webhook)).total_seconds() < 86_410
        await hooks.set("webhooks", webhook, previous_secret_until="now()")
        await hooks.queue(webhook)
        await send_all(sender)
    during, after = server.received
    assert len(during.headers["webhook-signature"].split(" ")) == 2
    verify(old, during)
    verify(new, during)
    verify(new, after)
    with pytest.raises(WebhookVerificationError):
        verify(old, after)


async def test_a_secret_that_cannot_be_read_is_told_and_replaced(api, world, hooks: Hooks):
    admin = await world.admin()
    async with serving(answering()) as server, hooks.sender() as sender:
        sealed = signing.seal(signing.new_secret(), b"another server's")
        webhook = await hooks.webhook(server.url, secret=None)
        await hooks.owner.execute("UPDATE webhooks SET secret = $1", sealed)
        delivery = await hooks.queue(webhook)
        await send_all(sender)
        row = await hooks.delivery(delivery)
        assert (row["state"], row["last_error"]) == ("queued", "the secret cannot be read any more; rotate it")
        assert server.received == []
        answer = await api.post(f"/webhooks/{webhook}/rotate-secret", headers=admin.headers)
        await hooks.make_due(delivery)
        await send_all(sender)
    verify(answer.json()["secret"], server.received[0])


@pytest.mark.parametrize("kept", [b"", b"short", b"x" * 11, b"x" * 12, b"x" * 100])
async def test_a_row_that_cannot_be_read_stops_nothing_else(kept: bytes, hooks: Hooks):
    async with serving(answering()) as server, hooks.sender() as sender:
        before, broken, after = [await hooks.webhook(server.url) for _ in range(3)]
        await hooks.owner.execute("UPDATE webhooks SET secret = $1, previous_secret = $1 WHERE id = $2", kept, broken)
        deliveries = [await hooks.queue(webhook) for webhook in (before, broken, after)]
        assert [job.id for job in await send_all(sender)] == deliveries
    assert await hooks.states(*deliveries) == ["sent", "queued", "sent"]
    row = await hooks.delivery(deliveries[1])
    assert (row["last_error"], row["wait"]) == (
        "the secret cannot be read any more; rotate it",
        timedelta(seconds=5),
    )


async def test_a_previous_secret_that_cannot_be_read_is_left_out(hooks: Hooks):
    secret = signing.new_secret()
    async with serving(answering()) as server, hooks.sender() as sender:
        webhook = await hooks.webhook(server.url, secret, previous_secret=b"short")
        await hooks.set("webhooks", webhook, previous_secret_until="now() + interval '1 hour'")
        await hooks.queue(webhook)
        await send_all(sender)
    verify(secret, server.received[0])


async def test_nothing_goes_to_a_webhook_that_is_off_or_deleted(hooks: Hooks):
    async with serving(answering()) as server, hooks.sender() as sender:
        off = await hooks.webhook(server.url, is_active=False)
        deleted = await hooks.webhook(server.url)
        await hooks.set("webhooks", deleted, deleted_at="now()")
        waiting = [await hooks.queue(off), await hooks.queue(deleted)]
        assert await sender.next_due() is None
        assert await sender.take(10) == []
        await hooks.set("webhooks", off, is_active="true")
        assert [job.id for job in await send_all(sender)] == waiting[:1]
    assert await hooks.states(*waiting) == ["sent", "queued"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "http://localhost:{}/", "http://[::ffff:127.0.0.1]:{}/"])
async def test_private_addresses_are_refused_at_sending_too(url: str, hooks: Hooks):
    """As after a change of the name's address, or of the operator's mind."""
    async with serving(answering()) as server, hooks.sender(allow_private=False) as sender:
        delivery = await hooks.queue(await hooks.webhook(url.format(server.port)))
        await send_all(sender)
    assert server.received == []
    row = await hooks.delivery(delivery)
    assert (row["state"], row["attempts"], row["last_error"]) == ("queued", 1, "the address is not public")


async def test_a_job_shows_nothing_of_itself(hooks: Hooks):
    async with serving(answering()) as server, hooks.sender() as sender:
        await hooks.queue(await hooks.webhook(f"{server.url}/token"))
        (job,) = await sender.take(1)
        assert "Zürich" not in repr(job)
        assert "token" not in repr(job)
